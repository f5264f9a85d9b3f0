"""Signals and music: sounds [n_samples] of sirens, alarms, bells, beeps and random synthesisers."""

import numpy as np

from quietmic.models.mixtures.rooms import SAMPLE_RATE
from quietmic.models.mixtures.sounds.blocks import (
    band,
    between,
    burst,
    drift,
    harmonics,
    phases,
    place,
    rhythm,
    ring,
    shaped,
    sine,
    strikes,
    tone,
)

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), tuple(range(12)))
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10), (0, 5, 7), (0, 4, 7, 11, 14))


def siren(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A siren: a tone that wails, yelps or steps between two pitches, with overtones."""
    low, range_octaves = between(rng, 300, 900), rng.uniform(0.3, 1.4)
    turn = phases(rng, between(rng, 0.2, 6), n_samples)
    shape = rng.random()
    if shape < 0.4:  # wail
        course = 0.5 + 0.5 * sine(turn)
    elif shape < 0.7:  # yelp: up, and down at once
        course = (turn % 1.0).astype(np.float32)
    else:  # two tones
        course = (sine(turn) > 0).astype(np.float32)
    pitch = low * 2 ** (range_octaves * course)
    wave = tone(rng, phases(rng, pitch, n_samples), harmonics(rng, float(pitch.max()), rng.uniform(3, 12)))
    return wave * (1 + 0.4 * drift(rng, n_samples, 1.0)) + 0.01 * rng.standard_normal(n_samples, dtype=np.float32)


def beeps(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Beeps of an appliance, a monitor or a lorry that backs up: short tones in a pattern."""
    n = int(between(rng, 0.04, 0.5) * SAMPLE_RATE)
    pieces = []
    for _ in range(int(rng.integers(1, 4))):
        pitch = between(rng, 400, 4000)
        envelope = np.minimum(1, 40 * (1 - np.abs(np.linspace(-1, 1, n)))).astype(np.float32)
        pieces.append(tone(rng, phases(rng, pitch, n), harmonics(rng, pitch, rng.uniform(3, 15))) * envelope)
    when = rhythm(rng, n_samples, n / SAMPLE_RATE * rng.uniform(1.3, 5), 0.0)
    silent = np.arange(len(when)) % int(rng.integers(2, 9)) == 1  # the pause of the pattern
    return strikes(rng, n_samples, when[~silent], pieces, 1.0)


def telephone(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A ringing telephone or door bell: two tones or bells in quick turns, in bursts."""
    pitches = between(rng, 400, 2000) * np.array([1.0, 2 ** rng.uniform(0.1, 0.8)])
    turns = sine(phases(rng, between(rng, 8, 30), n_samples)) > 0
    pitch = np.where(turns, pitches[0], pitches[1])
    wave = tone(rng, phases(rng, pitch, n_samples), harmonics(rng, float(pitches[1]), rng.uniform(2, 10)))
    bursts = sine(phases(rng, between(rng, 0.25, 1.5), n_samples)) > rng.uniform(-0.8, 0.5)
    bursts[: n_samples // 10] = True
    return wave * bursts + 0.01 * np.std(wave) * rng.standard_normal(n_samples, dtype=np.float32)


def bells(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Bells, chimes and glasses: a few inharmonic things that ring for long."""
    low = between(rng, 150, 2500)
    pieces = [ring(rng, low * between(rng, 0.7, 2), min(low * 8, 7500), between(rng, 0.1, 1.0), 10) for _ in range(3)]
    when = rhythm(rng, n_samples, between(rng, 0.1, 1.5), rng.uniform(0, 0.5))
    return strikes(rng, n_samples, when, pieces, 20)


def note(rng: np.random.Generator, pitch_hz: float, seconds: float, timbre: np.ndarray, attack_s: float) -> np.ndarray:
    """One note [n] of a synthesiser: harmonics `timbre`, a drawn vibrato, a rise of `attack_s` and a fall."""
    n = max(int(seconds * SAMPLE_RATE), 64)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    rate = rng.uniform(4, 7)
    phase = pitch_hz * (time.astype(np.float64) + rng.uniform(0, 0.002) * sine(time * rate))
    audible = timbre[: max(int(SAMPLE_RATE / 2 / pitch_hz), 1)]
    envelope = np.minimum(time / attack_s, 1) * np.exp(-time * (rng.uniform(0.5, 4) / seconds))
    envelope *= np.minimum(1, (n - np.arange(n)) / 400).astype(np.float32)
    return tone(rng, phase, audible) * envelope


def chords(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Chords of a random synthesiser that change every half second to two seconds."""
    base, timbre = between(rng, 80, 400), harmonics(rng, 100, rng.uniform(3, 14), rng.uniform(2, 10))
    out, length, attack_s = np.zeros(n_samples, np.float32), between(rng, 0.5, 2.0), between(rng, 0.005, 0.3)
    for at in range(0, n_samples, int(length * SAMPLE_RATE)):
        root = int(rng.integers(0, 12))
        for step in CHORDS[int(rng.integers(len(CHORDS)))]:
            place(out, at, note(rng, base * 2 ** ((root + step) / 12), length * 1.1, timbre, attack_s))
    return out


def melody(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A melody of a random synthesiser on a drawn scale, over a bass half the time."""
    base, timbre = between(rng, 120, 900), harmonics(rng, 100, rng.uniform(2, 14), rng.uniform(2, 10))
    scale, beat_s = SCALES[int(rng.integers(len(SCALES)))], between(rng, 0.12, 0.6)
    attack_s, degree, at = between(rng, 0.003, 0.08), 0, int(rng.integers(0, min(4000, n_samples // 4)))
    out, first, has_bass = np.zeros(n_samples, np.float32), at, rng.random() < 0.5
    while at < n_samples:
        length = beat_s * float(rng.choice([0.5, 1, 1, 2]))
        degree = int(np.clip(degree + rng.integers(-3, 4), -5, 9))
        octave, step = divmod(degree, len(scale))
        pitch = base * 2 ** (octave + scale[step] / 12)
        if at == first or rng.random() < 0.85:  # or a rest
            place(out, at, note(rng, pitch, length * rng.uniform(0.6, 1.6), timbre, attack_s))
        if has_bass and rng.random() < 0.4:
            place(out, at, note(rng, pitch / 4, length * 2, timbre, attack_s), between(rng, 0.3, 1.5))
        at += int(length * SAMPLE_RATE)
    return out


def drums(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A drum pattern: bass drum, snare and cymbal, each its own random rhythm of a bar."""
    kick = ring(rng, between(rng, 40, 90), 180, between(rng, 0.04, 0.15), 4)
    snare = burst(rng, between(rng, 0.08, 0.3), 0.01) * 0.7
    place(snare, 0, ring(rng, 150, 400, 0.05, 3), 0.5)
    n = int(between(rng, 0.03, 0.3) * SAMPLE_RATE)
    cymbal = shaped(rng, n, band(n, between(rng, 2500, 5500), 8000)) * np.exp(-np.linspace(0, 6, n, dtype=np.float32))
    out, step = np.zeros(n_samples, np.float32), int(between(rng, 0.09, 0.25) * SAMPLE_RATE)
    for piece, odds, gain in ((kick, 0.35, 1.0), (snare, 0.25, 0.8), (cymbal, 0.6, 0.4)):
        bar = rng.random(16) < odds
        bar[0] = True
        loud = gain * between(rng, 0.3, 2)
        for k, at in enumerate(range(int(rng.integers(0, min(step, n_samples // 2))), n_samples, step)):
            if bar[k % 16]:
                place(out, at, piece, loud * rng.uniform(0.6, 1))
    return out
