"""The constant offset of a converter is taken away, and nothing else."""

import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile

from quietmic import open_stream
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.offset import OffsetState, initial_offset, remove_offset
from quietmic.enhance.stream import Stream


def run(stream: Stream, signal: np.ndarray, length: int | None = None) -> np.ndarray:
    stream.reset()
    cuts = range(0, signal.shape[1], length or signal.shape[1])
    parts = [stream.process(signal[:, start : start + (length or signal.shape[1])]) for start in cuts]
    return np.concatenate([*parts, stream.flush()])[stream.delay :]


def voice(seconds: float = 4, rate: int = 16000) -> np.ndarray:
    """Harmonics of 140 Hz in noise, with pauses: [1, n_samples]."""
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 1.3 * t) > -0.2)
    return (0.08 * tone + 0.02 * np.random.default_rng(0).standard_normal(len(t)))[None].astype(np.float32)


def error_db(found: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10(np.sum((found - expected) ** 2) / np.sum(expected**2) + 1e-20))


@pytest.mark.parametrize("offset", [0.2, -0.3, 0.05])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_the_output_is_that_without_offset_after_half_a_second(rate: int, offset: float) -> None:
    """An offset of 0.1 cost a decibel, one of 0.3 four and a half: cheap converters have such."""
    stream = open_stream("tcn-tiny", sample_rate=rate)
    expected = run(stream, voice(rate=rate))
    found = run(stream, voice(rate=rate) + np.float32(offset))
    assert error_db(found[rate // 2 :], expected[rate // 2 :]) < (-40 if abs(offset) > 0.1 else -35)


def test_each_microphone_has_its_own_offset(passthrough_model: Path) -> None:
    stream = Stream(OnnxNetwork(passthrough_model), 3)
    signal = np.tile(voice(), (3, 1))
    found = run(stream, signal + np.array([[0.1], [0.0], [-0.2]], np.float32))
    assert error_db(found[8000:], signal[0, 8000:]) < -40
    assert np.allclose(stream.state.offset.offset, [0.1, 0, -0.2], atol=1e-2)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_sound_without_offset_is_not_changed(passthrough_model: Path, recordings: Path, rate: int) -> None:
    """Nor one of low tones: hum of the mains, the lowest voices, a tone that begins at its crest."""
    t = np.arange(4 * rate) / rate
    rng = np.random.default_rng(1)
    sounds = {f"{hz} Hz": 0.3 * np.cos(2 * np.pi * hz * t) for hz in (45, 50, 60, 85, 200)}
    sounds |= {"voice": voice(4, rate)[0], "noise": 0.1 * rng.standard_normal(4 * rate), "silence": np.zeros(4 * rate)}
    for path in sorted(recordings.glob("mono*")):
        samples, _ = soundfile.read(path, dtype="float32")
        sounds[path.name] = samples
    stream = Stream(OnnxNetwork(passthrough_model), 1, rate)
    for name, samples in sounds.items():
        run(stream, samples[None].astype(np.float32))
        assert stream.state.offset.offset == [0.0], name
        stream.reset()
        for start in range(0, len(samples), rate // 10):
            stream.process(samples[None, start : start + rate // 10].astype(np.float32))
            assert stream.state.offset.offset == [0.0], (name, start)


@pytest.mark.parametrize("length", [1, 7, 255, 257, 5000])
def test_it_is_the_same_for_every_cut(passthrough_model: Path, length: int) -> None:
    stream = Stream(OnnxNetwork(passthrough_model), 2)
    signal = np.tile(voice(1 if length > 1 else 0.2), (2, 1)) + np.array([[0.1], [0.02]], np.float32)
    assert np.abs(run(stream, signal, length) - run(stream, signal)).max() < 1e-6


def test_an_offset_that_comes_late_goes_and_the_state_can_be_copied(passthrough_model: Path) -> None:
    stream = Stream(OnnxNetwork(passthrough_model))
    signal = voice(8)
    late = signal + np.where(np.arange(signal.shape[1]) < 32_000, 0, 0.2).astype(np.float32)
    found = run(stream, late)
    assert np.abs(found[:31_000] - signal[0, :31_000]).max() < 1e-6
    assert error_db(found[-16_000:], signal[0, -16_000:]) < -25
    stream.reset()
    stream.process(late[:, :40_000])
    saved = copy.deepcopy(stream.state)
    second = stream.process(late[:, 40_000:60_000])
    stream.state = saved
    assert np.array_equal(stream.process(late[:, 40_000:60_000]), second)


def test_the_end_of_a_sound_with_an_offset_is_no_step(passthrough_model: Path) -> None:
    stream = Stream(OnnxNetwork(passthrough_model), 1, 48000)
    signal = voice(1, 48000)
    expected = run(stream, signal)
    found = run(stream, signal + np.float32(0.3))
    assert np.abs(found[-500:] - expected[-500:]).max() < 0.01


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize(("offset", "back"), [(0.3, 0.0), (0.1, -0.2)])
def test_an_offset_that_jumps_costs_a_fifth_of_a_second(
    passthrough_model: Path, rate: int, offset: float, back: float
) -> None:
    """0 -> 0.3 -> 0 cost 1.4 dB over a scene of 6 s: the mean of the last second followed for three seconds."""
    stream = Stream(OnnxNetwork(passthrough_model), 1, rate)
    signal = voice(6, rate)
    third = np.arange(signal.shape[1]) * 3 // signal.shape[1]
    jumping = signal + np.choose(third, [0.0, offset, back]).astype(np.float32)
    expected, found = run(stream, signal), run(stream, jumping)
    for begin in (2 * rate, 4 * rate):
        settled = slice(begin + rate // 5, begin + 2 * rate - rate // 50)
        assert error_db(found[settled], expected[settled]) < -30
    assert np.abs(found[: 2 * rate - rate // 50] - expected[: 2 * rate - rate // 50]).max() < 1e-4


def test_a_puff_of_breath_and_slow_rumble_are_no_jumps(passthrough_model: Path) -> None:
    """A plosive presses a microphone to one side for some 50 ms; wind moves it slowly."""
    t = np.arange(4 * 16000) / 16000
    puff = 0.5 * np.exp(-(((t - 2) / 0.025) ** 2))
    brown = np.cumsum(np.random.default_rng(2).standard_normal(len(t)))
    rumble = 0.3 * np.sin(2 * np.pi * 2 * t) + 1e-3 * (brown - np.convolve(brown, np.ones(4000) / 4000, "same"))
    stream = Stream(OnnxNetwork(passthrough_model))
    for sound in (puff, voice()[0] + puff, np.where(t < 2, 0, rumble)):
        for start in range(0, len(t), 256):
            stream.process(sound[None, start : start + 256].astype(np.float32))
            assert stream.state.offset.offset == [0.0]
        stream.reset()


def test_a_sound_that_begins_with_rumble_has_no_offset(passthrough_model: Path) -> None:
    """The few means of its beginning went together, and counted as many: up to 4.4e-3 were taken away for a while."""
    t, stream = np.arange(16000) / 16000, Stream(OnnxNetwork(passthrough_model))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        waves = [np.cos(2 * np.pi * (rng.uniform(1, 12) * t + rng.random())) for _ in range(6)]
        rumble = 2e-3 * sum(waves) / 3 + 5e-4 * rng.standard_normal(len(t))
        for level in (1, 0.2):
            found = run(stream, level * rumble[None].astype(np.float32))
            assert np.abs(found - level * rumble).max() < 1e-4


HOP = 256


def take(signal: np.ndarray) -> tuple[np.ndarray, list[float], OffsetState]:
    """What is left of [n_samples], the offset after each hop, and the state at the end."""
    state, rest, offsets = initial_offset(1), [], []
    for hop in signal[: len(signal) // HOP * HOP].reshape(-1, 1, HOP).astype(np.float32):
        rest.append(remove_offset(hop, np.ones(HOP, np.float32), state)[0])
        offsets.append(state.offset[0])
    return np.concatenate(rest), offsets, state


def test_a_small_offset_is_sure_after_twelve_hops_and_goes_along_a_ramp() -> None:
    rest, offsets, _ = take(np.full(20 * HOP, 0.005))
    assert offsets == pytest.approx([0.0] * 11 + [0.005] * 9)
    ramp = 0.005 * (1 - np.arange(1, HOP + 1) / HOP)
    np.testing.assert_allclose(rest, np.concatenate([[0.005] * 11 * HOP, ramp, [0] * 8 * HOP]), atol=1e-8)


def test_the_mean_is_that_of_all_hops_at_first_and_later_of_the_last_second() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(262 * HOP)
    means = noise[: 40 * HOP].astype(np.float32).reshape(40, HOP).mean(axis=1)
    _, _, state = take(noise[: 40 * HOP])
    assert state.mean[0] == pytest.approx(means.mean(), abs=1e-7)
    assert state.spread[0] == pytest.approx(means.var() + noise[:HOP].var() / 4 / 40, rel=1e-3)
    shifted = noise + 0.004 * (np.arange(len(noise)) >= 200 * HOP)
    (_, _, before), (_, _, after) = take(noise), take(shifted)
    assert after.mean[0] - before.mean[0] == pytest.approx(0.004 * (1 - (1 - 1 / 62.5) ** 62), rel=1e-3)


def test_noise_and_hum_are_never_taken_for_an_offset() -> None:
    """Not for one hop: what was decided too early is mostly taken back, and was heard."""
    for seed in range(20):
        assert not any(take(0.05 * np.random.default_rng(seed).standard_normal(100 * HOP))[1])
    time_s = np.arange(50 * HOP) / 16000
    for hertz in (45, 50, 60, 85, 200):
        assert not any(take(0.3 * np.cos(2 * np.pi * hertz * time_s))[1]), hertz


@pytest.mark.parametrize(("hertz", "turn"), [(0.5, 0.25), (1, 0), (1, 0.25), (1, 0.5), (1, 0.75), (2, 0.25)])
def test_hops_of_one_slow_wave_are_no_independent_witnesses(hertz: float, turn: float) -> None:
    time_s = np.arange(120 * HOP) / 16000
    wave = 4e-3 * np.cos(2 * np.pi * (hertz * time_s + turn))
    for seed in range(5):
        assert not any(take(wave + 5e-4 * np.random.default_rng(seed).standard_normal(len(wave)))[1])
