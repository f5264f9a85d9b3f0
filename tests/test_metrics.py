"""Measures against their reference libraries, and "not measured" where they do not exist."""

import numpy as np
import pytest

from quietmic.enhance.arrays import Array
from quietmic.enhance.measure import metrics
from quietmic.enhance.measure.wideband import log_spectral_distance, measure_wideband, take_range

RATE = 16000


def speechlike(seconds: float, seed: int) -> Array:
    """Noise shaped like syllables (4 Hz bursts over a falling spectrum) with pauses: enough for STOI and PESQ."""
    rng = np.random.default_rng(seed)
    n_samples = int(seconds * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    freqs = np.fft.rfftfreq(n_samples, 1 / RATE)
    carrier = np.fft.irfft(spectrum / (1 + (freqs / 500) ** 2), n_samples)
    envelope = np.clip(np.sin(2 * np.pi * 4 * np.arange(n_samples) / RATE), 0, None)
    signal = carrier * envelope
    return (0.3 * signal / np.abs(signal).max()).astype(np.float32)


@pytest.fixture(scope="module")
def pair() -> tuple[Array, Array]:
    clean = speechlike(4.0, 0)
    noise = 0.02 * np.random.default_rng(1).standard_normal(clean.size)
    return clean, (0.7 * clean + noise).astype(np.float32)


def test_si_sdr_agrees_with_torchmetrics(pair):
    import torch
    from torchmetrics.functional import audio as functional

    clean, noisy = (torch.from_numpy(x.astype(np.float64)) for x in pair)
    expected = functional.scale_invariant_signal_distortion_ratio(noisy, clean).item()
    assert metrics.si_sdr(*pair) == pytest.approx(expected, abs=1e-3)


def test_si_sdr_of_known_mixtures():
    clean, noise = np.eye(2)[0], np.eye(2)[1]
    assert metrics.si_sdr(clean, 5 * clean + 0.5 * noise) == pytest.approx(20.0, abs=1e-9)
    assert metrics.si_sdr(clean, clean) == pytest.approx(156.5, abs=0.1)
    assert metrics.si_sdr(clean, np.zeros(2)) == -60
    assert metrics.si_sdr(np.zeros(2), noise) is None
    assert metrics.si_sdr(clean, clean * np.nan) is None
    with pytest.raises(ValueError, match="one length"):
        metrics.si_sdr(clean, np.zeros(3))


def test_stoi_and_pesq_are_the_libraries_figures(pair):
    import pesq
    import pystoi

    clean, noisy = (x.astype(np.float64) for x in pair)
    assert metrics.stoi(*pair, RATE) == pystoi.stoi(clean, noisy, RATE)
    # pystoi adds an unseeded dither of 1e-16 in the extended measure: two calls of its own differ in the last digit.
    assert metrics.estoi(*pair, RATE) == pytest.approx(pystoi.stoi(clean, noisy, RATE, extended=True), abs=1e-12)
    assert metrics.pesq_wb(*pair, RATE) == pesq.pesq(RATE, clean, noisy, "wb")
    assert metrics.pesq_nb(*pair, RATE) == pesq.pesq(RATE, clean, noisy, "nb")


@pytest.mark.parametrize(("seconds", "click"), [(4.0, 0.0), (11.0, 10.0)])
def test_dnsmos_is_what_speechmos_gives(seconds, click):
    """Of peaks, too, as a file would hold them."""
    from speechmos import dnsmos

    noisy = speechlike(seconds, 2) + 0.01 * np.random.default_rng(3).standard_normal(int(seconds * RATE))
    noisy[::4000] += click
    noisy *= 10 ** (-26 / 20) / np.sqrt(np.mean(noisy**2))
    assert (np.abs(noisy).max() > 2) == (click > 0)
    expected = dnsmos.run(np.clip(noisy, -1, 1).astype(np.float32), RATE)
    figures = metrics.dnsmos(noisy.astype(np.float32), RATE)
    for name in metrics.REFERENCE_FREE:
        assert figures[name] == pytest.approx(expected[f"{name}_mos"], abs=1e-4)


def test_dnsmos_does_not_hear_the_level():
    """Turning the output up or down by 12 dB was worth up to 0.3."""
    noisy = (speechlike(9.1, 2) * 0.1).astype(np.float32)
    figures = [metrics.dnsmos(gain * noisy, RATE) for gain in (1.0, 0.25)]
    for name in metrics.REFERENCE_FREE:
        assert figures[0][name] == pytest.approx(figures[1][name], abs=1e-3)


def test_what_does_not_exist_is_not_measured(monkeypatch, pair):
    short = np.ones(800, dtype=np.float32)
    assert metrics.stoi(short, short, RATE) is None
    assert metrics.pesq_wb(short, short, RATE) is None
    assert metrics.measure(None, pair[1], RATE)["si_sdr"] is None
    assert metrics.dnsmos(np.zeros(0), RATE) == {"sig": None, "bak": None, "ovrl": None}
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    assert metrics.measure(*pair, RATE) == {
        name: metrics.si_sdr(*pair) if name == "si_sdr" else None for name in metrics.METRIC_NAMES
    }


def test_silence_against_speech_is_the_worst_there_is(pair):
    """It was "not measured" and left out: a system that muted the hard file had the better mean."""
    clean, noisy = pair
    silence = np.zeros_like(clean)
    figures = metrics.measure(clean, silence, RATE)
    assert (figures["si_sdr"], figures["pesq_wb"], figures["pesq_nb"]) == (-60, 1, 1)
    assert figures["stoi"] == pytest.approx(0, abs=1e-3)
    for level in (1e-17, 1e-40):  # what decays without end: PESQ stopped the evaluation there
        assert metrics.pesq_wb(clean, level * noisy, RATE) == metrics.pesq_nb(clean, level * noisy, RATE) == 1
    assert metrics.measure(silence, silence, RATE)["si_sdr"] is None
    assert metrics.pesq_wb(silence, noisy, RATE) is None
    assert metrics.si_sdr(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == -60


def test_the_band_above_8_khz_is_measured_on_its_own():
    """The measures at 16 kHz said the same of a recording with all its sibilants and of one without."""
    rate, rng = 48000, np.random.default_rng(0)
    clean = rng.standard_normal(2 * rate).astype(np.float32)
    dull = take_range(clean, rate, 0, 8000).astype(np.float32)
    assert measure_wideband(clean, clean, rate)["lsd_high"] == 0
    figures = measure_wideband(clean, dull, rate)
    assert figures["lsd_high"] > 30
    assert figures["si_sdr_high"] == pytest.approx(metrics.SI_SDR_WORST, abs=20)
    assert figures["si_sdr_whole"] == pytest.approx(10 * np.log10(7.9 / 12), abs=0.1)
    noise = take_range(rng.standard_normal(2 * rate), rate, 8000, 20000)
    noisy = (clean + 0.1 / np.sqrt(0.5) * noise).astype(np.float32)
    figures = measure_wideband(clean, noisy, rate)
    assert figures["si_sdr_high"] == pytest.approx(17, abs=0.1)
    assert figures["lsd_high"] > 1.2 * figures["lsd_whole"]
    assert set(measure_wideband(clean, clean, 16000).values()) == {None}
    assert set(measure_wideband(None, clean, rate).values()) == {None}


def test_a_tenth_of_the_amplitude_is_20_db_of_log_spectral_distance():
    clean = np.random.default_rng(0).standard_normal(48000).astype(np.float32)
    assert log_spectral_distance(clean, 0.1 * clean, 48000, 8000, 20000) == pytest.approx(20, abs=0.1)
    assert log_spectral_distance(0 * clean, clean, 48000, 8000, 20000) is None
    assert log_spectral_distance(clean[:100], clean[:100], 48000, 8000, 20000) is None


def test_log_spectral_distance_of_a_tone_and_silence():
    """50 dB at the tone's bin and 6 dB less beside it, by the window; nothing elsewhere."""
    rate, n_bins = 48000, 384  # of 31.25 Hz from 8 to 20 kHz
    tone = np.sin(2 * np.pi * 10_000 * np.arange(rate) / rate).astype(np.float32)
    expected = np.sqrt((50**2 + 2 * 44**2) / n_bins)
    assert log_spectral_distance(tone, 0 * tone, rate, 8000, 20000) == pytest.approx(expected, rel=0.01)
    assert log_spectral_distance(tone, tone, rate, 8000, 20000) == 0


def test_log_spectral_distance_is_the_mean_over_frames():
    noise = np.random.default_rng(0).standard_normal(96_000).astype(np.float32)
    softer = noise * np.where(np.arange(96_000) < 48_000, 1, 0.1).astype(np.float32)
    assert log_spectral_distance(noise, softer, 48000, 8000, 20000) == pytest.approx(10, abs=0.3)


def test_measures_of_one_rate_hear_signals_of_another_at_theirs(pair):
    import soxr

    at_48_khz = [soxr.resample(x, RATE, 48000) for x in pair]
    for measure in (metrics.pesq_wb, metrics.stoi):
        assert measure(*at_48_khz, 48000) == pytest.approx(measure(*pair, RATE), abs=0.02)
    noisy = speechlike(4.6, 0)  # repeated once and heard once: what costs least
    figures = [metrics.dnsmos(soxr.resample(noisy, RATE, 48000), 48000), metrics.dnsmos(noisy, RATE)]
    for name in metrics.REFERENCE_FREE:
        assert figures[0][name] == pytest.approx(figures[1][name], abs=0.02)
