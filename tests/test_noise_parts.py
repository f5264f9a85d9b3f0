"""What a noise is made of, told apart by its tones: how many voices and layers, how strong, how fast."""

import numpy as np
import pytest
from test_noise import SECOND, make_source

from quietmic.models.mixtures import distort
from quietmic.models.mixtures import noise as noises
from quietmic.models.mixtures.distort import at_speed, layered, recoloured
from quietmic.models.mixtures.noise import babble, crowd, generated
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.mixtures.sounds.table import GENERATORS


def pure_tone(hertz: int, n_samples: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(n_samples) / SECOND).astype(np.float32)


def strengths(wave: np.ndarray) -> np.ndarray:
    """Amplitude [n_samples / 2 + 1] of the tones in a second of sound, one a hertz."""
    return np.abs(np.fft.rfft(wave)) * 2 / len(wave)


def test_babble_is_four_to_twelve_talkers_and_none_is_10_db_softer_than_another() -> None:
    counts = set()
    for seed in range(40):
        source, talkers = make_source(MixConfig(segment_s=1.0)), iter(range(100, 8000, 100))
        source.draw_speech = lambda rng, n, talkers=talkers: (pure_tone(next(talkers), n), "")  # type: ignore[method-assign, misc]
        heard = strengths(babble(np.random.default_rng(seed), source))
        voices = heard[heard > 0.01]
        counts.add(len(voices))
        assert 10 ** (-10 / 20) * 0.99 < voices.min() <= voices.max() < 1.01
    assert (min(counts), max(counts)) == (4, 12)


def test_a_crowd_is_voices_many_times_over_at_speeds_of_their_own() -> None:
    source = make_source(MixConfig(segment_s=1.0))
    source.draw_speech = lambda rng, n: (pure_tone(1000, n), "")  # type: ignore[method-assign]
    for seed in range(10):
        heard = strengths(crowd(np.random.default_rng(seed), source) * np.hanning(SECOND))
        (pitches,) = np.nonzero((heard[1:-1] > 0.05) & (heard[1:-1] > heard[:-2]) & (heard[1:-1] > heard[2:]))
        assert len(pitches) >= 3
        assert 600 < pitches.min() < 1000 < pitches.max() < 1650


def test_two_made_sounds_at_once_are_levelled_and_the_second_softer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noises, "PAIR", 1.0)
    monkeypatch.setattr(noises, "recoloured", lambda rng, wave: wave)
    source = make_source(MixConfig(segment_s=1.0))
    source.generators = ("hum", "rain")
    monkeypatch.setitem(GENERATORS, "hum", lambda rng, n: 1e-2 * pure_tone(500, n))
    monkeypatch.setitem(GENERATORS, "rain", lambda rng, n: 30 * pure_tone(800, n))
    for seed in range(20):
        wave, name = generated(np.random.default_rng(seed), source)
        first, second = (strengths(wave)[500 if part == "hum" else 800] / np.sqrt(2) for part in name.split(" & "))
        if name in ("hum & rain", "rain & hum"):
            assert first == pytest.approx(1, rel=1e-3) and 0.2 <= second <= 1


def test_further_layers_are_up_to_15_db_softer_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distort, "LAYERS", (0.0, 0.0, 1.0))
    for seed in range(20):
        tones = iter([(1, 500), (40, 900), (1e-3, 1300)])

        def draw(rng: np.random.Generator, draw: object, n: int, tones=tones) -> tuple[np.ndarray, str]:
            level, hertz = next(tones)
            return level * pure_tone(hertz, n), "tone"

        monkeypatch.setattr(distort, "varied", draw)
        wave, _ = layered(np.random.default_rng(seed), make_source(MixConfig()).draw_recording, SECOND)
        levels_db = 20 * np.log10(strengths(wave)[[500, 900, 1300]] / np.sqrt(2))
        assert levels_db[0] == pytest.approx(0, abs=0.01)
        assert levels_db[1:].min() > -15.01 and levels_db[1:].max() < 0.01


def test_between_samples_speed_goes_along_straight_lines() -> None:
    tone = pure_tone(440, 2 * SECOND)
    wave = at_speed(tone, 1.37, SECOND)
    assert np.abs(wave - np.sin(2 * np.pi * 440 * 1.37 * np.arange(SECOND) / SECOND)).max() < 5e-3


def test_gates_are_heard_in_what_is_recoloured(monkeypatch: pytest.MonkeyPatch) -> None:
    white = np.random.default_rng(0).normal(size=SECOND).astype(np.float32)
    for odds, silences in ((0.0, False), (1.0, True)):
        monkeypatch.setattr(distort, "GATED", odds)
        for seed in range(5):
            power = recoloured(np.random.default_rng(seed), white).reshape(-1, 320).var(axis=1)
            assert (np.percentile(power, 2) < 0.1 * np.percentile(power, 90)) == silences
