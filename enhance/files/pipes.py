"""Sound through standard input and output, so that quietmic can stand between other programs."""

import sys
from types import TracebackType
from typing import BinaryIO, TextIO

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files.chunks import ORDERS, looks_like_name
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.samples import to_float32

_UNKNOWN = 0xFFFFFFFF
_TYPES = {  # of WAV and of raw samples: (code in the header, bytes of a sample) -> name
    (1, 2): "PCM_16", (1, 3): "PCM_24", (1, 4): "PCM_32", (3, 4): "FLOAT", (3, 8): "DOUBLE",
}  # fmt: skip
_FORM_BYTES = 64  # of a chunk that are looked at
_SKIP_BYTES = 1 << 16
_CODES = {name: code for code, name in _TYPES.items()}


class Pipe(str):
    """Standard input or output in place of a file, by the name that a person reads.

    Attributes:
        raw: rate and channels of samples without a header, 16 bits, little-endian; None for WAV.
    """

    raw: tuple[int, int] | None

    def __new__(cls, name: str, raw: tuple[int, int] | None = None) -> "Pipe":
        pipe = super().__new__(cls, name)
        pipe.raw = raw
        return pipe

    def exists(self) -> bool:
        """There is never something that would be replaced."""
        return False


class PipeDecoder:
    """Standard input; see `LibraryDecoder`. It is read as far as it goes, whatever a header says."""

    def __init__(self, pipe: Pipe, stream: BinaryIO | None = None) -> None:
        """Reads the header, where there is one.

        Raises:
            QuietmicError: neither raw samples are announced nor is it WAV, or it is closed.
        """
        self._stream = stream or _opened(pipe, sys.stdin)
        self.damage: str | None = None
        self.notes: list[str] = []
        self._ahead = b""  # bytes that were read and are not given yet
        self._n_left: int | None = None  # bytes of sound that the header announces; None for all that come
        if pipe.raw:
            rate, n_channels = pipe.raw
            self.info = AudioInfo(n_channels, 0, rate, "RAW", "PCM_16", is_counted=False)
        else:
            self.info = self._read_header()
        self._width = _CODES[self.info.subtype][1]

    def _read_header(self) -> AudioInfo:
        head = self._exactly(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            raise QuietmicError("standard input is no WAV", argument="raw")
        form = b""
        while True:
            name = self._exactly(4)
            size = int.from_bytes(self._exactly(4), "little")
            if name == b"data":
                break
            contents = self._exactly(min(size + (size & 1), _FORM_BYTES))
            form = contents if name == b"fmt " else form
            self._skip(size + (size & 1) - len(contents))
        code, n_channels = int.from_bytes(form[:2], "little"), int.from_bytes(form[2:4], "little")
        rate, bits = int.from_bytes(form[4:8], "little"), int.from_bytes(form[14:16], "little")
        if code == 0xFFFE:
            code = int.from_bytes(form[24:26], "little")
        subtype = _TYPES.get((code, bits // 8))
        if subtype is None or not n_channels or not rate:
            message = f"standard input is WAV of coding {code} with {bits} bits, which cannot be piped"
            raise QuietmicError(f"{message}: make it PCM of 16, 24 or 32 bits, or floats")
        if 0 < size < 0x7FFFF000 - 0x1000:  # sizes from there on, and 0, are what pipes write for "unknown"
            self._n_left = size
        frame_bytes = n_channels * bits // 8
        return AudioInfo(n_channels, (self._n_left or 0) // frame_bytes, rate, "WAV", subtype, is_counted=False)

    def _skip(self, n_bytes: int) -> None:
        while n_bytes > 0:
            n_bytes -= len(self._exactly(min(n_bytes, _SKIP_BYTES)))

    def _exactly(self, n_bytes: int) -> bytes:
        data = self._stream.read(n_bytes)
        if len(data) < n_bytes:
            raise QuietmicError("standard input ends before its sound begins")
        return data

    def read(self, n_samples: int) -> Array:
        """The next samples, [n, n_channels]; none at the end."""
        n_bytes = n_samples * self.info.n_channels * self._width
        if self._n_left == 0:
            self._look_behind()
        data = self._ahead
        read = self._stream.read(
            n_bytes - len(data) if self._n_left is None else min(n_bytes - len(data), self._n_left)
        )
        if self._n_left is not None:
            self._n_left -= len(read)
        data += read
        whole = len(data) // (self.info.n_channels * self._width) * self.info.n_channels * self._width
        self._ahead = data[whole:]
        return _to_floats(data[:whole], self.info.subtype).reshape(-1, self.info.n_channels)

    def _look_behind(self) -> None:
        """More sound than the header counts is read; what follows as a chunk or as padding ends it."""
        behind = self._stream.read(5)
        names = behind[:4], behind[1:]  # an odd number of bytes is filled up
        if not any(behind) or any(looks_like_name(name) for name in names):
            if any(name in ORDERS for name in names):
                self.notes.append("a recording that follows the first one is left out")
            return
        self.notes.append("its header counts fewer samples than came: all were read")
        self._n_left, self._ahead = None, self._ahead + behind

    def finish(self, n_read: int) -> None:
        """Compares what was read to the end with what the header said."""
        if self._n_left:
            self.damage = f"cut off: {self._n_left} bytes of sound did not come"

    def close(self) -> None:
        """Does nothing, since standard input is not ours to close."""


class PipeWriter:
    """Standard output: WAV of unknown length, or raw samples where these came in; in the coding of the input."""

    def __init__(self, pipe: Pipe, n_channels: int, sample_rate: int, like: AudioInfo) -> None:
        """Sends the header, where there is to be one.

        Raises:
            QuietmicError: standard output is closed, or whoever reads it has ended.
        """
        self.notes: list[str] = []
        self._pipe, self._stream = pipe, _opened(pipe, sys.stdout)
        self._subtype = like.subtype if like.subtype in _CODES else "PCM_16"
        if pipe.raw is None:
            self._send(_header(self._subtype, n_channels, sample_rate))

    def write(self, block: Array) -> None:
        """Appends a block [n_channels, n_samples]; it is sent at once.

        Raises:
            QuietmicError: it cannot be sent, as whoever reads it has ended.
        """
        self._send(_from_floats(np.ascontiguousarray(block.T), self._subtype))

    def _send(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            self._stream.flush()
        except OSError as error:
            raise QuietmicError(f"{self._pipe}: cannot be written: {reason_of(error)}") from error

    def __enter__(self) -> "PipeWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


def _opened(pipe: Pipe, stream: TextIO | None) -> BinaryIO:
    if stream is None:  # as Python has it where the shell closed it
        raise QuietmicError(f"{pipe} is closed")
    return stream.buffer


def _header(subtype: str, n_channels: int, rate: int) -> bytes:
    code, width = _CODES[subtype]
    numbers = ((code, 2), (n_channels, 2), (rate, 4), (rate * n_channels * width, 4), (n_channels * width, 2))
    form = b"".join(value.to_bytes(size, "little") for value, size in (*numbers, (8 * width, 2)))
    unknown = _UNKNOWN.to_bytes(4, "little")
    return b"RIFF" + unknown + b"WAVEfmt " + (16).to_bytes(4, "little") + form + b"data" + unknown


def _to_floats(data: bytes, subtype: str) -> Array:
    if subtype in ("FLOAT", "DOUBLE"):
        return to_float32(np.frombuffer(data, "<f4" if subtype == "FLOAT" else "<f8"))
    if subtype == "PCM_16":
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)
    if subtype == "PCM_32":
        return (np.frombuffer(data, "<i4") / (1 << 31)).astype(np.float32)
    padded = np.zeros((len(data) // 3, 4), np.uint8)
    padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return (padded.view("<i4")[:, 0] / (1 << 31)).astype(np.float32)


def _from_floats(samples: Array, subtype: str) -> bytes:
    if subtype in ("FLOAT", "DOUBLE"):
        return samples.astype("<f4" if subtype == "FLOAT" else "<f8").tobytes()
    bits = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}[subtype]
    scale = float(1 << (bits - 1))
    numbers = np.clip(np.rint(samples.astype(np.float64) * scale), -scale, scale - 1)
    if subtype == "PCM_16":
        return numbers.astype("<i2").tobytes()
    whole = numbers.astype("<i4").reshape(-1, 1).view(np.uint8)
    return (whole[:, :3] if subtype == "PCM_24" else whole).tobytes()
