"""The bit rate of a lossy file, and how the library is told to write the same."""

import io
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import soundfile

from quietmic.enhance.files import mp3
from quietmic.enhance.files.info import AudioInfo

_MP3_RANGES = ((32000, 320e3, 32e3), (16000, 160e3, 8e3), (0, 64e3, 8e3))  # from a sample rate on: highest, lowest
_MP3_LAST_LEVEL = 0.999  # the library refuses 1
_OPUS_RANGE = (256e3, 6e3)  # of a channel
_VORBIS_NOMINAL = 20  # position of the nominal bit rate behind the mark of the first packet
_VORBIS_MARK = b"\x01vorbis"


def measure_bit_rate(stream: BinaryIO, n_bytes: int, info: AudioInfo) -> dict[str, Any]:
    """`bit_rate` and `has_constant_rate` of an `AudioInfo`, as far as they are known.

    MP3 tells the rate of every frame; Vorbis names the rate that its quality stands for; of Opus it is the mean.
    """
    if info.format == "MP3":
        return _of_mp3(stream, n_bytes, info)
    duration_s = info.n_samples / info.sample_rate
    if info.subtype == "VORBIS":
        stream.seek(0)
        nominal = _nominal_rate(stream.read(1 << 12))
        return {"bit_rate": nominal} if nominal > 0 else {}
    if info.subtype == "OPUS" and duration_s:
        return {"bit_rate": round(8 * n_bytes / duration_s)}
    return {}


def _of_mp3(stream: BinaryIO, n_bytes: int, info: AudioInfo) -> dict[str, Any]:
    end = mp3.end_of_frames(stream, n_bytes)
    found = mp3.first_frame(stream, end)
    if found is None or not info.n_samples:
        return {}
    at, header = found
    length = mp3.length_header(stream, at, header)
    # The first frame has the rate of the sound only where it is sound itself.
    mean, is_constant = mp3.scan_bit_rates(stream, at + header.n_bytes if length else at, end)
    if is_constant if length is None else length.is_constant:
        return {"bit_rate": mean, "has_constant_rate": True}
    return {"bit_rate": round(8 * (end - at) / (info.n_samples / info.sample_rate))}


def writing_options(file_format: str, subtype: str | None, rate: int, like: AudioInfo) -> dict[str, Any]:
    """What the library takes for writing with the bit rate of another file of the same coding."""
    if like.bit_rate is None or (like.format, like.subtype) != (file_format, subtype):
        return {}
    if file_format == "MP3":
        highest, lowest = next(ends for start, *ends in _MP3_RANGES if rate >= start)
        # Without that header what the encoder puts in front stays: the sound would begin some 100 ms late.
        is_constant = like.has_constant_rate and mp3.has_room_for_lengths(like.bit_rate, rate, like.n_channels)
        level = min(_level(like.bit_rate, highest, lowest), _MP3_LAST_LEVEL)
        return {"compression_level": level, "bitrate_mode": "CONSTANT" if is_constant else "AVERAGE"}
    if subtype == "OPUS":
        return {"compression_level": _level(like.bit_rate / like.n_channels, *_OPUS_RANGE)}
    return {"compression_level": _vorbis_level(like.bit_rate, like.n_channels, rate)}


def _level(bit_rate: float, highest: float, lowest: float) -> float:
    return float(np.clip((highest - bit_rate) / (highest - lowest), 0, 1))


@lru_cache(maxsize=64)
def _vorbis_level(bit_rate: int, n_channels: int, rate: int) -> float:
    """The level whose nominal rate is the wanted one: the library is asked, halving the range eight times."""
    low, high = 0.0, 1.0
    for _ in range(8):
        level = (low + high) / 2
        file = io.BytesIO()
        options = {"format": "OGG", "subtype": "VORBIS", "compression_level": level}
        soundfile.write(file, np.zeros((1, n_channels), np.float32), rate, **options)
        low, high = (level, high) if _nominal_rate(file.getvalue()) > bit_rate else (low, level)
    return (low + high) / 2


def _nominal_rate(data: bytes) -> int:
    """Bits per second that the first packet of Vorbis names; 0 where it names none."""
    at = data.find(_VORBIS_MARK)
    field = data[at + _VORBIS_NOMINAL : at + _VORBIS_NOMINAL + 4] if at >= 0 else b""
    return int.from_bytes(field, "little", signed=True) if len(field) == 4 else 0
