"""What the made sounds are built from: noise of a given colour, tones, slow drifts, strikes on ringing things.

Everything is float32 at SAMPLE_RATE and of no particular level: whoever draws a noise levels it. Sounds are made while
training on one core, so that long random numbers are drawn as phases (cheaper than Gaussian ones), harmonics come from
a table of one period, and whatever rings is made once and placed many times.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from quietmic.models.mixtures.rooms import SAMPLE_RATE

Generator = Callable[[np.random.Generator, int], np.ndarray]  # (rng, n_samples) -> [n_samples]

LOWEST_HZ = 20.0
PERIOD = 2048  # samples of a table that holds one period of a tone


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number from `low` to `high`, evenly over its logarithm: for frequencies, rates and times."""
    return float(low * (high / low) ** rng.random())


@lru_cache(maxsize=32)
def frequencies(n_samples: int) -> np.ndarray:
    """Frequencies [n_freqs] in Hz of the spectrum of n_samples, the lowest as LOWEST_HZ; not to be written to."""
    freqs = np.maximum(np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE), LOWEST_HZ).astype(np.float32)
    freqs.flags.writeable = False
    return freqs


@lru_cache(maxsize=32)
def octaves(n_samples: int) -> np.ndarray:
    """The frequencies [n_freqs] in octaves over LOWEST_HZ; not to be written to."""
    over = np.log2(frequencies(n_samples) / np.float32(LOWEST_HZ))
    over.flags.writeable = False
    return over


def colour(rng: np.random.Generator, n_samples: int, slope_db: float, bumps_db: float = 4.0) -> np.ndarray:
    """Gains [n_freqs] that fall by `slope_db` an octave, with bumps of `bumps_db` (standard deviation) each octave.

    Below a drawn 30 to 200 Hz they fall to nothing, or most of the power of steep ones would be where nobody hears it.
    """
    at = octaves(n_samples)
    bumps = rng.normal(0, bumps_db, 10).astype(np.float32)
    left = np.minimum(at.astype(np.int32), 8)
    curve = bumps[left] + (at - left) * (bumps[left + 1] - bumps[left]) - np.float32(slope_db) * at
    lowest = (np.float32(between(rng, 30, 200)) / frequencies(n_samples)) ** 4
    return 10 ** (curve / np.float32(20)) / np.sqrt(1 + lowest)


def band(n_samples: int, low_hz: float, high_hz: float, order: int = 4) -> np.ndarray:
    """Gains [n_freqs] of a band between two frequencies, `order` times 6 dB an octave beyond them."""
    freqs = frequencies(n_samples)
    falling = (freqs * np.float32(1 / high_hz)) ** (2 * order)
    rising = (np.float32(low_hz) / freqs) ** (2 * order)
    return 1 / np.sqrt(1 + falling + rising)


def formants(n_samples: int, centres_hz: np.ndarray, widths_hz: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Gains [n_freqs] of resonances at the given frequencies (3 dB widths): of a throat, a pipe, a housing."""
    freqs = frequencies(n_samples)
    power = np.zeros(len(freqs), np.float32)
    for centre, width, gain in zip(centres_hz, widths_hz, gains, strict=True):
        power += np.float32(gain) / (1 + ((freqs - np.float32(centre)) * np.float32(2 / width)) ** 2)
    return np.sqrt(power)


def shaped(rng: np.random.Generator, n_samples: int, gains: np.ndarray) -> np.ndarray:
    """Steady noise [n_samples] whose spectrum has the given gains [n_freqs]."""
    phase = rng.random(len(gains), dtype=np.float32) * np.float32(2 * np.pi)
    spectrum = np.empty(len(gains), np.complex64)
    spectrum.real, spectrum.imag = gains * np.cos(phase), gains * np.sin(phase)
    wave = np.fft.irfft(spectrum, n_samples).astype(np.float32)
    return wave / max(level(wave), 1e-9)


def rush(
    rng: np.random.Generator, n_samples: int, slopes_db: tuple[float, float], gains: np.ndarray | float = 1.0
) -> np.ndarray:
    """Steady noise [n_samples] that falls by between two slopes an octave, times gains [n_freqs]: air, water."""
    return shaped(rng, n_samples, colour(rng, n_samples, rng.uniform(*slopes_db)) * gains)


def filtered(wave: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """A wave [n_samples] with its spectrum multiplied by gains [n_freqs]; the end runs into the beginning."""
    return np.fft.irfft(np.fft.rfft(wave) * gains, len(wave)).astype(np.float32)


def level(wave: np.ndarray) -> float:
    """Root of the mean power."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float32))))


def stretch(points: np.ndarray, n_samples: int, smooth: bool = True) -> np.ndarray:
    """Evenly spaced points as a curve [n_samples] from the first to the last; without `smooth` straight lines."""
    place = np.linspace(0, len(points) - 1, n_samples)
    left = np.minimum(place.astype(np.int32), len(points) - 2)
    part = (place - left).astype(np.float32)
    if smooth:
        part = part * part * (3 - 2 * part)
    points = points.astype(np.float32)
    return points[left] + part * (points[left + 1] - points[left])


def drift(rng: np.random.Generator, n_samples: int, rate_hz: float) -> np.ndarray:
    """A smooth random curve [n_samples] between -1 and 1 that turns about `rate_hz` times a second."""
    return stretch(rng.uniform(-1, 1, int(n_samples / SAMPLE_RATE * rate_hz) + 2), n_samples)


def phases(rng: np.random.Generator, pitch_hz: np.ndarray | float, n_samples: int) -> np.ndarray:
    """Phase [n_samples] in periods of a tone whose pitch is a number or a curve [n_samples]."""
    if isinstance(pitch_hz, np.ndarray):
        return np.cumsum(pitch_hz, dtype=np.float64) / SAMPLE_RATE + rng.random()
    return np.arange(n_samples) * (pitch_hz / SAMPLE_RATE) + rng.random()


def harmonics(rng: np.random.Generator, top_hz: float, slope_db: float, spread_db: float = 6.0) -> np.ndarray:
    """Strengths [n] of a tone's harmonics, falling by `slope_db` an octave; none over 8 kHz at `top_hz` or below."""
    n = int(np.clip(SAMPLE_RATE / 2 / top_hz, 1, 60))
    return 10 ** ((rng.normal(0, spread_db, n) - slope_db * np.log2(np.arange(1, n + 1))) / 20)


def tone(rng: np.random.Generator, phase: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """A tone [n_samples] of harmonics with the given strengths and random phases; `phase` in periods."""
    spectrum = np.zeros(PERIOD // 2 + 1, np.complex128)
    spectrum[1 : len(strengths) + 1] = strengths * np.exp(2j * np.pi * rng.random(len(strengths)))
    period = np.fft.irfft(spectrum, PERIOD).astype(np.float32) * np.float32(PERIOD / 2)
    return period[(phase * PERIOD).astype(np.int64) & (PERIOD - 1)]


def sine(phase: np.ndarray) -> np.ndarray:
    """Sine [n_samples] of a phase in periods."""
    return np.sin(((phase % 1.0) * (2 * np.pi)).astype(np.float32))


def ring(rng: np.random.Generator, low_hz: float, high_hz: float, decay_s: float, n_modes: int) -> np.ndarray:
    """What a struck thing gives off [n_ring]: `n_modes` fading sines between two frequencies, the high ones shorter."""
    n_ring = int(min(4 * decay_s, 1.5) * SAMPLE_RATE)
    time = np.arange(n_ring, dtype=np.float32) / SAMPLE_RATE
    modes = low_hz * (high_hz / low_hz) ** rng.random(n_modes)
    fade = decay_s * rng.uniform(0.3, 1.0, n_modes) * (modes / low_hz) ** -0.3
    strength, start = 10 ** (rng.uniform(-20, 0, n_modes) / 20), rng.uniform(0, 2 * np.pi, n_modes)
    wave = np.zeros(n_ring, np.float32)
    for f, d, a, p in zip(modes.tolist(), fade.tolist(), strength.tolist(), start.tolist(), strict=True):
        n = min(int(7 * d * SAMPLE_RATE) + 1, n_ring)  # beyond that it is 60 dB down
        wave[:n] += a * np.exp(time[:n] * (-1 / d)) * np.sin(time[:n] * (2 * np.pi * f) + p)
    return wave


def burst(rng: np.random.Generator, seconds: float, attack: float = 0.1) -> np.ndarray:
    """White noise [n] that rises within the part `attack` of its length and fades."""
    n = max(int(seconds * SAMPLE_RATE), 8)
    time = np.linspace(0, 1, n, dtype=np.float32)
    envelope = np.minimum(time / np.float32(max(attack, 1e-3)), 1) * np.exp(-5 * time) * (1 - time)
    return rng.standard_normal(n, dtype=np.float32) * envelope


def moments(rng: np.random.Generator, n_samples: int, rate_hz: float) -> np.ndarray:
    """Samples [n] at which something happens `rate_hz` times a second on average, at least once in the first half."""
    when = rng.integers(0, n_samples, max(int(rng.poisson(rate_hz * n_samples / SAMPLE_RATE)), 1))
    when[0] //= 2
    return np.sort(when)


def rhythm(rng: np.random.Generator, n_samples: int, every_s: float, jitter: float) -> np.ndarray:
    """Samples [n] at which something happens every `every_s` seconds, each off by up to `jitter` of that."""
    every = every_s * SAMPLE_RATE
    steps = np.arange(rng.random() * min(every, n_samples / 2), n_samples, every)
    return np.clip(steps + rng.uniform(-jitter, jitter, len(steps)) * every, 0, n_samples - 1).astype(np.int64)


def place(out: np.ndarray, at: int, piece: np.ndarray, gain: float = 1.0) -> None:
    """Adds a piece to `out` in place, from sample `at` on; what goes over the end is cut off."""
    piece = piece[: len(out) - at]
    out[at : at + len(piece)] += np.float32(gain) * piece


def strikes(
    rng: np.random.Generator, n_samples: int, when: np.ndarray, pieces: list[np.ndarray], spread_db: float = 15.0
) -> np.ndarray:
    """One of the pieces, drawn anew, at each of the samples `when` that lie within n_samples, some softer."""
    out, when = np.zeros(n_samples, np.float32), when[when < n_samples]
    gains, chosen = 10 ** (-rng.uniform(0, spread_db, len(when)) / 20), rng.integers(0, len(pieces), len(when))
    for at, gain, k in zip(when.tolist(), gains.tolist(), chosen.tolist(), strict=True):
        place(out, at, pieces[k], gain)
    return out


def arc(n: int, power: float = 1.0) -> np.ndarray:
    """An envelope [n] that rises and falls as half a sine, to the given power."""
    return np.sin(np.linspace(0, np.pi, n, dtype=np.float32)).clip(0) ** np.float32(power)
