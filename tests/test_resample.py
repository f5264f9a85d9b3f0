"""The streaming resampler: delay, length, cuts, and how well it keeps and rejects."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import soxr

from quietmic.enhance.polyphase import windowed_sinc
from quietmic.enhance.resample import StreamResampler, low_pass_gain

RATES = [8000, 11025, 12000, 15999, 22050, 44099, 44100, 47999, 48000, 88200, 96000, 176400, 191999, 192000]
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


@pytest.mark.parametrize(("input_rate", "output_rate"), [(191999, 16000), (16000, 191999), (44100, 16000)])
def test_every_output_is_the_exact_filter_to_100_db(input_rate: int, output_rate: int) -> None:
    """Where filters are interpolated as well: 50 samples of the lower rate to either side, cut off at 0.475 of it."""
    rng = np.random.default_rng(2)
    resampler = StreamResampler(1, input_rate, output_rate)
    signal = rng.standard_normal((1, input_rate // 4)).astype(np.float32)
    output = resampler.process(signal)[0]
    reach = 50 * max(input_rate, output_rate)  # in ticks of 1 / (input_rate * output_rate) seconds
    errors = []
    for m in rng.integers(output_rate // 20, output_rate // 5, 300).tolist():
        middle = (m - int(resampler.delay)) * input_rate
        under = np.arange(-((reach - middle) // output_rate), (middle + reach) // output_rate + 1)
        taps = windowed_sinc((under[None] * output_rate - middle) / reach, 2 * 0.475 * 50, 7.857)[0]
        errors.append(output[m] - taps @ signal[0, under])
    assert 20 * np.log10(np.std(errors) / output.std()) < -100
    assert 20 * np.log10(np.abs(errors).max() / output.std()) < -90


def test_no_rate_takes_much_memory_and_a_second_stream_next_to_none() -> None:
    """191999 Hz took 2.1 GB and 12 s, 95999 Hz 1.6 GB for eight channels: by its header alone a file held a machine."""
    sizes = []
    for _ in range(2):
        tracemalloc.start()
        pairs = [StreamResampler(1, *rates) for rates in ((191997, 16000), (16000, 191997))]
        assert [pair.process(np.zeros((1, 16000), np.float32)).shape[1] > 1000 for pair in pairs] == [True, True]
        sizes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert sizes[0] < 80e6
    assert sizes[1] < 10e6  # one block and what is made of it
