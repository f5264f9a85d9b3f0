"""The streaming resampler: delay, length, cuts, and how well it keeps and rejects."""

from fractions import Fraction

import numpy as np
import pytest
import soxr

from quietmic.enhance.resample import StreamResampler, low_pass_gain

RATES = [8000, 11025, 22050, 44099, 44100, 48000, 96000, 192000]
PAIRS = [(rate, 16000) for rate in RATES] + [(16000, rate) for rate in RATES]


def resample(resampler: StreamResampler, signal: np.ndarray, n_blocks: int) -> np.ndarray:
    resampler.reset()
    parts = [resampler.process(block) for block in np.array_split(signal, n_blocks, axis=1)]
    return np.concatenate([*parts, resampler.flush()], axis=1)


@pytest.mark.parametrize(("input_rate", "output_rate"), PAIRS)
def test_delay_length_and_cuts(input_rate: int, output_rate: int) -> None:
    resampler = StreamResampler(2, input_rate, output_rate)
    n_samples = input_rate // 2 + 11
    time_s = np.arange(n_samples) / input_rate
    taper = np.hanning(n_samples)
    signal = np.stack([np.sin(2 * np.pi * 700 * time_s) * taper, 0.1 * taper]).astype(np.float32)
    whole = resample(resampler, signal, 1)
    assert whole.shape == (2, -(-n_samples * output_rate // input_rate) + resampler.delay)
    assert np.abs(whole - resample(resampler, signal, 97)).max() < 5e-6
    aligned = whole[:, int(resampler.delay) :]
    expected = np.sin(2 * np.pi * 700 * np.arange(aligned.shape[1]) / output_rate)
    expected *= np.interp(np.arange(aligned.shape[1]) / output_rate, time_s, taper)
    assert np.abs(aligned[0] - expected).max() < 1e-4
    assert resampler.delay / output_rate < 51 / min(input_rate, output_rate)


@pytest.mark.parametrize(("input_rate", "output_rate"), [(48000, 16000), (44100, 16000), (16000, 44100)])
def test_agrees_with_soxr_inside_the_pass_band(input_rate: int, output_rate: int) -> None:
    rng = np.random.default_rng(0)
    low = min(input_rate, output_rate)
    noise = rng.standard_normal(input_rate)
    spectrum = np.fft.rfft(noise)
    spectrum[int(0.44 * low) :] = 0  # one bin is 1 Hz
    signal = np.fft.irfft(spectrum).astype(np.float32)
    resampler = StreamResampler(1, input_rate, output_rate)
    ours = resample(resampler, signal[None], 10)[0, int(resampler.delay) :][:output_rate]
    theirs = soxr.resample(signal, input_rate, output_rate, quality="VHQ")
    middle = slice(output_rate // 10, -output_rate // 10)
    error = np.sum((ours[middle] - theirs[middle]) ** 2) / np.sum(theirs[middle] ** 2)
    assert 10 * np.log10(error) < -70


@pytest.mark.parametrize("hertz", [8050, 9000])
def test_rejects_what_would_alias(hertz: int) -> None:
    resampler = StreamResampler(1, 48000, 16000)
    tone = np.sin(2 * np.pi * hertz * np.arange(48000) / 48000).astype(np.float32)
    output = resample(resampler, tone[None], 5)[0, 500:-500]
    assert 20 * np.log10(np.abs(output).max()) < -75


def test_the_stated_gain_is_that_of_the_filter() -> None:
    hertz = np.array([1000, 7200, 7400, 7600, 7800])
    for input_rate, output_rate in ((48000, 16000), (16000, 48000)):
        found = []
        for each in hertz:
            tone = np.sin(2 * np.pi * each * np.arange(input_rate) / input_rate + 0.5).astype(np.float32)
            output = resample(StreamResampler(1, input_rate, output_rate), tone[None], 3)[0, output_rate // 4 :]
            middle = output[: output_rate // 2]
            carrier = np.exp(-2j * np.pi * each * np.arange(len(middle)) / output_rate)
            found.append(2 * abs(np.mean(middle * carrier)))
        np.testing.assert_allclose(found, low_pass_gain(hertz, 16000), atol=2e-3)


def test_a_wanted_fraction_of_a_sample_is_met() -> None:
    resampler = StreamResampler(1, 16000, 44100, min_delay=Fraction(2, 5))
    assert resampler.delay % 1 == Fraction(2, 5)
    n_samples = 1600
    hump = np.hanning(n_samples).astype(np.float32)[None]
    output = resample(resampler, hump, 3)[0]
    position_s = (np.arange(len(output)) - float(resampler.delay)) / 44100
    expected = np.interp(position_s, np.arange(n_samples) / 16000, hump[0], 0, 0)
    assert np.abs(output - expected).max() < 1e-4
    with pytest.raises(ValueError, match="off the grid"):
        StreamResampler(1, 16000, 44100, min_delay=Fraction(1, 7))


def test_equal_rates_change_nothing() -> None:
    resampler = StreamResampler(3, 16000, 16000)
    signal = np.random.default_rng(1).standard_normal((3, 999)).astype(np.float32)
    assert resampler.delay == 0
    assert np.array_equal(resample(resampler, signal, 7), signal)
