"""Training scenes as they are drawn on the CPU, reproducible from seed and step; mixing.py makes them audible.

A scene is one talker, up to three point noises and a diffuse part, in a room, heard by an array. Drawing slices packed
arrays and makes noises; convolution, levels and distortions run on the training device.
"""

import logging
from pathlib import Path

import numpy as np

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent
from quietmic.models.mixtures.noise import draw_noise
from quietmic.models.mixtures.pack import Pack, pack_folder
from quietmic.models.mixtures.rooms import (
    FRACTIONAL_DELAY,
    N_NOISES,
    SPEED_OF_SOUND,
    RoomCache,
    early_part,
    max_taps,
)
from quietmic.models.mixtures.scene import MixConfig, Scene
from quietmic.models.mixtures.sounds.table import GENERATORS
from quietmic.models.mixtures.voices import whispered

logger = logging.getLogger(__name__)

SPEECH_OCTAVES = 0.2  # a talker's speed and pitch go up or down by so much at most
ACROSS = 32  # samples: direct sound is at every microphone within them of its first arrival at an array
N_WAVES = 8  # plane waves that stand for a diffuse field at an array; one is enough for a single microphone


def choose_classes(noise: Pack, config: MixConfig) -> tuple[list[int], tuple[str, ...]]:
    """The noise files and the generators that may be drawn, by the classes that are named or left out.

    Raises:
        QuietmicError: a class that is neither in the data nor made, or nothing left to draw.
    """
    classes = noise.column("class")
    if unknown := {*config.classes, *config.leave_classes} - {*classes, *GENERATORS}:
        known = ", ".join(sorted({*classes} - {""})) or "no class at all"
        raise QuietmicError(f"No noise of class {', '.join(sorted(unknown))}: the data has {known}.", exit_code=2)

    def is_wanted(name: str) -> bool:
        return name not in config.leave_classes and (not config.classes or name in config.classes)

    if empty := sorted({noise.rows[i]["path"] for i in np.flatnonzero(noise.lengths == 0)}):
        logger.warning("%d noise files hold no sound and are never drawn: %s", len(empty), ", ".join(empty[:3]))
    files = [i for i, name in enumerate(classes) if is_wanted(name) and noise.lengths[i]]
    if not files:
        raise QuietmicError("No recorded noise is left to draw: see classes and leave_classes.", exit_code=2)
    return files, tuple(name for name in GENERATORS if is_wanted(name))


class SceneSource:
    """Draws scenes from packed speech and noise, a room cache and measured responses."""

    def __init__(
        self,
        speech: Pack,
        noise: Pack,
        rooms: RoomCache,
        config: MixConfig,
        measured: list[np.ndarray] | None = None,
    ) -> None:
        self.speech, self.noise, self.rooms, self.config = speech, noise, rooms, config
        self.measured = measured or []
        self.sample_rate, self.n_taps = rooms.sample_rate, max_taps(rooms.sample_rate)
        self.n_samples = int(config.segment_s * self.sample_rate)
        if not speech.lengths.sum():
            raise QuietmicError("The speech files hold no sound.", exit_code=2, argument="speech")
        weights = np.array([config.source_weights.get(s, 1.0) for s in speech.column("source")])
        self._speech_odds = np.cumsum(weights * speech.lengths / np.sum(weights * speech.lengths))
        self._noise_files, self.generators = choose_classes(noise, config)
        # rare classes count for more than their share of the time, but a class of three files not for one in thirty
        classes, lengths = [noise.column("class")[i] for i in self._noise_files], noise.lengths[self._noise_files]
        seconds = {c: sum(n for n, k in zip(lengths, classes, strict=True) if k == c) for c in set(classes)}
        odds = lengths / np.sqrt(np.array([seconds[c] for c in classes]))
        self._noise_odds = np.cumsum(odds / odds.sum())
        self._by_speaker: dict[str, list[int]] = {}
        for i, speaker in enumerate(speech.column("speaker")):
            self._by_speaker.setdefault(speaker, []).append(i)
        self._speakers = speech.column("speaker")
        self._with_mics: dict[int, list[int]] = {}

    def rooms_with(self, n_mics: int) -> list[int]:
        """Indices of the rooms whose array has at least so many microphones.

        Raises:
            QuietmicError: there is none.
        """
        if n_mics not in self._with_mics:
            self._with_mics[n_mics] = [i for i in range(len(self.rooms)) if self.rooms.n_mics(i) >= n_mics]
        if not self._with_mics[n_mics]:
            message = f"none of the {len(self.rooms)} rooms has {n_mics} microphones: simulate more, or train on fewer"
            raise QuietmicError(message, exit_code=2, argument="rooms")
        return self._with_mics[n_mics]

    def draw(self, seed: tuple[int, ...], batch: int, n_mics: int) -> list[Scene]:
        """A batch of scenes with the same number of microphones; equal seeds give equal scenes."""
        rng = np.random.default_rng(seed)
        return [self.draw_scene(rng, n_mics) for _ in range(batch)]

    def draw_scene(self, rng: np.random.Generator, n_mics: int, room: int | None = None) -> Scene:
        """One scene, in a drawn room or a given one; its speaker, noise classes, SNR and RT60 are its facts."""
        c = self.config
        speech, speaker = self._draw_talker(rng)
        if c.whispered and rng.random() < c.whispered:
            speech = whispered(rng, speech, self.sample_rate)
        kind = rng.random()
        if kind < c.noise_only:
            speech = np.zeros_like(speech)
        is_clean = c.noise_only <= kind < c.noise_only + c.clean
        snr_db = 60.0 if is_clean else float(rng.uniform(*c.snr_db))
        noises = np.zeros((N_NOISES, self.n_samples), np.float32)
        names = []
        for k in range(int(rng.integers(1, N_NOISES + 1))):
            noises[k], name = draw_noise(rng, self)
            noises[k] *= 10 ** (rng.uniform(-6, 0) / 20)
            names.append(name)
        n_waves = 1 if n_mics == 1 else N_WAVES
        waves = np.zeros((n_waves, self.n_samples), np.float32)
        if rng.random() < c.diffuse:
            waves, name = self._draw_diffuse(rng, n_waves)
            names.append(f"diffuse {name}")
        responses, early, mics_m, rt60_s = self._draw_room(rng, n_mics, room)
        leaves_s, moves_s = self._draw_move(rng, noises, early)
        directions = rng.normal(size=(n_waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        gains, delays = self._draw_devices(rng, n_mics)
        return Scene(
            speech=speech,
            point_noises=noises,
            waves=waves,
            responses=responses,
            early=early,
            wave_delays=directions @ (mics_m - mics_m[0]).T / SPEED_OF_SOUND,
            mic_gains=gains,
            mic_delays_s=delays,
            equaliser_db=rng.uniform(-8, 8, 8) if rng.random() < c.equaliser else np.zeros(8),
            snr_db=snr_db,
            level_db=float(rng.uniform(*c.level_db)),
            clip=float(rng.uniform(0.2, 0.8)) if rng.random() < c.clipping else 1.0,
            low_pass_hz=float(rng.choice([3600.0, 4000.0, 7000.0])) if rng.random() < c.low_pass else 0.0,
            sensor_db=float(rng.uniform(-50, -25)) if rng.random() < c.sensor_noise else -np.inf,
            leaves_s=leaves_s,
            moves_s=moves_s,
            facts={"speaker": speaker, "noise": " + ".join(names), "snr_db": snr_db, "rt60_s": rt60_s},
        )

    def _draw_talker(self, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """Running speech [n_samples], perhaps after a long silence, faster or slower with its pitch: more voices."""
        c, quiet = self.config, 0
        if c.late_start and rng.random() < c.late_start:
            quiet = int(rng.uniform(0.25, 0.75) * self.n_samples)
        if not c.speech_speed or rng.random() >= c.speech_speed:
            return self.draw_speech(rng, self.n_samples, quiet)
        import soxr

        speed = float(2 ** rng.uniform(-SPEECH_OCTAVES, SPEECH_OCTAVES))
        speech, speaker = self.draw_speech(rng, int(self.n_samples * speed) + 2, int(quiet * speed))
        return soxr.resample(speech, speed, 1.0)[: self.n_samples], speaker

    def draw_speech(self, rng: np.random.Generator, n_samples: int, quiet: int = 0) -> tuple[np.ndarray, str]:
        """Running speech [n_samples] of one speaker: utterances joined with pauses, or a piece of a long one.

        It begins at once or within half a second, or after `quiet` samples of silence with the start of an utterance.
        """
        first = int(np.searchsorted(self._speech_odds, rng.random()))
        speaker = self._speakers[min(first, len(self._speakers) - 1)]
        out = np.zeros(n_samples, np.float32)
        at, chosen = int(rng.integers(0, self.sample_rate // 2)) if rng.random() < 0.5 else 0, first
        at = quiet or at
        while at < n_samples:
            piece = self._file(self.speech, chosen)
            if len(piece) > n_samples - at and at == 0:
                piece = piece[int(rng.integers(0, len(piece) - n_samples + 1)) :]
            piece = piece[: n_samples - at]
            out[at : at + len(piece)] = piece
            at += len(piece) + int(rng.uniform(0.05, 0.5) * self.sample_rate)
            chosen = int(rng.choice(self._by_speaker[speaker]))
        return out, speaker

    def draw_recording(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, str]:
        """A recorded noise of n_samples, or all of it where it is shorter, and its class."""
        i = self._noise_files[min(int(np.searchsorted(self._noise_odds, rng.random())), len(self._noise_files) - 1)]
        first, end = int(self.noise.starts[i]), int(self.noise.starts[i + 1])
        start = first + int(rng.integers(0, max(end - first - n_samples, 0) + 1))
        piece = self.noise.samples[start : min(start + n_samples, end)]
        return np.asarray(piece, np.float32) / 32768, self.noise.rows[i].get("class") or "noise"

    def draw_noise_file(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, str]:
        """A recorded noise [n_samples], repeated where it is shorter, and its class."""
        piece, name = self.draw_recording(rng, n_samples)
        return np.resize(piece, n_samples), name

    def _file(self, pack: Pack, i: int) -> np.ndarray:
        return np.asarray(pack.samples[pack.starts[i] : pack.starts[i + 1]], np.float32) / 32768

    def _draw_diffuse(self, rng: np.random.Generator, n_waves: int) -> tuple[np.ndarray, str]:
        """Plane waves [n_waves, n_samples]: one noise at different times, so that they are not coherent."""
        varied = self.config.varied_noise and rng.random() < self.config.varied_noise
        noise, name = draw_noise(rng, self) if varied else self.draw_noise_file(rng, self.n_samples)
        shifts = rng.integers(0, self.n_samples, n_waves)
        return np.stack([np.roll(noise, s) for s in shifts]) / np.sqrt(n_waves), name

    def _draw_room(
        self, rng: np.random.Generator, n_mics: int, index: int | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """responses [1 + N_NOISES, n_mics, MAX_TAPS], early [2, MAX_TAPS], positions [n_mics, 3], rt60 in seconds.

        The second early part is that of the last place if the talker can go there, else zeros: a dry or a measured
        response has no other place.
        """
        room = self.rooms[int(rng.choice(self.rooms_with(n_mics))) if index is None else index]
        mics = rng.permutation(room.n_mics)[:n_mics]
        responses = np.zeros((1 + N_NOISES, n_mics, self.n_taps), np.float32)
        responses[:, :, : room.responses.shape[2]] = room.responses[:, mics]
        direct, rt60_s = int(room.direct[mics[0]]), room.rt60_s
        early = np.zeros((2, self.n_taps), np.float32)
        kind = rng.random()
        if kind < self.config.dry:
            responses[0] = 0
            responses[0, :, direct] = 1
        elif n_mics == 1 and self.measured and kind < self.config.dry + self.config.measured_room:
            response = self.measured[int(rng.integers(len(self.measured)))][: self.n_taps]
            responses[0] = 0
            responses[0, 0, : len(response)] = response / np.max(np.abs(response))
            direct = int(np.argmax(np.abs(response)))
        else:
            arrival = int(np.argmax(np.abs(responses[-1, 0, : FRACTIONAL_DELAY + ACROSS])))
            early[1] = early_part(responses[-1, 0], arrival, self.sample_rate)
        early[0] = early_part(responses[0, 0], direct, self.sample_rate)
        return responses, early, room.mics_m[mics], rt60_s

    def _draw_move(self, rng: np.random.Generator, noises: np.ndarray, early: np.ndarray) -> tuple[float, float]:
        """When the talker leaves for the last place and how long it takes, in seconds; he mostly stays (inf).

        A noise that was at that place goes to another one, in `noises` itself.
        """
        if not self.config.moving or rng.random() >= self.config.moving or not np.any(early[1]):
            return np.inf, 1.0
        noises[0] += noises[-1]
        noises[-1] = 0
        return float(rng.uniform(0.1, 0.8) * self.config.segment_s), float(rng.uniform(0.1, 1.5))

    def _draw_devices(self, rng: np.random.Generator, n_mics: int) -> tuple[np.ndarray, np.ndarray]:
        """Gains and delays [n_mics] of unequal, late or dead microphones; the reference stays as it is."""
        gains, delays = np.ones(n_mics), np.zeros(n_mics)
        if n_mics > 1:
            if rng.random() < self.config.gain_spread:
                gains[1:] = 10 ** (rng.uniform(-6, 6, n_mics - 1) / 20)
            if rng.random() < self.config.dead_microphone:
                gains[int(rng.integers(1, n_mics))] = 0
            if rng.random() < self.config.device_delay:
                delays[1:] = rng.uniform(0, 1e-3, n_mics - 1)
        return gains, delays


def read_measured(folder: Path, cache: Path, progress: Progress = silent) -> list[np.ndarray]:
    """Measured room responses [n_taps] at 16 kHz from a folder of audio files."""
    pack = pack_folder(folder, "train", cache, progress=progress)
    return [np.asarray(pack.samples[a:b], np.float32) for a, b in zip(pack.starts[:-1], pack.starts[1:], strict=True)]
