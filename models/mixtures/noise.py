"""One noise of a scene: recordings changed and layered, crowds of training speakers, or a sound made by a generator."""

from typing import Protocol

import numpy as np

from quietmic.models.mixtures.distort import at_speed, layered, recoloured
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.mixtures.sounds.blocks import level
from quietmic.models.mixtures.sounds.table import GENERATORS

CROWD = 0.4  # of babble being a crowd: the same few voices many times over, shifted and turned round
PAIR = 0.3  # of two generators at once


class Recordings(Protocol):
    """What noises are drawn from; `draw_recording` may give fewer samples than asked, `draw_noise_file` repeats."""

    config: MixConfig
    n_samples: int
    generators: tuple[str, ...]

    def draw_speech(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, str]:
        """Speech [n_samples] of a talker, for babble, and who it is."""

    def draw_recording(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, str]:
        """A recorded noise, [n_samples] or fewer, and its class."""

    def draw_noise_file(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, str]:
        """A recorded noise [n_samples], repeated where it is shorter, and its class."""


def draw_noise(rng: np.random.Generator, source: Recordings) -> tuple[np.ndarray, str]:
    """One noise [n_samples] of unit power and its class."""
    config, n_samples = source.config, source.n_samples
    kind = rng.random()
    if kind < config.babble:
        noise, name = (crowd(rng, source), "crowd") if rng.random() < CROWD else (babble(rng, source), "babble")
    elif kind < config.babble + config.synthetic_noise and source.generators:
        noise, name = generated(rng, source)
    elif rng.random() < config.varied_noise:
        noise, name = layered(rng, source.draw_recording, n_samples)
    else:
        noise, name = source.draw_noise_file(rng, n_samples)
    power = np.sqrt(np.mean(noise**2))
    return (noise / max(float(power), 1e-5)).astype(np.float32), name


def generated(rng: np.random.Generator, source: Recordings) -> tuple[np.ndarray, str]:
    """A made sound, or two at once, each with its own parameters and perhaps another colour."""
    noise, names = np.zeros(source.n_samples, np.float32), []
    for k in range(2 if rng.random() < PAIR else 1):
        name = source.generators[int(rng.integers(len(source.generators)))]
        layer = recoloured(rng, GENERATORS[name](rng, source.n_samples))
        noise += np.float32((1.0 if k == 0 else rng.uniform(0.2, 1)) / max(level(layer), 1e-5)) * layer
        names.append(name)
    return noise, " & ".join(names)


def babble(rng: np.random.Generator, source: Recordings) -> np.ndarray:
    """Four to twelve training speakers at once [n_samples]."""
    talkers = [source.draw_speech(rng, source.n_samples)[0] for _ in range(int(rng.integers(4, 13)))]
    return np.sum([t * 10 ** (rng.uniform(-10, 0) / 20) for t in talkers], axis=0)


def crowd(rng: np.random.Generator, source: Recordings) -> np.ndarray:
    """A crowd [n_samples]: a few speakers many times over, each time shifted, faster or slower, and often reversed."""
    n_samples, noise = source.n_samples, np.zeros(source.n_samples, np.float32)
    for _ in range(int(rng.integers(2, 5))):
        voice, _ = source.draw_speech(rng, 2 * n_samples)
        for _ in range(int(rng.integers(2, 7))):
            shifted = np.roll(voice, int(rng.integers(0, 2 * n_samples)))
            speed = 2 ** rng.uniform(-0.7, 0.7)
            copy = at_speed(shifted, speed, n_samples)
            noise += np.float32(10 ** (rng.uniform(-12, 0) / 20)) * (copy[::-1] if rng.random() < 0.6 else copy)
    return noise
