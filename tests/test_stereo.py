"""Two channels: under one mask where they carry one scene, each on its own where they do not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from make_models import make_gain
from test_offset import voice

from quietmic import QuietmicError, cli, denoise_file
from quietmic import denoise as denoise_array
from quietmic.enhance.files.audio import read, write
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.signals import enhance_signal
from quietmic.enhance.stereo import LinkedStream, measure_likeness
from quietmic.enhance.stream import Stream

RATE = 48000


def noise(n_samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n_samples)


def panned(db: float = 3.5) -> np.ndarray:
    """One voice that stands to the left, in noise of each channel's own."""
    x, gain = voice(4, RATE)[0], 10 ** (db / 40)
    return np.stack([x * gain + 0.02 * noise(len(x), 1), x / gain + 0.02 * noise(len(x), 2)]).astype(np.float32)


def call() -> np.ndarray:
    """Two parties who speak in turn, one a side, each heard faintly on the other side."""
    x = voice(4, RATE)[0]
    turn = np.arange(len(x)) < len(x) // 2
    here, there = x * turn, np.roll(x, 777)[::-1] * ~turn
    sides = np.stack([here + 0.05 * there, there + 0.05 * here]) + 0.01 * np.stack([noise(len(x), 3), noise(len(x), 4)])
    return sides.astype(np.float32)


@pytest.fixture
def denoise(tmp_path: Path) -> Callable[..., tuple[np.ndarray, str]]:
    """Runs the command on two channels; gives the output and what was done."""

    def run(samples: np.ndarray, *options: str) -> tuple[np.ndarray, str]:
        write(tmp_path / "a.wav", samples, RATE)
        arguments = [str(tmp_path / "a.wav"), "-o", str(tmp_path / "b.wav"), "--model", "tcn-tiny", "--overwrite"]
        assert cli.main(["denoise", *arguments, *options, "--json", str(tmp_path / "a.json")]) == 0
        (result,) = json.loads((tmp_path / "a.json").read_text())["files"]
        return read(tmp_path / "b.wav")[0], result["stereo"]

    return run


def level_differences_db(samples: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Of frames of 100 ms in which `where` sounds."""
    n = RATE // 10
    frames = [slice(i, i + n) for i in range(0, samples.shape[1] - n, n) if np.std(where[i : i + n]) > 0.05]
    return np.array([20 * np.log10(np.std(samples[0, f]) / np.std(samples[1, f])) for f in frames])


def test_a_voice_stays_where_it_stands(denoise: Callable[..., tuple[np.ndarray, str]]) -> None:
    """With a mask for each channel its level difference wandered from 1.9 to 12.4 dB within a second."""
    found, stereo = denoise(panned())
    assert stereo == "linked"
    assert np.abs(level_differences_db(found, voice(4, RATE)[0]) - 3.5).max() < 1
    found, stereo = denoise(panned(), "--stereo", "separate")
    assert stereo == "separate"


def test_a_call_with_one_party_a_side_stays_separate(denoise: Callable[..., tuple[np.ndarray, str]]) -> None:
    separate, _ = denoise(call(), "--stereo", "separate")
    found, stereo = denoise(call())
    assert stereo == "separate"
    assert np.array_equal(found, separate)
    assert denoise(call(), "--stereo", "linked")[1] == "linked"


def test_channels_upside_down_do_not_cancel(denoise: Callable[..., tuple[np.ndarray, str]]) -> None:
    x = voice(2, RATE)
    found, stereo = denoise(np.concatenate([x, -x]))
    assert stereo == "linked"
    assert np.abs(found[0] + found[1]).max() < 1e-3
    assert np.std(found[0]) > 0.3 * np.std(x)


@pytest.mark.parametrize(("share", "top_hz"), [(1.0, 9000), (0.1, 4000)])
def test_what_cancels_in_the_mean_is_kept_with_the_rest(tmp_path: Path, share: float, top_hz: int) -> None:
    """A widened recording whose sides are opposite above 9 kHz came out with errors of -43 dB there."""
    network = OnnxNetwork(make_gain(tmp_path / "share.onnx", share))
    spectrum = np.fft.rfft([noise(RATE, 5), noise(RATE, 6)])
    above = np.fft.rfftfreq(RATE, 1 / RATE) > top_hz
    low, high = np.fft.irfft(spectrum * np.stack([~above, above])) * 0.05
    for gain in (1.0, 1e-6):
        signal = (gain * np.stack([low + high, low - high])).astype(np.float32)
        stream = LinkedStream(Stream(network, 1, RATE))
        found = np.concatenate(list(enhance_signal([stream], [signal])), axis=1)
        middle = slice(RATE // 10, -RATE // 10)
        assert np.std((found - share * signal)[:, middle]) < 2e-4 * np.std(signal)


def test_likeness() -> None:
    """Of one scene, of two, of one channel alone, of silence; short sounds are unrelated unless they are alike."""
    x = noise(RATE, 0)
    for sounds, expected in [
        (np.stack([x, x]), 1.0),
        (np.stack([x, -0.1 * x]), 1.0),
        (np.stack([x, noise(RATE, 1)]), 0.0),
        (np.stack([x, 0 * x]), 0.0),
        (np.stack([0 * x, 0 * x]), 0.0),
    ]:
        blocks = [sounds[:, i : i + 4800].astype(np.float32) for i in range(0, RATE, 4800)]
        assert measure_likeness(blocks, RATE)[0] == pytest.approx(expected, abs=0.12)
    assert measure_likeness([np.stack([x, -x])], RATE)[1] == -1
    voice_of_both = np.fft.irfft(np.fft.rfft(x) * (np.fft.rfftfreq(RATE, 1 / RATE) < 2000))
    faint = voice_of_both + 1e-3 * np.stack([noise(RATE, 1), noise(RATE, 2)])
    assert measure_likeness([faint], RATE)[0] > 0.95  # what sounds counts, not how many frequencies do
    short = [np.stack([noise(4096, seed), noise(4096, seed + 20)]) for seed in range(20)]  # of three frames
    assert np.mean([measure_likeness([pair], RATE)[0] for pair in short]) < 0.2
    assert measure_likeness([], RATE)[0] == 0


@pytest.mark.parametrize("polarity", [1.0, -1.0])
def test_the_network_hears_the_mean_and_its_gain_goes_onto_both_up_to_twice(tmp_path: Path, polarity: float) -> None:
    for gain, expected in ((0.5, 0.5), (4.0, 2.0)):
        stream, heard = Stream(OnnxNetwork(make_gain(tmp_path / f"{gain}.onnx", gain)), 1, 16000), []
        process = stream.process
        stream.process = lambda block, process=process, heard=heard: (heard.append(block), process(block))[1]  # type: ignore[method-assign, misc]
        left, right = 0.1 * noise(16_000, 0), 0.05 * noise(16_000, 1)
        signal = np.stack([left, right]).astype(np.float32)
        found = np.concatenate(list(enhance_signal([LinkedStream(stream, polarity)], [signal])), axis=1)
        mean = np.concatenate(heard, axis=1)[0]
        np.testing.assert_allclose(mean, ((left + polarity * right) / 2)[: len(mean)], atol=1e-6)
        middle = slice(1000, -1000)
        assert np.std((found - expected * signal)[:, middle]) < 1e-3 * np.std(signal)


@pytest.mark.parametrize("rate", [8000, 12345, 16000, 44100, 48000])
@pytest.mark.parametrize("length", [997, 50_000])
def test_what_the_network_leaves_comes_out_in_time(passthrough_model: Path, rate: int, length: int) -> None:
    """A pass-through network gives both channels back, whole, in time, for every cut."""
    n = 2 * rate + 3
    t = np.arange(n) / rate
    signal = np.stack([np.sin(2 * np.pi * 300 * t), 0.5 * np.sin(2 * np.pi * 700 * t + 1)]) * np.hanning(n)
    signal = (0.3 * signal).astype(np.float32)
    stream = LinkedStream(Stream(OnnxNetwork(passthrough_model), 1, rate))
    blocks = (signal[:, i : i + length] for i in range(0, n, length))
    found = np.concatenate(list(enhance_signal([stream], blocks)), axis=1)
    assert found.shape == signal.shape
    assert np.abs(found - signal).max() < 2e-3


def test_bad_samples_count_and_harm_nothing(passthrough_model: Path) -> None:
    stream = LinkedStream(Stream(OnnxNetwork(passthrough_model), 1, 16000))
    signal = panned()[:, :16_000]
    signal[0, 100:110] = np.nan
    found = np.concatenate(list(enhance_signal([stream], [signal])), axis=1)
    assert stream.non_finite == 10
    assert np.isfinite(found).all()


def test_from_python(tmp_path: Path, passthrough_model: Path) -> None:
    write(tmp_path / "a.wav", panned()[:, :16_000], 16000)
    for stereo in ("auto", "linked", "separate"):
        target = tmp_path / f"{stereo}.wav"
        assert denoise_file(tmp_path / "a.wav", target, str(passthrough_model), stereo=stereo) == []
    with pytest.raises(QuietmicError, match="one of auto, linked, separate"):
        denoise_file(tmp_path / "a.wav", tmp_path / "x.wav", str(passthrough_model), stereo="both")


def test_an_array_of_two_channels_comes_back_as_a_file_of_them_does(
    tmp_path: Path, denoise: Callable[..., tuple[np.ndarray, str]]
) -> None:
    """One by one, which the page told to do, a voice wandered between them."""
    for samples, stereo in ((panned(), "linked"), (call(), "separate")):
        of_file, done = denoise(samples)
        found = denoise_array(read(tmp_path / "a.wav")[0], RATE, "tcn-tiny", array=False)
        assert done == stereo
        assert np.abs(found - of_file).max() < 2**-15 + 1e-6
    three = np.vstack([panned(), panned()[:1]]).astype(np.float64)
    found = denoise_array(three, RATE, "tcn-tiny", array=False)
    assert np.array_equal(found[0], denoise_array(three[0], RATE, "tcn-tiny"))
    assert found.shape == three.shape
    with pytest.raises(ValueError, match="samples are floats"):
        denoise_array((1000 * panned()).astype(np.int16), RATE, array=False)
    with pytest.raises(QuietmicError, match="rate"):
        denoise_array(panned(), 100, array=False)


@pytest.mark.parametrize("offsets", [(0.2, -0.2), (0.1, 0.3), (0.2, 0.0)])
def test_each_of_two_channels_has_its_own_offset(passthrough_model: Path, offsets: tuple[float, float]) -> None:
    """Opposite ones cancelled in the mean, and stayed: the error was larger than the sound."""

    def run(samples: np.ndarray) -> np.ndarray:
        stream = LinkedStream(Stream(OnnxNetwork(passthrough_model), 1, RATE))
        blocks = (samples[:, start : start + 1000] for start in range(0, samples.shape[1], 1000))
        return np.concatenate(list(enhance_signal([stream], blocks)), axis=1)

    expected = run(panned())
    found = run(panned() + np.array(offsets, np.float32)[:, None])
    assert found.shape == expected.shape == panned().shape
    error = found[:, RATE // 2 :] - expected[:, RATE // 2 :]
    assert 10 * np.log10(np.sum(error**2) / np.sum(expected**2)) < -40
