"""A whisper made of a talker: his formants and his rhythm, and no voice."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_scenes_drawn import PLAIN, make_source

from quietmic.models.mixtures.voices import whispered

RATE = 16000
PITCH_HZ = 125
FORMANTS_HZ = (1500, 2500, 3500)


def spoken(seconds: float = 2.0) -> np.ndarray:
    """A vowel of pulses through resonances 100 Hz wide, 20 dB softer in every other quarter of a second."""
    n_samples = int(seconds * RATE)
    freqs = np.fft.rfftfreq(n_samples, 1 / RATE)
    pulses = np.zeros(n_samples)
    pulses[:: RATE // PITCH_HZ] = 1
    response = sum(1 / (1j * (freqs - hz) + 50) for hz in FORMANTS_HZ)
    loud = np.where(np.arange(n_samples) // (RATE // 4) % 2, 0.1, 1.0)
    return (loud * np.fft.irfft(np.fft.rfft(pulses) * response)).astype(np.float32)


@pytest.fixture(scope="module")
def whisper() -> np.ndarray:
    return whispered(np.random.default_rng(0), spoken(), RATE)


def periodicity(sound: np.ndarray) -> float:
    lag = RATE // PITCH_HZ
    return float(np.corrcoef(sound[lag:], sound[:-lag])[0, 1])


def test_a_whisper_has_no_voice(whisper: np.ndarray) -> None:
    assert periodicity(spoken()) > 0.8
    assert abs(periodicity(whisper)) < 0.3  # of narrow formants, which ring
    assert whisper.shape == spoken().shape and whisper.dtype == np.float32


def test_a_whisper_has_the_formants_of_its_talker(whisper: np.ndarray) -> None:
    power = np.abs(np.fft.rfft(whisper)) ** 2
    freqs = np.fft.rfftfreq(len(whisper), 1 / RATE)

    def near(hz: float) -> float:
        return float(power[np.abs(freqs - hz) < 100].mean())

    for low, high in pairwise(FORMANTS_HZ):
        assert min(near(low), near(high)) > 8 * near((low + high) / 2)


def test_a_whisper_has_the_rhythm_and_the_level_of_its_talker(whisper: np.ndarray) -> None:
    def level(sound: np.ndarray) -> np.ndarray:
        quarters = sound.reshape(-1, RATE // 4)[:, 800:-800]
        return 10 * np.log10(np.square(quarters).mean(axis=1))

    assert level(whisper) == pytest.approx(level(spoken()), abs=1.5)


def test_a_whisper_comes_when_its_talker_speaks() -> None:
    """A target that is late or early would teach the network an echo."""
    burst = np.zeros(RATE, np.float32)
    burst[5000:7000] = np.random.default_rng(1).normal(size=2000)
    power = np.square(whispered(np.random.default_rng(0), burst, RATE))
    assert (power * np.arange(RATE)).sum() / power.sum() == pytest.approx(6000, abs=100)


def test_silence_stays_silence() -> None:
    """A scene without a talker is told by its power of zero: noise, however soft, would be made as loud as one."""
    assert not whispered(np.random.default_rng(0), np.zeros(RATE, np.float32), RATE).any()


def test_low_sounds_are_weaker_in_a_whisper() -> None:
    def low_share_db(sound: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(sound)) ** 2
        return float(10 * np.log10(power[: len(sound) * 250 // RATE].sum() / power.sum()))

    noise = np.random.default_rng(1).normal(size=RATE)
    falls = [low_share_db(whispered(np.random.default_rng(k), noise, RATE)) - low_share_db(noise) for k in range(20)]
    assert -16 < min(falls) < max(falls) < -1


def test_a_share_of_the_talkers_whispers() -> None:
    config = replace(PLAIN, segment_s=1.0)  # half of it is speech at least

    def n_whispers(share: float) -> int:
        changed = replace(config, whispered=share)
        pairs = [[make_source(c).draw((seed,), 1, 1)[0].speech for c in (config, changed)] for seed in range(20)]
        return sum(not np.array_equal(plain, perhaps) for plain, perhaps in pairs)

    assert n_whispers(1.0) == 20
    assert 4 <= n_whispers(0.5) <= 16
