"""Things that people do: sounds [n_samples] of dishes, keys, steps, doors, paper, tools, drawn anew each time."""

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
    harmonics,
    moments,
    phases,
    place,
    rhythm,
    ring,
    rush,
    shaped,
    strikes,
    tone,
)


def with_hiss(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """The wave over a soft floor 25 to 60 dB below its peak: no recording is silent between its events."""
    floor = np.max(np.abs(wave)) * between(rng, 0.001, 0.05)
    return wave + np.float32(floor * 0.3) * rush(rng, len(wave), (1, 5))


def clatter(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Clatter: hard things of wood, plastic or metal that knock against each other in flurries."""
    pieces = []
    for _ in range(5):
        pieces.append(ring(rng, between(rng, 150, 1500), between(rng, 2500, 7800), between(rng, 0.004, 0.08), 8))
    flurries = []
    for start in moments(rng, n_samples, between(rng, 0.6, 4)).tolist():
        gaps = SAMPLE_RATE * 0.1 * rng.random(int(rng.integers(1, 9))) ** 2
        flurries.append(start + np.cumsum(gaps) - gaps[0])
    when = np.concatenate(flurries).astype(np.int64)
    return with_hiss(rng, strikes(rng, n_samples, when, pieces, 25))


def dishes(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Dishes and cutlery: plates, glasses and forks that ring high and long, with scrapes between."""
    pieces = [ring(rng, between(rng, 700, 3500), 7900, between(rng, 0.03, 0.3), 10) for _ in range(5)]
    when = moments(rng, n_samples, between(rng, 1, 10))
    echo = np.concatenate([when, when + rng.integers(300, 3000, len(when))])
    wave = strikes(rng, n_samples, echo, pieces, 25)
    n = int(between(rng, 0.1, 0.6) * SAMPLE_RATE)
    scrape = shaped(rng, n, band(n, between(rng, 1500, 4000), 7900, 3)) * arc(n)
    return with_hiss(rng, wave + strikes(rng, n_samples, moments(rng, n_samples, 0.7), [0.2 * scrape], 15))


def typing(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Typing: keys pressed and let go in quick runs with pauses, each key a little different."""
    pieces = []
    for _ in range(8):
        click = ring(rng, between(rng, 150, 900), between(rng, 2500, 7500), between(rng, 0.002, 0.015), 7)
        place(click, 0, burst(rng, 0.006, 0.02), between(rng, 0.1, 1))
        pieces.append(click)
    every, at, when = between(rng, 0.07, 0.35), rng.random() * min(0.3, n_samples / SAMPLE_RATE / 2), []
    while at * SAMPLE_RATE < n_samples:
        when += [at, at + between(rng, 0.04, 0.12)]  # down and up
        at += every * between(rng, 0.5, 1.8) + (between(rng, 0.3, 1.5) if rng.random() < 0.08 else 0)
    times = (np.array(when) * SAMPLE_RATE).astype(np.int64)
    return with_hiss(rng, strikes(rng, n_samples, times, pieces, 14))


def clicking(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A clock, a mouse, a turn signal or a pen: one or two dry clicks, evenly or now and then."""
    pieces = [ring(rng, between(rng, 500, 2500), 7500, between(rng, 0.001, 0.02), 6) for _ in range(2)]
    when = rhythm(rng, n_samples, between(rng, 0.12, 1.2), 0.0 if rng.random() < 0.6 else 0.45)
    if rng.random() < 0.5:
        when = np.concatenate([when, when + int(between(rng, 0.05, 0.15) * SAMPLE_RATE)])
    return with_hiss(rng, strikes(rng, n_samples, when, pieces, 4))


def footsteps(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Steps on wood, stone, gravel or snow: a dull heel, a scraping sole, and again."""
    ground, hardness = between(rng, 300, 5000), between(rng, 0.1, 2)
    pieces = []
    for _ in range(4):
        n = int(between(rng, 0.08, 0.3) * SAMPLE_RATE)
        sole = shaped(rng, n, band(n, ground, min(ground * 4, 8000), 2)) * arc(n, 2)
        sole *= rng.random(n, dtype=np.float32) < between(rng, 0.02, 1)  # gravel gives single grains
        place(sole, 0, ring(rng, between(rng, 60, 200), between(rng, 400, 3000), between(rng, 0.01, 0.06), 6), hardness)
        pieces.append(sole)
    return with_hiss(rng, strikes(rng, n_samples, rhythm(rng, n_samples, between(rng, 0.25, 0.8), 0.06), pieces, 6))


def knocking(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Knocks, hammering and doors that slam: groups of blows on something large."""
    thing = ring(rng, between(rng, 50, 400), between(rng, 800, 5000), between(rng, 0.02, 0.25), 12)
    place(thing, 0, burst(rng, 0.01, 0.02), between(rng, 0.1, 1))
    gap_s, when = between(rng, 0.12, 0.6), []
    for start in moments(rng, n_samples, between(rng, 0.25, 1)).tolist():
        when += [start + int(k * gap_s * SAMPLE_RATE * between(rng, 0.9, 1.1)) for k in range(int(rng.integers(1, 7)))]
    return with_hiss(rng, strikes(rng, n_samples, np.array(when), [thing], 8))


def tearing(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Paper, tape or a zip that is torn: noise of ever quicker crackles in long strokes."""
    grain = rng.standard_normal(n_samples, dtype=np.float32)
    grain *= rng.random(n_samples, dtype=np.float32) < between(rng, 0.01, 0.5)
    envelope = np.zeros(n_samples, np.float32)
    for at in moments(rng, n_samples, between(rng, 0.5, 2)).tolist():
        n = int(between(rng, 0.15, 1.2) * SAMPLE_RATE)
        stroke = np.linspace(0.1, 1, n, dtype=np.float32) ** between(rng, 0.5, 2) * arc(n, 0.2)
        place(envelope, at, stroke, between(rng, 0.4, 1))
    gains = colour(rng, n_samples, rng.uniform(-3, 1)) * band(n_samples, between(rng, 400, 2500), 8000, 2)
    return with_hiss(rng, filtered(grain * envelope, gains))


def scraping(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Something that is dragged, sawn, sanded or brushed: to and fro, through the resonances of the thing."""
    stroke = np.abs(drift(rng, n_samples, between(rng, 1, 10))) ** between(rng, 0.5, 2)
    grain = rng.standard_normal(n_samples, dtype=np.float32) * stroke
    if rng.random() < 0.5:  # it sticks and slips
        teeth = phases(rng, between(rng, 20, 200) * (0.2 + stroke), n_samples)
        grain *= np.exp(-between(rng, 2, 8) * (teeth % 1.0)).astype(np.float32)
    centres = 200 * (7000 / 200) ** rng.random(6)
    body = formants(n_samples, centres, centres * rng.uniform(0.02, 0.4, 6), rng.uniform(0.1, 1, 6))
    return with_hiss(rng, filtered(grain, 0.05 + body))


def squeaking(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Doors, chairs, brakes and shoes that squeak: short gliding tones, rough or pure."""
    out, at = np.zeros(n_samples, np.float32), int(rng.random() * n_samples / 3)
    base, slope, roughness = between(rng, 200, 3000), rng.uniform(1, 10), rng.uniform(0, 0.1)
    while at < n_samples:
        n = int(between(rng, 0.05, 0.8) * SAMPLE_RATE)
        pitch = base * 2 ** (rng.uniform(-0.4, 0.4) + 0.3 * drift(rng, n, 3.0) + roughness * drift(rng, n, 100.0))
        wave = tone(rng, phases(rng, pitch, n), harmonics(rng, float(pitch.max()), slope))
        place(out, at, wave * arc(n, between(rng, 0.3, 2)), between(rng, 0.3, 1))
        at += n + int(between(rng, 0.05, 1.5) * SAMPLE_RATE)
    return with_hiss(rng, out)


def applause(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Clapping of one or very many: short bursts through the hollow of hands, each pair of hands with its own beat."""
    pieces = []
    for _ in range(10):
        n = 1600
        hollow = between(rng, 600, 2500)
        gains = 0.1 + formants(n, np.array([hollow]), np.array([hollow * 0.5]), np.ones(1))
        clap = np.zeros(n, np.float32)
        place(clap, 0, burst(rng, between(rng, 0.01, 0.04), 0.02))
        pieces.append(filtered(clap, gains))
    hands = [rhythm(rng, n_samples, between(rng, 0.18, 0.35), 0.08) for _ in range(int(between(rng, 1, 40)))]
    return with_hiss(rng, strikes(rng, n_samples, np.concatenate(hands), pieces, 15))


def bouncing(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Balls, coins and lids that fall: blows that come ever quicker and softer."""
    out = np.zeros(n_samples, np.float32)
    for at in moments(rng, n_samples, between(rng, 0.4, 1.5)).tolist():
        thing = ring(rng, between(rng, 80, 2500), between(rng, 3000, 7800), between(rng, 0.005, 0.15), 8)
        gap, gain, bounce = between(rng, 0.15, 0.5), 1.0, rng.uniform(0.6, 0.92)
        while at < n_samples and gap > 0.01 and gain > 0.01:
            place(out, int(at), thing, gain)
            at, gap, gain = at + gap * SAMPLE_RATE, gap * bounce, gain * bounce
    return with_hiss(rng, out)


def shaking(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Keys, coins, a chain or a rattle: many small ringing things, shaken to and fro."""
    low = between(rng, 800, 3500)
    pieces = [ring(rng, low, 7800, between(rng, 0.005, 0.08), 6) for _ in range(8)]
    shakes = rhythm(rng, n_samples, between(rng, 0.08, 0.5), 0.2)
    spread = SAMPLE_RATE * between(rng, 0.01, 0.06)
    off = np.abs(rng.normal(0, spread, (len(shakes), int(rng.integers(3, 16)))))
    off[:, 0] = 0
    when = (shakes[:, None] + off).ravel().astype(np.int64)
    return with_hiss(rng, strikes(rng, n_samples, when, pieces, 25))
