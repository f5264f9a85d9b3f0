"""Recordings made other than they were: speed, reversal, colour, band limits and gates, drawn anew each time.

A few hours of noise are heard a hundred times over in a long run. Changed like this, and layered, no noise of it comes
twice: what is learned is what noises have in common and not these recordings.
"""

from collections.abc import Callable

import numpy as np

from quietmic.models.mixtures.rooms import SAMPLE_RATE
from quietmic.models.mixtures.sounds.blocks import (
    band,
    between,
    colour,
    filtered,
    formants,
    level,
    phases,
    sine,
    stretch,
)

SPEED, REVERSED, BANDED, GATED = 0.7, 0.3, 0.25, 0.2  # odds of a recording having the trait
BUMPS_DB = 6.0  # of the equaliser, which every one has: standard deviation at most, an octave to the next
SPEED_OCTAVES = 0.8  # at most, up or down
SEAM = 1600  # samples over which repeats of a short recording go over into each other
LAYERS = (0.45, 0.35, 0.2)  # odds of one, two and three recordings at once
LAYER_DB = 15.0  # by how much the second and third are softer at most

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, str]]  # (rng, n_samples) -> recording, its class


def layered(rng: np.random.Generator, draw: Draw, n_samples: int) -> tuple[np.ndarray, str]:
    """One to three changed recordings at once [n_samples] and their classes; `draw` may give shorter ones."""
    noise, names = np.zeros(n_samples, np.float32), []
    for k in range(1 + int(np.searchsorted(np.cumsum(LAYERS[:-1]), rng.random(), side="right"))):
        layer, name = varied(rng, draw, n_samples)
        gain = 1.0 if k == 0 else 10 ** (-rng.uniform(0, LAYER_DB) / 20)
        noise += np.float32(gain / max(level(layer), 1e-5)) * layer
        names.append(name)
    return noise, " & ".join(names)


def varied(rng: np.random.Generator, draw: Draw, n_samples: int) -> tuple[np.ndarray, str]:
    """One recording [n_samples] and its class, with its own speed, direction, colour, band and gate."""
    speed = 2 ** rng.uniform(-SPEED_OCTAVES, SPEED_OCTAVES) if rng.random() < SPEED else 1.0
    needed = int(n_samples * speed) + 2
    piece, name = draw(rng, needed)
    noise = at_speed(lengthened(rng, piece, needed), speed, n_samples)
    if rng.random() < REVERSED:
        noise = noise[::-1]
    return recoloured(rng, noise), name


def recoloured(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """A noise [n_samples] with a drawn equaliser, and now and then a band and a gate."""
    n_samples = len(noise)
    gains = colour(rng, n_samples, rng.uniform(-2, 2), rng.uniform(0, BUMPS_DB))
    if rng.random() < BANDED:
        gains = gains * drawn_band(rng, n_samples)
    noise = filtered(noise, gains)
    return noise * gate(rng, n_samples) if rng.random() < GATED else noise


def lengthened(rng: np.random.Generator, piece: np.ndarray, n_samples: int) -> np.ndarray:
    """A recording [n] as [n_samples]: shorter ones go on from drawn places, each repeat faded into the next."""
    if len(piece) >= n_samples:
        return piece[:n_samples]
    out, at = np.zeros(n_samples, np.float32), 0
    seam = min(SEAM, len(piece) // 4)
    rise = np.sin(np.linspace(0, np.pi / 2, seam, dtype=np.float32))  # of equal power: the two are not alike
    while at < n_samples:
        part = piece[int(rng.integers(0, len(piece) // 2 + 1)) if at else 0 :].copy()
        if at:
            part[:seam] *= rise
        part[len(part) - seam :] *= rise[::-1]
        out[at : at + len(part)] += part[: n_samples - at]
        at += max(len(part) - seam, 1)
    return out


def at_speed(piece: np.ndarray, speed: float, n_samples: int) -> np.ndarray:
    """A recording [at least n_samples * speed + 2] played `speed` times as fast, pitch and all: [n_samples].

    Straight lines between samples: what they do to the highest octave is one more colour, and they cost a third of a
    resampler.
    """
    if speed == 1.0:
        return piece[:n_samples]
    places = np.arange(n_samples) * speed
    left = places.astype(np.int64)
    part = (places - left).astype(np.float32)
    return piece[left] + part * (piece[left + 1] - piece[left])


def drawn_band(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Gains [n_freqs] of a low-pass, a high-pass, a band-pass, or a few resonances."""
    kind = rng.random()
    if kind < 0.3:
        return band(n_samples, 10, between(rng, 300, 6000), 2)
    if kind < 0.5:
        return band(n_samples, between(rng, 150, 2500), 16000, 2)
    if kind < 0.75:
        low = between(rng, 100, 3000)
        return band(n_samples, low, min(low * between(rng, 1.5, 8), 8000), 2)
    centres = 100 * 70 ** rng.random(4)
    return 0.1 + formants(n_samples, centres, centres * rng.uniform(0.05, 0.5, 4), rng.uniform(0.2, 1, 4))


def gate(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """An envelope [n_samples] that lets a noise through at times: at random, evenly, or rising out of silence."""
    kind, floor = rng.random(), float(10 ** (rng.uniform(-60, -15) / 20))
    if kind < 0.5:
        is_open = rng.random(int(n_samples / SAMPLE_RATE * between(rng, 1, 6)) + 2) < rng.uniform(0.3, 0.7)
        is_open[rng.permutation(len(is_open))[:2]] = [True, False]  # one place at least of each
        steep = int(between(rng, 2, 30))
        return stretch(np.maximum(np.repeat(is_open, steep), floor), n_samples)
    if kind < 0.8:
        swing = sine(phases(rng, between(rng, 0.5, 12), n_samples)) * np.float32(between(rng, 1, 20))
        return np.maximum(np.clip(swing + rng.uniform(-0.5, 0.5), 0, 1), floor)
    start = int(rng.uniform(0.1, 0.7) * n_samples)
    rise = np.minimum(np.arange(n_samples - start, dtype=np.float32) / (between(rng, 0.005, 1.0) * SAMPLE_RATE), 1)
    return np.maximum(np.concatenate([np.zeros(start, np.float32), rise]), floor)
