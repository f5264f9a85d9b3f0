"""The band above the network's: what a stream above 16 kHz does with it."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from make_models import make_gain
from test_offset import voice

from quietmic import QuietmicError, denoise, open_stream
from quietmic.cli.candidates import live_candidates
from quietmic.devices.engine import measure_engine
from quietmic.devices.mixer import Mixer
from quietmic.enhance.card import StftConfig
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.stft import sqrt_hann
from quietmic.enhance.stream import Stream
from quietmic.enhance.uppergains import UpperGains
from quietmic.enhance.upperhead import HEAD_FILE, N_BEFORE, run_head

RATES = [22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000]


def noise(n_mics: int, n_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((n_mics, n_samples))).astype(np.float32)


def run(stream: Stream, signal: np.ndarray, length: int | None = None) -> np.ndarray:
    stream.reset()
    length = length or signal.shape[1]
    parts = [stream.process(signal[:, s : s + length]) for s in range(0, signal.shape[1], length)]
    return np.concatenate([*parts, stream.flush()])


def level_db(signal: np.ndarray, rate: int, low_hz: float, high_hz: float) -> float:
    """Power of a band, dB."""
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) ** 2
    hertz = np.fft.rfftfreq(len(signal), 1 / rate)
    return 10 * np.log10(spectrum[(hertz >= low_hz) & (hertz < high_hz)].sum() / len(signal) ** 2 + 1e-20)


@pytest.fixture
def passthrough(passthrough_model: Path) -> OnnxNetwork:
    return OnnxNetwork(passthrough_model)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n_mics", [1, 2])
def test_what_passes_comes_out_whole_after_the_stated_delay(passthrough: OnnxNetwork, rate: int, n_mics: int) -> None:
    """All above 7.6 kHz was thrown away, even where nothing was to be attenuated."""
    stream = Stream(passthrough, n_mics, rate)
    signal = noise(n_mics, rate // 2 + 13)
    outputs = [run(stream, signal, length) for length in (None, 1000, 97)]
    for output in outputs:
        assert len(output) == signal.shape[1] + stream.delay
        error = output[stream.delay :] - signal[0]
        assert np.sqrt(np.mean(error**2)) < 1e-4 * signal[0].std()
        assert np.abs(output - outputs[0]).max() < 1e-6
    assert stream.delay == Stream(passthrough, n_mics, rate, band="narrow").delay


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_a_limit_of_0_is_the_identity_for_every_model(model_folder: Path, rate: int) -> None:
    signal = noise(1, rate // 2)
    for name in ("tenth", "counter"):
        stream = Stream(OnnxNetwork(model_folder / f"{name}.onnx"), 1, rate, 0.0)
        assert np.abs(run(stream, signal)[stream.delay :] - signal[0]).max() < 1e-6


def test_the_limit_holds_at_every_frequency(model_folder: Path) -> None:
    """From -38 dBFS the band from 8 to 12 kHz went to -136, whatever the limit was."""
    rate, signal = 48000, noise(1, 96000)
    stream = Stream(OnnxNetwork(model_folder / "tenth.onnx"), 1, rate, 6.0)
    output = run(stream, signal)[stream.delay :]
    for low_hz in range(500, 23500, 1000):
        before, after = (level_db(x[48000:], rate, low_hz, low_hz + 1000) for x in (signal[0], output))
        assert -6.1 < after - before < -4.0  # a tenth and half of the rest, or less taken


@pytest.mark.parametrize("n_mics", [1, 3])
def test_narrow_is_the_band_of_the_model(model_folder: Path, n_mics: int) -> None:
    stream = Stream(OnnxNetwork(model_folder / "counter.onnx"), n_mics, 48000, band="narrow")
    output = run(stream, noise(n_mics, 48000))
    assert level_db(output, 48000, 8000, 24000) < level_db(output, 48000, 100, 7000) - 75


def test_at_16_khz_and_below_there_is_no_upper_band(model_folder: Path) -> None:
    for rate in (8000, 11025, 16000):
        signal = noise(1, rate)
        streams = [
            Stream(OnnxNetwork(model_folder / "counter.onnx"), 1, rate, band=band) for band in ("full", "narrow")
        ]
        assert np.array_equal(run(streams[0], signal), run(streams[1], signal))


def test_the_upper_band_follows_another_reference(passthrough: OnnxNetwork) -> None:
    """Microphone 0 dies: its silence above 8 kHz must not go on while microphone 1 is heard below."""
    signal = np.repeat(noise(1, 96_000), 2, axis=0)
    signal[0, 48_000:] = 0
    stream = Stream(passthrough, 2, 48000)
    output = run(stream, signal, 1000)[stream.delay :]
    assert np.abs(output[:46_000] - signal[1, :46_000]).max() < 1e-5
    assert np.abs(output[60_000:] - signal[1, 60_000:]).max() < 1e-5


def test_a_constant_offset_is_taken_away(passthrough: OnnxNetwork) -> None:
    stream = Stream(passthrough, 1, 48000)
    signal = noise(1, 144_000)
    output = run(stream, signal + np.float32(0.3), 1000)[stream.delay :]
    assert abs(output[96_000:].mean()) < 1e-3
    assert np.abs(output[:144_000] - signal[0])[2000:].max() < 0.02


def test_state_copies_and_pickles_go_on_alike(model_folder: Path) -> None:
    stream = Stream(OnnxNetwork(model_folder / "counter.onnx"), 1, 44100)
    signal = noise(1, 30_000)
    stream.process(signal[:, :12_345])
    other = pickle.loads(pickle.dumps(stream))
    assert other.band == "full"
    assert np.array_equal(stream.process(signal[:, 12_345:]), other.process(signal[:, 12_345:]))


def test_live_bypass_and_mute_hold_for_the_whole_band(model_folder: Path) -> None:
    """Bypass is the microphone, in time with what is enhanced; on the way there both are heard, and no comb of them."""
    (candidate, *_) = live_candidates(str(model_folder / "passthrough.onnx"), band="full")
    engine = candidate.open(1, 1)
    assert (engine.sample_rate, engine.hop_length) == (48000, 768)
    timing = measure_engine(engine, 0.05)
    mixer = Mixer(engine, timing.n_held)
    signal = noise(1, 768 * 90)
    outputs = []
    for i in range(90):
        mixer.bypass, mixer.muted = 30 <= i < 60, i >= 75
        outputs.append(mixer.process(signal[:, 768 * i : 768 * (i + 1)])[0])
    output = np.concatenate(outputs)
    end, lag = 768 * 75, mixer.latency
    assert np.abs(output[lag:end] - signal[0, : end - lag]).max() < 1e-5
    assert not output[-768 * 10 :].any()


def test_a_noise_above_8_khz_falls_in_pauses_and_sibilants_stay() -> None:
    """Bursts of hiss that the network takes for sibilants, over a steady hiss that it does not."""
    rate, rng = 48000, np.random.default_rng(0)
    gains = UpperGains(np.fft.rfftfreq(512, 1 / rate), 512, StftConfig())
    state = gains.initial_state()
    n = 600
    speaks = (np.arange(n) // 60) % 2 == 1
    hiss = rng.standard_normal((n, 257)) + 1j * rng.standard_normal((n, 257))
    spectra = (np.where(speaks, 30.0, 1.0)[:, None] * 0.01 * hiss).astype(np.complex64)
    near = np.where(speaks, 3.0, -5.0)  # the network leaves 95 % of the bursts, and less than 1 % of the hiss
    odds, speech = (np.repeat(x[:, None], gains.n_evidence // 2, axis=1) for x in (near, np.where(speaks, -5.0, -20.0)))
    evidence = np.concatenate((odds, speech), axis=1).astype(np.float32)
    taken = gains.find(spectra, evidence, list(range(0, n + 1, 3)), state)
    inside = 20 * np.log10(1 - taken[300:])
    assert np.median(inside[speaks[300:]]) > -2
    assert np.median(inside[~speaks[300:]]) < -15


def test_what_is_cleaned_is_the_same_for_every_cut() -> None:
    """The upper band waits for what the network hears, hop by hop as in a file: its gains come in between."""
    signal = voice(1, 48000) + noise(1, 48000) / 10
    stream = open_stream("tcn-tiny", sample_rate=48000)
    whole = run(stream, signal)
    for length in (768, 256, 5003):
        assert np.abs(run(stream, signal, length) - whole).max() < 2e-6


def test_levels_and_evidence_of_a_tone() -> None:
    """Natural logarithms of mean squares, whatever the transforms are: half of the square of a tone's amplitude."""
    time_s = np.arange(768) / 48000
    gains = UpperGains(np.fft.rfftfreq(768, 1 / 48000), 768, StftConfig())
    high = np.fft.rfft(0.2 * np.sin(2 * np.pi * 10_000 * time_s) * sqrt_hann(768)).astype(np.complex64)
    assert np.exp(gains.levels(high[None])).sum() == pytest.approx(0.02, rel=0.02)
    low = np.fft.rfft(0.2 * np.sin(2 * np.pi * 5000 * np.arange(512) / 16000) * sqrt_hann(512)).astype(np.complex64)
    for share, odds in ((0.5, 1.0), (0.9, 9.0)):
        evidence = gains.hear(np.float32(share) * low, low)[0]
        near, at_5_khz = gains.n_evidence // 2 - 1, 4
        for band in (near, at_5_khz):
            assert evidence[band] == pytest.approx(np.log(odds), abs=1e-3)
            assert evidence[band + near + 1] == pytest.approx(np.log(share**2 * 0.02), abs=0.02)
        assert evidence[near + 1] < -15  # 200 Hz to 1 kHz


def test_noise_floors_are_means_at_first_rise_in_noise_alone_and_fall_at_any_time() -> None:
    gains = UpperGains(np.fft.rfftfreq(768, 1 / 48000), 768, StftConfig())
    state, n_bands = gains.initial_state(), gains.settings.n_bands

    def over(level: float, odds: float) -> float:
        """How far a hop of one frame stands over the floor of its noise, by what the head hears of it."""
        evidence = np.full((1, gains.n_evidence), odds, np.float32)
        clues, _ = gains.weigh(np.full((1, n_bands), level, np.float32), evidence, [0, 1], state)
        return float(clues[-1, -2 * n_bands])

    noise, speech = -20.0, 20.0
    heard = [over(level, noise) for level in (-10, -9, -9)]
    assert heard == pytest.approx([0, 1, 0.5])
    assert [over(-5, speech) for _ in range(3)] == pytest.approx([13 / 3] * 3)  # over a mean of -28 / 3
    assert over(-60, noise) == 0  # silence says nothing
    assert [over(-10, speech) for _ in range(2)] == pytest.approx([-2 / 3, -2 / 3 * 0.73])
    floor = -10 + 2 / 3 * 0.73**2
    assert over(-5, noise) == pytest.approx(-5 - floor)  # the fourth that teaches, by a quarter
    assert over(-5, noise) == pytest.approx(0.75 * (-5 - floor))
    for _ in range(100):
        over(-5, noise)
    assert over(-4, noise) == pytest.approx(1, abs=0.01)
    assert over(-4, noise) == pytest.approx(1 - 0.06, abs=0.01)


def test_between_the_bands_nothing_is_left_of_what_both_take_away(tmp_path: Path) -> None:
    """Twice through the slope of the resampler: by one alone a quarter of the noise at 7.6 kHz stayed."""
    signal = noise(1, 96_000)
    stream = Stream(OnnxNetwork(make_gain(tmp_path / "nothing.onnx", 0.0)), 1, 48000)
    output = run(stream, signal)[stream.delay :]
    for low_hz in range(7000, 8400, 200):
        before, after = (level_db(x[48_000:96_000], 48000, low_hz, low_hz + 200) for x in (signal[0], output))
        assert after - before < -25, low_hz


def test_the_head_hears_three_frames_the_oldest_first() -> None:
    with np.load(HEAD_FILE) as file:
        layers = [(file[f"weights_{k}"].astype(float), file[f"bias_{k}"]) for k in range(len(file.files) // 2)]
    n_clues = len(layers[0][0]) // (N_BEFORE + 1)
    clues = np.random.default_rng(0).normal(0, 3, (N_BEFORE + 4, n_clues)).astype(np.float32)
    for odds, frames in zip(
        run_head(clues), np.lib.stride_tricks.sliding_window_view(clues, N_BEFORE + 1, 0), strict=True
    ):
        values = frames.T.reshape(-1)
        for k, (weights, bias) in enumerate(layers):
            values = values @ weights + bias
            values = np.maximum(values, 0) if k < len(layers) - 1 else values
        np.testing.assert_allclose(odds, values, rtol=1e-3, atol=1e-3)


def test_bands_lie_evenly_over_erbs() -> None:
    gains = UpperGains(np.arange(7000.0, 22_000.0), 768, StftConfig())
    low, high = (21.4 * np.log10(1 + 0.00437 * hertz) for hertz in (7200, 20_000))  # Glasberg and Moore, 1990
    centres = (10 ** (np.linspace(low, high, 10) / 21.4) - 1) / 0.00437
    assert 7000 + np.argmax(gains.shapes, axis=1) == pytest.approx(centres, abs=1)
    assert gains.shapes.sum(axis=0)[250:] == pytest.approx(1)


def test_a_band_that_is_not_known_is_refused() -> None:
    with pytest.raises(QuietmicError, match="full or narrow"):
        denoise(np.zeros(100), 48000, band="wide")  # type: ignore[arg-type]


@pytest.mark.parametrize("top_hz", [3800, 15000])
def test_what_holds_nothing_above_gets_nothing_there(top_hz: int) -> None:
    """A phone call that was stored at 48 kHz, and an MP3 of a low rate: cleaned, and no noise where they are empty."""
    rate = 48000
    spectrum = np.fft.rfft(noise(1, rate)[0])
    spectrum[np.fft.rfftfreq(rate, 1 / rate) >= top_hz] = 0
    signal = np.fft.irfft(spectrum).astype(np.float32)[None]
    output = run(open_stream("tcn-tiny", sample_rate=rate), signal, 5003)
    assert level_db(signal[0], rate, 1000, 3000) > -40
    assert level_db(output, rate, max(top_hz + 500, 8500), 24000) < -125  # what rounding leaves


def test_silence_stays_silence_and_clipping_stays_within_bounds() -> None:
    stream = open_stream("tcn-tiny", sample_rate=48000)
    assert not run(stream, np.zeros((1, 24_000), np.float32), 1000).any()
    clipped = np.clip(30 * noise(1, 48_000), -1, 1)
    output = run(stream, clipped, 997)
    assert np.isfinite(output).all() and np.abs(output).max() < 1.5


@pytest.mark.parametrize("model", ["tcn-small", "tcn-tiny"])
def test_no_tones_and_no_switching_in_noise_alone(model: str) -> None:
    """What is left of a steady noise is as steady: the gain of frames of 11 ms hardly moves, and nothing pops out.

    Where tcn-small left a millionth of white noise, how it flickered from band to band opened a fifth of the frames.
    """
    rate = 48000
    stream, signal = open_stream(model, sample_rate=rate), noise(1, 4 * 48000) / 3
    output = run(stream, signal, rate)[stream.delay :]
    powers = []
    for sound in (signal[0], output):
        frames = np.lib.stride_tricks.sliding_window_view(sound[2 * rate :], 512)[::256] * np.hanning(512)
        powers.append((np.abs(np.fft.rfft(frames)[:, 86:214]) ** 2).sum(axis=1))  # 8 to 20 kHz
    gain_db = 10 * np.log10(powers[1] / powers[0])
    assert np.median(gain_db) < -30
    assert gain_db.std() < 1.5 and np.mean(gain_db > np.median(gain_db) + 6) < 0.01
