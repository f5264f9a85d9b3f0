"""Weather, water and animals: sounds [n_samples] with drawn parameters."""

import numpy as np

from quietmic.models.mixtures.rooms import SAMPLE_RATE
from quietmic.models.mixtures.sounds.blocks import (
    arc,
    band,
    between,
    burst,
    colour,
    drift,
    filtered,
    formants,
    frequencies,
    harmonics,
    moments,
    phases,
    place,
    rhythm,
    ring,
    rush,
    shaped,
    sine,
    strikes,
    tone,
)


def rain(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Rain: very many small drops on a drawn ground, single heavy ones, now stronger, now weaker."""
    drops = np.zeros(n_samples, np.float32)
    when = rng.integers(0, n_samples, int(between(rng, 300, 6000) * n_samples / SAMPLE_RATE))
    size = rng.standard_normal(len(when), dtype=np.float32)
    np.add.at(drops, when, size * np.abs(size))
    ground = colour(rng, n_samples, rng.uniform(-2, 3), 5) * band(n_samples, between(rng, 100, 800), 8000, 2)
    wave = filtered(drops, ground)
    hiss = rush(rng, n_samples, (-1, 3))
    heavy = [ring(rng, 300, 4000, between(rng, 0.002, 0.02), 4) for _ in range(4)]
    single = strikes(rng, n_samples, moments(rng, n_samples, between(rng, 1, 30)), heavy, 25)
    wave = wave / np.std(wave) + between(rng, 0.1, 1) * hiss + between(rng, 0.05, 1) * single
    return wave * (1 + rng.uniform(0, 0.5) * drift(rng, n_samples, 1.0))


def wind(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Wind: low noise in gusts that grow brighter as they grow louder, sometimes a whistle in a gap."""
    gust = 0.5 + 0.5 * drift(rng, n_samples, between(rng, 0.3, 3))
    gust *= 1 + 0.3 * drift(rng, n_samples, 10.0)
    low = rush(rng, n_samples, (4, 10))
    high = rush(rng, n_samples, (3, 6), band(n_samples, between(rng, 150, 800), 6000, 2))
    wave = low * gust + between(rng, 0.05, 0.8) * high * gust**3
    if rng.random() < 0.4:
        pitch = between(rng, 250, 2000) * 2 ** (gust * rng.uniform(0.2, 1))
        wave += between(rng, 0.02, 0.3) * gust**3 * sine(phases(rng, pitch, n_samples))
    return wave


def waves(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """The sea, or cars that pass: noise that swells and ebbs, brightest at its height."""
    swell = (0.5 + 0.5 * sine(phases(rng, between(rng, 0.1, 0.8), n_samples))) ** between(rng, 1, 5)
    low = rush(rng, n_samples, (3, 8))
    high = rush(rng, n_samples, (-1, 3), band(n_samples, 500, 8000, 1))
    return low * (0.2 + swell) + between(rng, 0.2, 1.5) * high * (0.05 + swell**2)


def bubble(rng: np.random.Generator, low_hz: float, high_hz: float) -> np.ndarray:
    """One drop or bubble [n]: a short sine whose pitch rises while it fades."""
    pitch, decay_s = between(rng, low_hz, high_hz), between(rng, 0.005, 0.05)
    time = np.arange(int(6 * decay_s * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    return np.sin(2 * np.pi * pitch * time * (1 + rng.uniform(0, 4) * time)) * np.exp(-time / decay_s)


def dripping(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A tap or gutter that drips, into water or on something hard, over a little hiss."""
    pieces = [bubble(rng, 400, 3000) for _ in range(3)] + [burst(rng, 0.01, 0.05)]
    pieces.append(ring(rng, 500, 5000, between(rng, 0.005, 0.05), 5))
    when = rhythm(rng, n_samples, between(rng, 0.1, 1.2), rng.uniform(0, 0.4))
    return strikes(rng, n_samples, when, pieces, 12) + 0.003 * rng.standard_normal(n_samples, dtype=np.float32)


def stream(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A brook, a filling glass or an aquarium: hundreds of bubbles over the noise of flowing water."""
    low = between(rng, 200, 900)
    pieces = [bubble(rng, low, low * between(rng, 3, 8)) for _ in range(24)]
    when = moments(rng, n_samples, between(rng, 20, 250))
    wave = strikes(rng, n_samples, when, pieces, 25)
    water = rush(rng, n_samples, (0, 4), band(n_samples, 200, 7000, 1))
    return wave / np.std(wave) + between(rng, 0.1, 1) * water * (1 + 0.3 * drift(rng, n_samples, 6.0))


def fire(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A fire or frying: crackles of many sizes over a low roar or a hiss."""
    pieces = [burst(rng, between(rng, 0.0008, 0.02), 0.05) for _ in range(12)]
    pieces += [ring(rng, 500, 6000, between(rng, 0.001, 0.006), 4) for _ in range(6)]
    wave = strikes(rng, n_samples, moments(rng, n_samples, between(rng, 5, 120)), pieces, 40)
    roar = rush(rng, n_samples, (0, 8))
    return wave + between(rng, 0.003, 0.1) * roar * (1 + 0.5 * drift(rng, n_samples, 4.0))


def thunder(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Thunder, or things that roll and fall far away: cracks that go over into long low rumbling."""
    out = 0.003 * rush(rng, n_samples, (1, 5))
    for at in moments(rng, n_samples, 0.3).tolist():
        n = int(between(rng, 0.8, 4) * SAMPLE_RATE)
        fade = np.exp(-np.linspace(0, rng.uniform(3, 7), n, dtype=np.float32))
        rumble = rush(rng, n, (5, 10)) * (1 + 0.8 * drift(rng, n, 6.0))
        crack = rush(rng, n, (0, 4)) * fade**6
        place(out, at, rumble * fade + between(rng, 0.05, 1) * crack, between(rng, 0.3, 1))
    return out


def birds(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Birds: one to four singers, each repeating a phrase of chirps, sweeps and trills of its own."""
    out = np.zeros(n_samples, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        middle, gain, phrase = between(rng, 1200, 6000), between(rng, 0.2, 1), []
        for _ in range(int(rng.integers(2, 7))):
            n = int(between(rng, 0.02, 0.3) * SAMPLE_RATE)
            ends = np.clip(middle * 2 ** rng.uniform(-0.5, 0.5, 2), 300, 7500)
            pitch = np.geomspace(ends[0], ends[1], n)
            if rng.random() < 0.4:
                pitch = pitch * (1 + rng.uniform(0.02, 0.15) * sine(phases(rng, between(rng, 15, 80), n)))
            phrase.append(tone(rng, phases(rng, pitch, n), harmonics(rng, middle * 1.5, 20.0)) * arc(n, 0.7))
        gap_s, at = between(rng, 0.02, 0.15), int(rng.random() * n_samples / 3)
        while at < n_samples:
            for chirp in phrase:
                if at < n_samples:
                    place(out, at, chirp, gain)
                at += len(chirp) + int(gap_s * SAMPLE_RATE)
            at += int(between(rng, 0.2, 2) * SAMPLE_RATE)
    return out + 0.003 * rng.standard_normal(n_samples, dtype=np.float32)


def insects(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Crickets and cicadas: high tones or bands of noise that pulse quickly, in songs with pauses."""
    out = np.zeros(n_samples, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        pitch, pulses = between(rng, 2200, 7500), between(rng, 8, 90)
        if rng.random() < 0.6:
            wave = sine(phases(rng, pitch * (1 + 0.01 * drift(rng, n_samples, 2.0)), n_samples))
        else:
            wave = shaped(rng, n_samples, band(n_samples, pitch, min(pitch * 1.2, 8000), 6))
        wave *= np.clip(sine(phases(rng, pulses, n_samples)) + rng.uniform(-0.5, 0.5), 0, None)
        if rng.random() < 0.7:
            wave *= sine(phases(rng, between(rng, 0.5, 6), n_samples)) > rng.uniform(-0.8, 0.3)
        out += between(rng, 0.1, 1) * wave
    return out + 0.002 * rng.standard_normal(n_samples, dtype=np.float32)


def fly(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A fly, a mosquito or a small drone that comes near and goes: a buzz whose pitch and level wander."""
    pitch = between(rng, 100, 700) * 2 ** (0.3 * drift(rng, n_samples, between(rng, 0.5, 4)))
    wave = tone(rng, phases(rng, pitch, n_samples), harmonics(rng, float(pitch.max()), rng.uniform(2, 8), 8))
    near = np.exp(2.5 * drift(rng, n_samples, between(rng, 0.3, 2)))
    return wave * near + 0.01 * rng.standard_normal(n_samples, dtype=np.float32)


def animal(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A dog, cow, cat, crow or baby, roughly: bursts of a rough gliding voice through formants, in groups."""
    base, length_s, roughness = between(rng, 60, 1000), between(rng, 0.06, 1.0), rng.uniform(0, 1)
    throat = between(rng, 0.6, 2.5) * np.array([500.0, 1500.0, 2700.0, 4200.0]) * 2 ** rng.uniform(-0.4, 0.4, 4)

    def mouth(n: int) -> np.ndarray:
        return formants(n, throat, 80 + 0.1 * throat, np.array([1, 0.5, 0.3, 0.2]))

    breath, rise, shape = between(rng, 0.03, 1.5), rng.uniform(-0.6, 0.6), between(rng, 0.3, 2)
    out, at = np.zeros(n_samples, np.float32), int(rng.random() * n_samples / 3)
    while at < n_samples:
        for _ in range(int(rng.integers(1, 5))):
            n = int(length_s * between(rng, 0.7, 1.4) * SAMPLE_RATE) // 64 * 64 + 64
            bend = rise * np.linspace(-1, 1, n) + rng.uniform(-0.5, 0.5) * np.sin(np.linspace(0, np.pi, n))
            bend += 0.08 * roughness * drift(rng, n, between(rng, 20, 90))
            pitch = base * 2**bend
            voice = tone(rng, phases(rng, pitch, n), harmonics(rng, float(pitch.max()), rng.uniform(2, 5), 3))
            voice = voice / np.std(voice) + breath * rng.standard_normal(n, dtype=np.float32)
            if at < n_samples:
                place(out, at, filtered(voice * arc(n, shape), 0.03 + mouth(n)), rng.uniform(0.5, 1))
            at += n + int(between(rng, 0.03, 0.3) * SAMPLE_RATE)
        at += int(between(rng, 0.2, 2) * SAMPLE_RATE)
    return out + 0.003 * np.std(out) * rng.standard_normal(n_samples, dtype=np.float32)


def frogs(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Frogs, ducks and geese: trains of pulses that ring in a throat, croaks of many beasts."""
    out = np.zeros(n_samples, np.float32)
    for _ in range(int(rng.integers(1, 6))):
        n = int(between(rng, 0.1, 0.8) * SAMPLE_RATE)
        pulse = ring(rng, between(rng, 300, 1500), between(rng, 1800, 4000), between(rng, 0.002, 0.015), 4)
        croak = strikes(rng, n, rhythm(rng, n, 1 / between(rng, 15, 120), 0.1), [pulse], 3) * arc(n, 0.5)
        when = rhythm(rng, n_samples, n / SAMPLE_RATE * between(rng, 1.2, 4), 0.2)
        out += between(rng, 0.2, 1) * strikes(rng, n_samples, when, [croak], 6)
    return out + 0.003 * rng.standard_normal(n_samples, dtype=np.float32)


def leaves(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Leaves, bags and clothes that rustle: crowds of tiny high clicks in strokes."""
    strokes = np.clip(drift(rng, n_samples, between(rng, 1, 8)) + rng.uniform(-0.3, 0.6), 0, None) ** between(rng, 1, 3)
    strokes[: n_samples // 8] += 0.3
    clicks = rng.standard_normal(n_samples, dtype=np.float32)
    clicks *= rng.random(n_samples, dtype=np.float32) < between(rng, 0.008, 0.3)
    gains = colour(rng, n_samples, rng.uniform(-3, 2)) * band(n_samples, between(rng, 300, 2500), 8000, 2)
    return filtered(clicks * strokes, gains) + 0.001 * shaped(rng, n_samples, 1 / frequencies(n_samples))
