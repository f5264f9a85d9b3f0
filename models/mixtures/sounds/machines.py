"""Machines: sounds [n_samples] of motors, fans, vehicles and currents, each with its own drawn parameters."""

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
    phases,
    place,
    rhythm,
    ring,
    rush,
    shaped,
    sine,
    stretch,
    strikes,
    tone,
)


def coloured(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Noise with a drawn slope and bumps over frequency, half the time slowly modulated."""
    noise = rush(rng, n_samples, (0, 6))
    if rng.random() < 0.5:
        noise = noise * (1 + rng.uniform(0.2, 1.0) * sine(phases(rng, between(rng, 0.25, 16), n_samples)))
    return noise


def hum(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A hum of up to 40 harmonics of a fundamental between 40 and 400 Hz, over a little noise."""
    fundamental = between(rng, 40, 400)
    pitch = fundamental * (1 + 0.002 * sine(phases(rng, rng.uniform(0.1, 3), n_samples)))
    strengths = harmonics(rng, fundamental, rng.uniform(3, 9))[:40]
    wave = tone(rng, phases(rng, pitch, n_samples), strengths)
    return wave + 0.05 * rng.standard_normal(n_samples, dtype=np.float32)


def switched_hum(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A mains hum that is switched on and off with clicks: a fridge, a transformer, a relay."""
    mains = float(rng.choice([50.0, 60.0, 100.0, 120.0]))
    wave = tone(rng, phases(rng, mains, n_samples), harmonics(rng, mains, rng.uniform(2, 8)))
    wave /= np.max(np.abs(wave))
    gate, on = np.zeros(n_samples, np.float32), bool(rng.random() < 0.5)
    at, click = 0, ring(rng, 300, 5000, between(rng, 0.003, 0.03), 5)
    clicks = np.zeros(n_samples, np.float32)
    while at < n_samples:
        length = min(int(between(rng, 0.15, 2.0) * SAMPLE_RATE), n_samples // 2)
        gate[at : at + length] = float(on)
        at, on = at + length, not on
        if at < n_samples:
            place(clicks, at, click, between(rng, 0.3, 2))
    ramp = int(between(rng, 0.002, 0.1) * SAMPLE_RATE)  # how fast it comes and goes
    smooth = np.cumsum(np.concatenate([gate[:1].repeat(ramp), gate]), dtype=np.float64)
    return wave * ((smooth[ramp:] - smooth[:-ramp]) / ramp).astype(np.float32) + clicks


def engine(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """An engine: orders of a drifting speed, sounding through its housing, and noise that beats with it."""
    speed = between(rng, 10, 70) * 2 ** (rng.uniform(0.05, 0.6) * drift(rng, n_samples, between(rng, 0.2, 2)))
    phase = phases(rng, speed, n_samples)
    wave = tone(rng, phase, harmonics(rng, float(speed.max()), rng.uniform(1, 5), 8))
    centres = 60 * (4000 / 60) ** rng.random(4)
    wave = filtered(wave, formants(n_samples, centres, centres * rng.uniform(0.3, 1, 4), rng.uniform(0.2, 1, 4)))
    beat = 1 + rng.uniform(0.2, 1) * sine(phase * float(rng.choice([1, 2, 3])))
    noise = rush(rng, n_samples, (3, 9)) * beat
    return wave / np.std(wave) + noise * between(rng, 0.1, 1.5)


def fan(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A fan or an air conditioner: steady air, the tone of its blades, a slow beat."""
    air = rush(rng, n_samples, (2, 7), band(n_samples, 30, between(rng, 1500, 8000), 2))
    blades = between(rng, 30, 600) * (1 + 0.01 * drift(rng, n_samples, 1.0))
    wave = tone(rng, phases(rng, blades, n_samples), harmonics(rng, float(blades.max()), rng.uniform(4, 10))[:12])
    beat = 1 + rng.uniform(0, 0.4) * sine(phases(rng, between(rng, 0.3, 12), n_samples))
    return (air + wave / np.std(wave) * between(rng, 0.03, 0.7)) * beat


def vacuum_cleaner(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A vacuum cleaner, hair dryer or mixer: loud rushing air and the whine of a fast motor whose load changes."""
    whine = between(rng, 150, 1500)
    load = 1 + rng.uniform(0.01, 0.15) * drift(rng, n_samples, between(rng, 0.3, 3))
    if rng.random() < 0.3:  # it is switched on, and runs up
        start = int(rng.uniform(0, 0.5) * n_samples)
        run_up = 1 - np.exp(-np.arange(n_samples - start) / (between(rng, 0.1, 0.8) * SAMPLE_RATE))
        load = load * np.concatenate([np.zeros(start), run_up])
    phase = phases(rng, whine * load, n_samples)
    motor = tone(rng, phase, harmonics(rng, whine * float(load.max()), rng.uniform(2, 7), 8))
    centres = 300 * (5000 / 300) ** rng.random(3)
    body = colour(rng, n_samples, rng.uniform(0, 3)) * (0.2 + formants(n_samples, centres, centres * 0.5, np.ones(3)))
    air = shaped(rng, n_samples, body)
    return (air + motor / np.std(motor) * between(rng, 0.1, 1.5)) * np.clip(load, 0, None).astype(np.float32) ** 2


def drill(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A drill, saw or blender: a harsh motor that is pressed and let go, its pitch falling under load."""
    pressed = np.clip(3 * drift(rng, n_samples, between(rng, 0.5, 4)), -1, 1)
    pitch = between(rng, 60, 500) * 2 ** (-rng.uniform(0.1, 0.8) * pressed)
    phase = phases(rng, pitch, n_samples)
    wave = tone(rng, phase, harmonics(rng, float(pitch.max()), rng.uniform(0, 3), 5))
    grit = rush(rng, n_samples, (-3, 2)) * np.abs(sine(phase * 0.5))
    wave = np.tanh(between(rng, 0.5, 4) * wave / np.std(wave)) + between(rng, 0.2, 2) * grit * (1.2 + pressed)
    return wave * (1.3 + pressed)


def propeller(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A helicopter or propeller: thumps of low noise 6 to 40 times a second, a turbine behind them."""
    rate = between(rng, 6, 40) * (1 + 0.1 * drift(rng, n_samples, 0.5))
    phase = phases(rng, rate, n_samples)
    thump = np.exp(between(rng, 1, 6) * (sine(phase) - 1)).astype(np.float32)
    wave = rush(rng, n_samples, (4, 10), band(n_samples, 20, between(rng, 500, 3000), 1))
    turbine = sine(phases(rng, between(rng, 800, 5000) * (1 + 0.02 * drift(rng, n_samples, 2.0)), n_samples))
    return wave * (thump + 0.1) + turbine * between(rng, 0.003, 0.1)


def train_ride(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A train from inside or outside: rumble, the beats of the rail joints, sometimes a squeal in a bend."""
    rumble = rush(rng, n_samples, (4, 9))
    rumble *= 1 + 0.5 * drift(rng, n_samples, between(rng, 0.5, 8))
    joints = rhythm(rng, n_samples, between(rng, 0.35, 1.5), 0.03)
    joints = np.concatenate([joints, joints + int(between(rng, 0.08, 0.2) * SAMPLE_RATE)])
    pieces = [burst(rng, 0.08, 0.05)[:600] * 0.3, ring(rng, 60, 1500, between(rng, 0.02, 0.1), 8)]
    wave = rumble + between(rng, 0.5, 4) * strikes(rng, n_samples, joints, pieces, 6)
    if rng.random() < 0.3:
        pitch = between(rng, 1000, 4000) * (1 + 0.03 * drift(rng, n_samples, 3.0))
        wave += np.clip(drift(rng, n_samples, 1.0), 0, None) * sine(phases(rng, pitch, n_samples))
    return wave


def stepper(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A printer, scanner or robot: buzzing steps of a few pitches with pauses between."""
    out, at = np.zeros(n_samples, np.float32), 0
    pitches = between(rng, 80, 800) * 2 ** (rng.integers(0, 24, 5) / 12)
    strengths = harmonics(rng, float(pitches.max()), rng.uniform(1, 5))
    while at < n_samples:
        n = int(between(rng, 0.04, 0.8) * SAMPLE_RATE)
        ends = rng.choice(pitches, 2)
        pitch = np.geomspace(ends[0], ends[0] if rng.random() < 0.7 else ends[1], n)
        place(out, at, tone(rng, phases(rng, pitch, n), strengths) * arc(n, 0.1))
        at += n + (int(between(rng, 0.02, 0.6) * SAMPLE_RATE) if rng.random() < 0.5 else 0)
    return out + between(rng, 0.02, 0.5) * np.std(out) * rush(rng, n_samples, (2, 6))


def interference(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Electric buzz: pulses at a fixed rate in packets, as of a telephone beside an amplifier or a dimmer."""
    rate = float(rng.choice([50.0, 100.0, 120.0, 217.0])) * (1 if rng.random() < 0.7 else between(rng, 0.5, 4))
    pulse = np.exp(between(rng, 4, 60) * (sine(phases(rng, rate, n_samples)) - 1))
    wave = filtered(pulse - np.mean(pulse), colour(rng, n_samples, rng.uniform(-6, 3)))
    packets = sine(phases(rng, between(rng, 0.5, 9), n_samples)) > rng.uniform(-1.5, 0.7)
    return wave / np.std(wave) * packets + 0.03 * rng.standard_normal(n_samples, dtype=np.float32)


def washing_machine(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """A drum that turns: sloshing and tumbling once or twice a second over a motor."""
    turn = phases(rng, between(rng, 0.4, 3), n_samples)
    slosh = rush(rng, n_samples, (1, 6), band(n_samples, 100, between(rng, 1000, 6000), 2))
    slosh *= np.clip(sine(turn) + 0.4 * drift(rng, n_samples, 12.0), 0, None) ** 2
    motor = tone(rng, phases(rng, between(rng, 50, 250), n_samples), harmonics(rng, 250, rng.uniform(4, 9)))
    things = [ring(rng, 80, between(rng, 600, 4000), between(rng, 0.01, 0.1), 6) for _ in range(3)]
    knocks = strikes(rng, n_samples, rhythm(rng, n_samples, between(rng, 0.2, 1), 0.4), things)
    return slosh + motor / np.std(motor) * between(rng, 0.05, 0.5) + knocks * between(rng, 0.1, 1)


def spray(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Steam, a spray can, a tyre or a tap: high noise that is let out in puffs, or all the time."""
    wave = rush(rng, n_samples, (-6, 1), band(n_samples, between(rng, 200, 3000), 8000, 2))
    if rng.random() < 0.4:
        return wave * (1 + 0.5 * drift(rng, n_samples, between(rng, 1, 20)))
    steps = rng.random(int(between(rng, 4, 40))) < rng.uniform(0.2, 0.6)
    steps[rng.integers(0, len(steps))] = True
    return wave * stretch(np.repeat(steps, 6).astype(np.float32), n_samples)
