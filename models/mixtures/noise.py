"""Noises for training that no recording holds: babble of training speakers, coloured and modulated noise, hums."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from quietmic.models.mixtures.rooms import SAMPLE_RATE
from quietmic.models.mixtures.scene import MixConfig


class NoiseSource(Protocol):
    """Where noise and babble come from; a `SceneSource` is one.

    Attributes:
        config: of the scenes.
        n_samples: of a scene.
    """

    config: MixConfig
    n_samples: int

    def draw_speech(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, str]:
        """Running speech [n_samples] of one speaker, and who it is."""

    def draw_noise_file(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, str]:
        """A recorded noise [n_samples], and its class."""


def draw_noise(rng: np.random.Generator, source: NoiseSource) -> tuple[np.ndarray, str]:
    """One noise [n_samples] of unit power and its class: recorded (perhaps at another speed), babble or synthetic."""
    config, n_samples = source.config, source.n_samples
    kind = rng.random()
    if kind < config.babble:
        talkers = [source.draw_speech(rng, n_samples)[0] for _ in range(int(rng.integers(4, 13)))]
        noise, name = np.sum([t * 10 ** (rng.uniform(-10, 0) / 20) for t in talkers], axis=0), "babble"
    elif kind < config.babble + config.synthetic_noise:
        noise, name = (hum(rng, n_samples), "hum") if rng.random() < 0.2 else (coloured(rng, n_samples), "coloured")
    elif rng.random() < config.noise_speed:
        speed = 2 ** rng.uniform(-0.5, 0.5)
        piece, name = source.draw_noise_file(rng, int(n_samples * speed) + 2)
        noise = np.interp(np.arange(n_samples) * speed, np.arange(len(piece)), piece)
    else:
        noise, name = source.draw_noise_file(rng, n_samples)
    power = np.sqrt(np.mean(noise**2))
    return (noise / max(float(power), 1e-5)).astype(np.float32), name


def coloured(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Gaussian noise [n_samples] with a drawn slope and bumps over frequency, half the time slowly modulated."""
    spectrum = np.fft.rfft(rng.normal(size=n_samples))
    octaves = np.log2(np.maximum(np.arange(len(spectrum)) * SAMPLE_RATE / n_samples, 20) / 20)
    bumps = np.interp(octaves, np.linspace(0, 8.7, 10), rng.normal(0, 4, 10))
    noise = np.fft.irfft(spectrum * 10 ** ((bumps - rng.uniform(0, 6) * octaves) / 20), n_samples)
    if rng.random() < 0.5:
        time = np.arange(n_samples) / SAMPLE_RATE
        depth, rate = rng.uniform(0.2, 1.0), 2 ** rng.uniform(-2, 4)
        noise = noise * (1 + depth * np.sin(2 * np.pi * rate * time + rng.uniform(0, 6.3)))
    return noise


def hum(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A hum [n_samples] of 10 to 40 harmonics of a fundamental between 40 and 400 Hz, over a little noise."""
    time = np.arange(n_samples) / SAMPLE_RATE
    fundamental = 40 * 10 ** rng.uniform(0, 1)
    harmonics = np.arange(1, int(rng.integers(10, 41)))
    harmonics = harmonics[harmonics * fundamental < SAMPLE_RATE / 2]
    strength = 10 ** ((rng.normal(0, 6, len(harmonics)) - rng.uniform(3, 9) * np.log2(harmonics)) / 20)
    wobble = 1 + 0.002 * np.sin(2 * np.pi * rng.uniform(0.1, 3) * time)
    phase = 2 * np.pi * fundamental * np.cumsum(wobble) / SAMPLE_RATE
    tones = sum(a * np.sin(h * phase + p) for a, h, p in zip(strength, harmonics, rng.uniform(0, 6, 40), strict=False))
    return tones + 0.05 * rng.normal(size=n_samples)
