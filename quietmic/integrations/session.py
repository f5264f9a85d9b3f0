"""One caller's sound as voice frameworks hand it over: 16-bit samples in, as many enhanced ones out."""

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic import open_stream

_FULL_SCALE = 32768  # of 16-bit samples


class Session:
    """A stream for frames of any length that gives each frame back as long as it came.

    All sessions of a process that use one model share its network; what was heard is each one's own.

    Attributes:
        sample_rate: Hz, of input and output.
        n_channels: of the frames; each is enhanced on its own.
        lag: samples by which the output lags the input: the stream's delay, and a hop that fills up frames.
    """

    def __init__(
        self, model: str, sample_rate: int, n_channels: int = 1, attenuation_limit_db: float | None = None
    ) -> None:
        """Sets up a session at its beginning; arguments and errors are those of `open_stream`."""
        self.sample_rate, self.n_channels = sample_rate, n_channels
        self._streams = [open_stream(model, 1, sample_rate, attenuation_limit_db) for _ in range(n_channels)]
        stft = self._streams[0].network.card.stft
        hop = ceil(stft.hop_length * sample_rate / stft.sample_rate)
        self.lag = self._streams[0].delay + hop
        # The stream holds back less than a hop, so with a hop of silence before it no frame is ever short.
        self._ready = np.zeros((n_channels, hop), np.float32)

    def limit_attenuation(self, limit_db: float | None) -> None:
        """Attenuates nothing by more than this from the next hop on; 0 gives the input back, in time with the rest."""
        for stream in self._streams:
            stream.attenuation_limit_db = limit_db

    def process(self, pcm: bytes | memoryview) -> bytes:
        """Enhanced samples, as many as came.

        Args:
            pcm: 16-bit samples of the machine's byte order, channels interleaved.
        """
        samples = np.frombuffer(pcm, np.int16).reshape(-1, self.n_channels).T.astype(np.float32) / _FULL_SCALE
        enhanced = [stream.process(channel) for stream, channel in zip(self._streams, samples, strict=True)]
        self._ready = np.concatenate((self._ready, enhanced), axis=1)
        frame, self._ready = np.split(self._ready, [samples.shape[1]], axis=1)
        return to_pcm(frame).tobytes()


def to_pcm(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Floats [n_channels, n_samples] of full scale 1 -> 16 bits [n_samples, n_channels], rounded and clipped."""
    scaled = np.rint(np.multiply(samples.T, _FULL_SCALE))
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
