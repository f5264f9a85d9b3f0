"""Another model in a running stream: on a machine that is too slow a smaller one, or bypass with a reason."""

import threading
from collections.abc import Callable

from quietmic.devices.engine import Engine, measure_engine
from quietmic.devices.mixer import Mixer
from quietmic.devices.priority import lower_priority
from quietmic.devices.watchdog import Watchdog

_FIRST_RETRY_S = 10.0
_LAST_RETRY_S = 160.0
_MEASURE_S = 0.3

NextEngine = Callable[[], Engine | None]
"""Gives the next smaller model each time it is called, None when there is none left."""


class StepDown:
    """Watches the worker; bypasses the engine when it is too slow and tries to come back.

    With `next_engine` the next smaller model is loaded in the background and fades in; without, or when there is
    none, the same engine is tried again after 10 s, 20 s and so on, as the machine may only have been busy. A person
    may ask for another model at any time: the one in use is heard while it is loaded.

    Attributes:
        n_steps: models stepped down so far.
        bypassed_s: seconds of audio heard without enhancement, by reason.
    """

    def __init__(self, mixer: Mixer, log: Callable[[str], None], next_engine: NextEngine | None = None) -> None:
        """Takes hold of a mixer, whose engine may be too slow.

        Args:
            mixer: with the engine that may be too slow.
            log: takes messages for the person.
            next_engine: None = never change the model.
        """
        self._mixer, self._log, self._next_engine = mixer, log, next_engine
        self._watchdog = Watchdog(mixer.engine.hop_s)
        self._loader: threading.Thread | None = None
        self._loaded: tuple[Engine, int] | None = None
        self._wanted: NextEngine | None = None
        self._is_change = False  # what is loaded was asked for by a person
        self._retry_in_s = 0.0
        self._pause_s = _FIRST_RETRY_S
        self.n_steps = 0
        self.bypassed_s: dict[str, float] = {}

    @property
    def n_missed(self) -> int:
        """Hops that took longer than they last."""
        return self._watchdog.n_missed

    @property
    def reason(self) -> str | None:
        """Why nothing is enhanced at the moment, None if it is."""
        if self._mixer.forced_bypass:
            if self._is_change:
                return "changing the model"
            return "loading a smaller model" if self._loader else "too slow"
        return "key" if self._mixer.bypass else None

    def change(self, open_engine: NextEngine) -> None:
        """Takes another model once it is loaded; from any thread.

        Args:
            open_engine: gives one of the same rate, hop and microphones.
        """
        self._wanted = open_engine

    def after_hop(self, elapsed_s: float) -> bool:
        """Called by the worker after each hop.

        Args:
            elapsed_s: what the hop took, seconds.

        Returns:
            Whether the engine was bypassed just now, so that what waits is late beyond use.
        """
        hop_s = self._mixer.engine.hop_s
        if (reason := self.reason) is not None:
            self.bypassed_s[reason] = self.bypassed_s.get(reason, 0.0) + hop_s
        if self._mixer.forced_bypass:
            self._try_to_return(hop_s)
            return False
        self._look_after_change()
        if not self._watchdog.is_too_slow(elapsed_s):
            return False
        self._give_way()
        return True

    def _look_after_change(self) -> None:
        """Loads what a person wants beside the sound, and lets it in; where it cannot be had all stays as it is."""
        if self._loader is None and self._wanted:
            wanted, self._wanted, self._is_change = self._wanted, None, True
            self._load_with(wanted)
        elif self._loader and not self._loader.is_alive():
            if self._loaded:
                self._mixer.forced_bypass = True  # `_try_to_return` swaps once nothing of the old one is heard
            else:
                self._loader, self._is_change = None, False

    def _load_with(self, open_engine: NextEngine) -> None:
        self._loader = threading.Thread(target=self._load, args=(open_engine,), name="loader", daemon=True)
        self._loader.start()

    def _give_way(self) -> None:
        name = self._mixer.engine.name
        self._mixer.forced_bypass = True
        self._watchdog.forgive()
        if self._is_change:
            self._log(f"this machine is too slow for {name}: bypassed while another model is loaded")
        elif self._next_engine:
            self._log(f"this machine is too slow for {name}: bypassed while the next smaller model is loaded")
            self._load_with(self._next_engine)
        else:
            self._wait(f"this machine is too slow for {name}")

    def _wait(self, why: str) -> None:
        self._log(f"{why}: bypassed, next try in {self._pause_s:.0f} s")
        self._retry_in_s = self._pause_s
        self._pause_s = min(2 * self._pause_s, _LAST_RETRY_S)

    def _load(self, open_engine: NextEngine) -> None:
        """In the loader's thread: the sound goes on in bypass meanwhile."""
        lower_priority()
        try:
            engine = open_engine()
            if engine:
                self._loaded = engine, measure_engine(engine, _MEASURE_S).n_held
        except Exception as error:  # the sound goes on, with the reason said
            self._log(f"another model cannot be used: {error}")

    def _try_to_return(self, hop_s: float) -> None:
        if self._loader:
            if self._loader.is_alive() or not self._mixer.is_dry:
                return
            is_change, self._loader, self._is_change = self._is_change, None, False
            if self._loaded is None and is_change:
                self._mixer.forced_bypass = False
                return
            if self._loaded is None:
                self._next_engine = None
                self._wait(f"{self._mixer.engine.name} is the smallest model and still too slow")
                return
            engine, n_held = self._loaded
            self._loaded = None
            self._mixer.replace(engine, n_held)
            self.n_steps += not is_change
            self._log(f"{'changed' if is_change else 'stepped down'} to {engine.name}")
            self._mixer.forced_bypass = False
            return
        self._retry_in_s -= hop_s
        if self._retry_in_s <= 0 and self._mixer.is_dry:
            self._log(f"trying {self._mixer.engine.name} again")
            self._mixer.forced_bypass = False
