"""The sounds that are made while training: sound numbers, other ones for each seed, and what their names promise."""

from collections.abc import Callable

import numpy as np
import pytest

from quietmic.models.mixtures.sounds import blocks
from quietmic.models.mixtures.sounds.table import GENERATORS

SECOND = 16000
SEEDS = range(8)


def make(name: str, seed: int, n_samples: int = 4 * SECOND) -> np.ndarray:
    return GENERATORS[name](np.random.default_rng(seed), n_samples)


def pitches(wave: np.ndarray, n: int = 1024) -> np.ndarray:
    """The strongest frequency in Hz of each piece of n samples that is not silent."""
    pieces = wave[: len(wave) // n * n].reshape(-1, n)
    pieces = pieces[pieces.std(axis=1) > 0.1 * wave.std()]
    return np.argmax(np.abs(np.fft.rfft(pieces * np.hanning(n), axis=1)), axis=1) * SECOND / n


def flatness(wave: np.ndarray) -> float:
    """Geometric by arithmetic mean of the power over frequency, above 50 Hz: 0 for tones, 0.56 for white noise."""
    power = np.abs(np.fft.rfft(wave)[200:]) ** 2
    return float(np.exp(np.mean(np.log(power + 1e-12 * power.max()))) / power.mean())


def centroid(wave: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    return float(power @ np.fft.rfftfreq(len(wave), 1 / SECOND) / power.sum())


def kurtosis(wave: np.ndarray) -> float:
    """Fourth moment of a wave of unit power: 3 for Gaussian noise, 1.5 for a sine, much for single strokes."""
    return float(np.mean((wave / wave.std()) ** 4))


def swing_db(wave: np.ndarray) -> float:
    """By how much the loud twentieth of the 32 ms pieces is above the soft tenth."""
    power = wave[: len(wave) // 512 * 512].reshape(-1, 512).astype(float).var(axis=1) + 1e-12
    return float(10 * np.log10(np.percentile(power, 95) / np.percentile(power, 10)))


def glide(wave: np.ndarray) -> float:
    """Octaves between the tenth and the nine tenths of the pitches."""
    low, high = np.percentile(np.maximum(pitches(wave), 20), [10, 90])
    return float(np.log2(high / low))


@pytest.mark.parametrize("name", GENERATORS)
def test_made_sounds_are_sound_and_differ_by_their_seeds(name: str) -> None:
    assert len(GENERATORS) >= 22
    for n_samples in (4 * SECOND, 8001):
        waves = [make(name, seed, n_samples) for seed in SEEDS]
        for wave in waves:
            assert (wave.shape, wave.dtype) == ((n_samples,), np.float32)
            assert np.all(np.isfinite(wave))
            assert wave.std() > 1e-5
        assert np.array_equal(waves[3], make(name, 3, n_samples))
        unit = np.stack([(w - w.mean()) / w.std() for w in waves])
        alike = np.abs(unit @ unit.T / n_samples) - np.eye(len(waves))
        assert alike.max() < 0.9  # a low hum twice may have nearly one pitch


@pytest.mark.parametrize(
    ("names", "measure", "low", "high"),
    [
        ("hum siren chords telephone bells", flatness, 0, 0.05),
        ("rain coloured footsteps fire", flatness, 0.1, 0.6),
        ("clatter typing knocking dishes dripping clicking bouncing", kurtosis, 10, np.inf),
        ("fan vacuum_cleaner engine coloured hum", kurtosis, 1, 5),
        ("insects spray dishes rain leaves", centroid, 2300, 8000),
        ("wind thunder propeller train_ride engine fan", centroid, 50, 1200),
        ("siren birds fly animal", glide, 0.2, 6),
        ("hum fan coloured vacuum_cleaner engine", swing_db, 0, 12),
        ("switched_hum animal birds beeps squeaking tearing", swing_db, 20, np.inf),
    ],
)
def test_made_sounds_are_what_they_are_called(
    names: str, measure: Callable[[np.ndarray], float], low: float, high: float
) -> None:
    for name in names.split():
        value = np.median([measure(make(name, seed)) for seed in SEEDS])
        assert low <= value <= high, f"{name}: {value}"


def test_a_fan_keeps_its_pitch_and_an_engine_drifts() -> None:
    """The strongest partial of an engine moves by octaves over a few seconds, that of a hum does not."""
    assert np.median([glide(make("hum", seed)) for seed in SEEDS]) < 0.1
    assert np.median([glide(make("engine", seed)) for seed in SEEDS]) > 0.2


def test_rhythms_of_a_clock_are_even_and_balls_bounce_ever_quicker() -> None:
    def gaps(name: str, seed: int) -> np.ndarray:
        """Times between the strokes: jumps of the level of pieces of 2 ms."""
        power = make(name, seed, 6 * SECOND).reshape(-1, 32).astype(float).var(axis=1)
        onsets = np.flatnonzero((power[1:] > 20 * power[:-1]) & (power[1:] > 0.01 * power.max()))
        return np.diff(onsets[np.diff(onsets, prepend=-100) > 8])

    even = [np.std(g) / np.mean(g) for g in (gaps("clicking", seed) for seed in range(30)) if len(g) > 3]
    assert np.percentile(even, 25) < 0.05  # many of them are clocks
    quicker = [np.mean(np.diff(g) < 0) for g in (gaps("bouncing", seed) for seed in range(30)) if len(g) > 3]
    assert np.mean(quicker) > 0.55


def gains_db(gains: np.ndarray, *hertz: int) -> list[float]:
    """Of gains over the frequencies of a second, one a hertz."""
    return [float(20 * np.log10(gains[each])) for each in hertz]


def test_colours_fall_by_their_slope() -> None:
    gains = blocks.colour(np.random.default_rng(0), SECOND, slope_db=4.0, bumps_db=0.0)
    at_1_khz, at_2_khz, at_4_khz = gains_db(gains, 1000, 2000, 4000)
    assert (at_2_khz - at_1_khz, at_4_khz - at_2_khz) == pytest.approx((-4, -4), abs=0.02)


def test_bands_and_resonances_have_their_edges() -> None:
    """Three decibels down at the edges; beyond them 6 dB an octave for each order."""
    band = blocks.band(SECOND, 500, 2000, order=2)
    assert gains_db(band, 500, 2000) == pytest.approx([-3, -3], abs=0.1)
    assert gains_db(band, 1000) == pytest.approx([0], abs=0.6)
    assert gains_db(band, 125, 8000) == pytest.approx([-24, -24], abs=0.1)
    ring = blocks.formants(SECOND, np.array([1000.0]), np.array([100.0]), np.array([4.0]))
    assert gains_db(ring, 950, 1000, 1050) == pytest.approx([3.01, 6.02, 3.01], abs=0.02)


def test_steady_noise_has_unit_power_and_its_gains() -> None:
    gains = blocks.band(SECOND, 500, 2000)
    wave = blocks.shaped(np.random.default_rng(0), SECOND, 5 * gains)
    assert blocks.level(wave) == pytest.approx(1, rel=1e-3)
    spectrum = np.abs(np.fft.rfft(wave))
    np.testing.assert_allclose(spectrum[20:] / spectrum[1000], gains[20:] / gains[1000], atol=1e-3)


def test_curves_go_through_their_points_without_corners() -> None:
    points = np.array([0.0, 1, -1, 0.5])
    straight, smooth = (blocks.stretch(points, 301, smooth) for smooth in (False, True))
    for curve in (straight, smooth):
        assert curve[::100] == pytest.approx(points, abs=1e-5)
    assert straight[25] == pytest.approx(0.25) and smooth[25] == pytest.approx(0.15625)  # 3 x^2 - 2 x^3
    assert np.abs(np.diff(smooth)[[0, 99, 100, 199, 200]]).max() < 2e-3


def test_tones_have_their_pitch_and_harmonics_fall_by_their_slope() -> None:
    rng, curve = np.random.default_rng(0), np.full(SECOND, 440.0)
    for pitch in (440.0, curve):
        phase = blocks.phases(rng, pitch, SECOND)
        assert phase[-1] - phase[0] == pytest.approx(440 * (SECOND - 1) / SECOND, rel=1e-6)
        strengths = np.array([1, 0.5, 0.25])
        spectrum = np.abs(np.fft.rfft(blocks.tone(rng, phase, strengths))) * 2 / SECOND
        assert spectrum[[440, 880, 1320]] == pytest.approx(strengths, rel=0.02)
    falling = 20 * np.log10(blocks.harmonics(rng, 1000.0, slope_db=6.0, spread_db=0.0))
    assert len(falling) == 8
    assert falling[[0, 1, 3, 7]] == pytest.approx([0, -6, -12, -18])
