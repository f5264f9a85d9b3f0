"""Spectrograms: pictures of sounds on one scale, small inside a page or large with axes in a file of their own."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.report.media import data_uri

_RANGE_DB = 70.0
_MAX_WIDTH, _HEIGHT = 360, 128  # pixels inside a page
_LEVELS = 32  # colours inside a page: more of either only makes it larger
_N_FFT = 512
_LINE_HZ = 8000  # where the band that every network hears ends: drawn where a sound goes on above it
# Dark to bright with even steps of lightness, as (position, red, green, blue); between them linear.
_COLOURS = (
    (0, 8, 10, 30), (50, 48, 18, 92), (100, 118, 28, 110), (150, 196, 50, 92), (200, 244, 128, 62), (255, 252, 246, 190)
)  # fmt: skip


def save_spectrograms(path: Path, signals: dict[str, Array], sample_rate: int, title: str = "") -> None:
    """Writes one picture with a spectrogram for each signal, one above the other, axes in seconds and kHz.

    Args:
        path: PNG, or another format that matplotlib knows by its extension.
        signals: title -> [n_samples].
        sample_rate: Hz.
        title: above the picture.

    Raises:
        QuietmicError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise QuietmicError('pictures need matplotlib: pip install "quietmic[plots]"') from error
    levels = {name: _level_db(samples) for name, samples in signals.items()}
    top = max(level.max() for level in levels.values())
    figure = Figure(figsize=(9, 2.4 * len(signals)), layout="constrained")
    axes = figure.subplots(len(signals), sharex=True, squeeze=False)[:, 0]
    for axis, (name, level) in zip(axes, levels.items(), strict=True):
        extent = (0.0, len(signals[name]) / sample_rate, 0.0, sample_rate / 2000)
        image = axis.imshow(
            level, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - _RANGE_DB, vmax=top
        )
        if sample_rate > 2 * _LINE_HZ:
            axis.axhline(_LINE_HZ / 1000, color="white", linestyle="--", linewidth=0.7)
        axis.set_title(name, loc="left", fontsize="medium")
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("s")
    figure.colorbar(image, ax=axes, label="dB")
    if title:
        figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def spectrogram_uri(samples: Array, top_db: float, sample_rate: int) -> str:
    """A spectrogram as a PNG data URI: time to the right, 0 to half the sample rate upwards, a dashed line at 8 kHz.

    Args:
        samples: [n_samples].
        top_db: level of the brightest colour (see `peak_db`), the same for all pictures that are compared.
        sample_rate: Hz.
    """
    level = _level_db(samples, _MAX_WIDTH)
    rows = level[:-1].reshape(_HEIGHT, -1, level.shape[1]).max(axis=1)[::-1]
    scaled = np.clip((rows - top_db) / _RANGE_DB + 1.0, 0.0, 1.0)
    if sample_rate > 2 * _LINE_HZ:
        scaled[_HEIGHT - round(2 * _LINE_HZ / sample_rate * _HEIGHT), ::4] = 1.0
    indices = np.round((_LEVELS - 1) * scaled) * 255 // (_LEVELS - 1)
    return data_uri("image/png", _png(indices.astype(np.uint8)))


def peak_db(samples: Array) -> float:
    """Level of the loudest point of a signal's spectrogram inside a page, in dB."""
    return float(_level_db(samples, _MAX_WIDTH).max())


def _level_db(samples: Array, max_frames: int = 1 << 31) -> NDArray[np.float64]:
    """[n_freqs, n_frames] of a signal [n_samples], a frame every 128 samples or, of a long one, fewer."""
    padded = np.pad(samples, (0, max(0, _N_FFT - samples.size)))
    hop_length = max(128, -(-(padded.size - _N_FFT) // (max_frames - 1)))
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
