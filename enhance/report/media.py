"""Sounds and pictures as data URIs, so that a page carries them in itself."""

import base64
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.files import audio

_RANGE_DB = 70.0
_MAX_WIDTH, _HEIGHT = 360, 128  # pixels
_LEVELS = 32  # colours in a picture: more of either only makes it larger
_N_FFT = 512
# Dark to bright with even steps of lightness, as (position, red, green, blue); between them linear.
_COLOURS = (
    (0, 8, 10, 30), (50, 48, 18, 92), (100, 118, 28, 110), (150, 196, 50, 92), (200, 244, 128, 62), (255, 252, 246, 190)
)  # fmt: skip
_MIME_TYPES = {"flac": "audio/flac", "opus": "audio/ogg", "wav": "audio/wav"}


def sound_uri(samples: Array, sample_rate: int, codec: str = "flac") -> str:
    """A mono signal [n_samples] as a playable data URI; "flac" is exact to 16 bits, "opus" a fifth of its size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound.{codec}"
        subtype = None if codec == "opus" else "PCM_16"
        audio.write(path, np.clip(samples, -1.0, 1.0), sample_rate, subtype=subtype)
        return _data_uri(_MIME_TYPES[codec], path.read_bytes())


def spectrogram_uri(samples: Array, top_db: float) -> str:
    """A spectrogram as a PNG data URI: time to the right, 0 to half the sample rate upwards.

    Args:
        samples: [n_samples].
        top_db: level of the brightest colour (see `peak_db`), the same for all pictures that are compared.
    """
    level = _level_db(samples)
    rows = level[:-1].reshape(_HEIGHT, -1, level.shape[1]).max(axis=1)[::-1]
    scaled = np.clip((rows - top_db) / _RANGE_DB + 1.0, 0.0, 1.0)
    indices = np.round((_LEVELS - 1) * scaled) * 255 // (_LEVELS - 1)
    return _data_uri("image/png", _png(indices.astype(np.uint8)))


def peak_db(samples: Array) -> float:
    """Level of the loudest point of a signal's spectrogram, in dB."""
    return float(_level_db(samples).max())


def _level_db(samples: Array) -> NDArray[np.float64]:
    """[n_freqs, n_frames], at most as many frames as a picture has columns."""
    padded = np.pad(samples, (0, max(0, _N_FFT - samples.size)))
    hop_length = max(128, -(-(padded.size - _N_FFT) // (_MAX_WIDTH - 1)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::hop_length]
    return 20 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(_N_FFT))).T + 1e-6)


def _png(indices: NDArray[np.uint8]) -> bytes:
    """A PNG of palette colours from indices [height, width]: small enough to write without a library."""
    height, width = indices.shape
    positions, *channels = zip(*_COLOURS, strict=True)
    palette = np.stack([np.interp(np.arange(256), positions, channel) for channel in channels], axis=1)
    lines = np.pad(indices, ((0, 0), (1, 0)))  # each line begins with its filter type, 0
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.round().astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _data_uri(mime_type: str, data: bytes) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode('ascii')}"
