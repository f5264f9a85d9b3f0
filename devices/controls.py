"""What the keys do while it runs."""

from collections.abc import Callable
from pathlib import Path

from quietmic.devices.commands import NO_LIMIT, SWITCHES, read_command
from quietmic.devices.mixer import Mixer
from quietmic.devices.recorder import Recorder
from quietmic.enhance.errors import told

LIMITS_DB = (6.0, 9.0, 12.0, 15.0, 18.0, 24.0, 30.0, 36.0, NO_LIMIT)
"""Attenuation limits that + and - go through, dB."""

_KEYS = dict(zip(SWITCHES, "bmr", strict=True))

HELP = "b bypass  m mute  r record  + - attenuation limit  q quit"


class Controls:
    """Bypass, mute, recording, attenuation limit.

    Attributes:
        limit_db: attenuation limit in force, NO_LIMIT for none.
        recorder: of the recording, None while there is none.
        wants_quit: set by the key.
    """

    def __init__(self, mixer: Mixer, folder: Path, limit_db: float | None, log: Callable[[str], None]) -> None:
        """Takes hold of a mixer.

        Args:
            mixer: to be controlled.
            folder: for recordings.
            limit_db: attenuation limit at the start.
            log: takes messages for the person.
        """
        self._mixer, self._folder, self._log = mixer, folder, log
        self.limit_db = NO_LIMIT if limit_db is None else limit_db
        mixer.limit_attenuation(limit_db)
        self.recorder: Recorder | None = None
        self.wants_quit = False

    def press(self, key: str) -> None:
        """Does what a key stands for; other keys do nothing."""
        if key == "b":
            self._mixer.bypass = not self._mixer.bypass
        elif key == "m":
            self._mixer.muted = not self._mixer.muted
        elif key == "r":
            self.toggle_recording()
        elif key in ("+", "="):
            self._move_limit(1)
        elif key == "-":
            self._move_limit(-1)
        elif key == "q":
            self.wants_quit = True

    def obey(self, words: list[str]) -> None:
        """Does what a command from outside asks, see `read_command`, and raises as that does."""
        command = read_command(words)
        if command.name in SWITCHES:
            if command.wanted != self._is_on(command.name):
                self.press(_KEYS[command.name])
        elif command.name == "limit":
            self._set_limit(command.limit_db)
        elif command.name == "quit":
            self.wants_quit = True

    def _is_on(self, name: str) -> bool:
        states = {"bypass": self._mixer.bypass, "mute": self._mixer.muted, "record": self.is_recording}
        return states[name]

    def _set_limit(self, limit_db: float) -> None:
        self.limit_db = limit_db
        self._mixer.limit_attenuation(None if limit_db == NO_LIMIT else limit_db)

    def _move_limit(self, step: int) -> None:
        higher = [limit for limit in LIMITS_DB if limit > self.limit_db]
        lower = [limit for limit in LIMITS_DB if limit < self.limit_db]
        self._set_limit((higher or [NO_LIMIT])[0] if step > 0 else (lower or [LIMITS_DB[0]])[-1])

    @property
    def is_recording(self) -> bool:
        """Whether a recording runs; one that broke off does not."""
        return self.recorder is not None and self.recorder.failure is None

    def toggle_recording(self) -> None:
        """Starts a recording or ends the one that runs."""
        was_recording = self.is_recording
        self.stop_recording()
        if was_recording:
            return
        try:
            engine = self._mixer.engine
            self.recorder = Recorder(self._folder, engine.n_mics, engine.sample_rate, self._log)
        except OSError as error:
            self._log(f"cannot record: {told(error)}")
            return
        self._log(f"recording {self.recorder.paths[0]} and {self.recorder.paths[1].name}")

    def stop_recording(self) -> None:
        """Ends the recording, if there is one."""
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return
        recorder.close()
        if recorder.n_lost and recorder.failure is None:
            self._log(f"the disk was too slow: {recorder.n_lost} hops are missing from the recording")
