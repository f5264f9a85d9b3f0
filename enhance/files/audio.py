"""Audio files in blocks of any length; the only place that knows the file library.

Arrays here and everywhere else are float32, [n_channels, n_samples], full scale 1.0.
"""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.storage import Location, Url, stamp

_READ_LENGTH = 4096  # a read that fails loses no more than this
_WAV_LIMIT = 4_000_000_000  # bytes; a WAV header cannot count further, RF64 can
_UNKNOWN_SIZE = 0xFFFF0000  # sizes from here on are what a pipe writes for "unknown"
_FORMATS = {"OPUS": "OGG", "OGA": "OGG", "AIF": "AIFF", "AIFC": "AIFF", "SND": "AU"}


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says.

    Attributes:
        n_channels: channels.
        n_samples: samples of each channel.
        sample_rate: Hz.
        format: container, as in "WAV".
        subtype: coding of the samples, as in "PCM_16".
    """

    n_channels: int
    n_samples: int
    sample_rate: int
    format: str
    subtype: str


class AudioReader:
    """An open audio file; a context manager.

    Attributes:
        info: what the header says.
        n_read: samples of each channel read so far.
        damage: how the file falls short of its header, None while it does not.
    """

    def __init__(self, path: str | Location) -> None:
        """Opens a file and reads its header.

        Raises:
            QuietmicError: no such file, empty, or not audio that can be read.
        """
        self.path = path if isinstance(path, Url) else Path(path)
        if not self.path.is_file():
            raise QuietmicError(f"{path}: no such file")
        if stamp(self.path)[0] == 0:
            raise QuietmicError(f"{path}: the file is empty")
        self._remote = _RemoteFile(self.path.open()) if isinstance(self.path, Url) else None
        try:
            self._file = soundfile.SoundFile(self._remote or str(self.path))
        except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
            raise QuietmicError(f"{path}: not audio that can be read, or damaged at its beginning") from error
        file = self._file
        self.info = AudioInfo(file.channels, file.frames, file.samplerate, file.format, file.subtype)
        self.n_read = 0
        self.damage = _find_damage(self.path, file)

    def blocks(self, block_length: int) -> Iterator[Array]:
        """Blocks [n_channels, block_length], the last one shorter; stops where a damaged file stops."""
        parts: list[Array] = []
        n_parts = 0
        while len(part := self._read(min(_READ_LENGTH, block_length - n_parts))):
            parts.append(part)
            n_parts += len(part)
            if n_parts == block_length:
                yield _to_block(parts)
                parts, n_parts = [], 0
        if parts:
            yield _to_block(parts)
        if self.n_read < self.info.n_samples and self.damage is None:
            self.damage = f"only {self.n_read} of {self.info.n_samples} samples can be read"

    def refuse_damage(self) -> None:
        """Stops work that a part of a file would falsify, such as measuring it.

        Raises:
            QuietmicError: damage was found so far.
        """
        if self.damage:
            raise QuietmicError(f"{self.path}: {self.damage}; replace the file or remove it")

    def _read(self, n_samples: int) -> Array:
        try:
            part = self._file.read(n_samples, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError):
            self.damage = f"damaged after {self.n_read} samples"
            part = np.zeros((0, self.info.n_channels), np.float32)
        if self._remote and self._remote.error:
            raise QuietmicError(f"{self.path}: the connection failed: {self._remote.error}") from self._remote.error
        self.n_read += len(part)
        return part

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


class _RemoteFile:
    """A file in storage as the library reads it; keeps the error that the library would take for the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: Exception | None = None
        self.seek, self.tell = file.seek, file.tell

    def read(self, n_bytes: int = -1) -> bytes:
        try:
            return self._file.read(n_bytes)
        except Exception as error:
            self.error = error
            return b""


class AudioWriter:
    """Writes an audio file under a temporary name, renamed when the context ends well and removed when it does not."""

    def __init__(
        self,
        path: str | Path,
        n_channels: int,
        sample_rate: int,
        like: AudioInfo | None = None,
        subtype: str | None = None,
    ) -> None:
        """Opens the temporary file beside the place of the final one; folders are made.

        Args:
            path: final name; its extension chooses the format.
            n_channels: channels of every block.
            sample_rate: Hz.
            like: take format and subtype from this file where the extension allows.
            subtype: coding; default: that of `like`, else the format's own.

        Raises:
            QuietmicError: an extension or a rate that cannot be written.
        """
        self.path = Path(path)
        file_format, file_subtype = _choose_format(self.path, like, subtype)
        if file_format == "WAV" and like and like.n_samples * n_channels * 4 > _WAV_LIMIT:
            file_format = "RF64"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self._file = soundfile.SoundFile(
                str(self._part), "w", sample_rate, n_channels, file_subtype, format=file_format
            )
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            self._part.unlink(missing_ok=True)
            what = f"{file_format} {file_subtype or ''}".strip()
            raise QuietmicError(
                f"{path}: cannot write {what} with {n_channels} channels at {sample_rate} Hz"
            ) from error

    def write(self, block: Array) -> None:
        """Appends a block [n_channels, n_samples]."""
        if block.shape[1]:
            self._file.write(np.ascontiguousarray(block.T))

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)


def remove_parts(path: Location) -> None:
    """Removes what an `AudioWriter` left when its process was killed; only for a file that nobody is writing."""
    if isinstance(path, Url):
        return  # what did not come up whole has no name there
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        part.unlink(missing_ok=True)


def read(path: str | Path) -> tuple[Array, int]:
    """Whole file: (samples [n_channels, n_samples] float32, sample rate in Hz).

    Raises:
        QuietmicError: no such file, empty, or not audio that can be read.
    """
    with AudioReader(path) as reader:
        return _read_all(reader), reader.info.sample_rate


def read_undamaged(path: str | Path) -> tuple[Array, int]:
    """The same as `read`, for work that a part of the file would falsify.

    Raises:
        QuietmicError: no such file, empty, not audio that can be read, or damaged.
    """
    with AudioReader(path) as reader:
        samples = _read_all(reader)
        reader.refuse_damage()
        return samples, reader.info.sample_rate


def write(path: str | Path, samples: NDArray[Any], sample_rate: int, subtype: str | None = None) -> None:
    """Writes a whole file, whose final name appears only when it is complete.

    Args:
        path: its extension chooses the format.
        samples: [n_channels, n_samples] or [n_samples].
        sample_rate: Hz.
        subtype: coding, as in "FLOAT"; None for the format's own.

    Raises:
        QuietmicError: an extension or a rate that cannot be written.
    """
    block = np.atleast_2d(np.asarray(samples, np.float32))
    with AudioWriter(path, len(block), sample_rate, subtype=subtype) as writer:
        for start in range(0, block.shape[1], 1 << 16):
            writer.write(block[:, start : start + (1 << 16)])


def open_flac(stream: BinaryIO, n_channels: int, sample_rate: int) -> soundfile.SoundFile:
    """A FLAC encoder of 16 bits over an open binary file; its `write` takes [n_samples, n_channels] float32."""
    return soundfile.SoundFile(stream, "w", sample_rate, n_channels, "PCM_16", format="FLAC")


def is_audio_name(path: Location) -> bool:
    """Whether the extension is that of a format that can be read."""
    extension = path.suffix[1:].upper()
    return extension in _FORMATS or (extension in soundfile.available_formats() and extension != "RAW")


def _read_all(reader: AudioReader) -> Array:
    parts = list(reader.blocks(1 << 20))
    return np.concatenate(parts, axis=1) if parts else np.zeros((reader.info.n_channels, 0), np.float32)


def _to_block(parts: list[Array]) -> Array:
    return np.ascontiguousarray(np.concatenate(parts).T)


def check_extension(path: Location) -> str:
    """The format that a name stands for, as libsndfile calls it.

    Raises:
        QuietmicError: libsndfile knows none by this extension.
    """
    extension = path.suffix[1:].upper()
    file_format = _FORMATS.get(extension, extension)
    if file_format not in soundfile.available_formats():
        raise QuietmicError(f"{path}: no audio format is known by this extension", exit_code=2)
    return file_format


def _choose_format(path: Path, like: AudioInfo | None, subtype: str | None) -> tuple[str, str | None]:
    extension, file_format = path.suffix[1:].upper(), check_extension(path)
    if like and like.format in (file_format, f"{file_format}EX"):  # WAVEX is a kind of WAV
        file_format = like.format
    if subtype is None and like and soundfile.check_format(file_format, like.subtype):
        subtype = like.subtype
    elif subtype is None and extension == "OPUS":
        subtype = "OPUS"
    return file_format, subtype


def _find_damage(path: Location, file: soundfile.SoundFile) -> str | None:
    """How the file is shorter than its header says, where the library hides that."""
    for declared, found in re.findall(r"(?:data|riff|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", file.extra_info):
        if int(found) < int(declared) < _UNKNOWN_SIZE:
            return f"cut off: {found} of {declared} bytes of sound are there"
    if file.format == "OGG":
        with path.open() if isinstance(path, Url) else path.open("rb") as stream:
            stream.seek(max(0, stamp(path)[0] - (1 << 17)))
            tail = stream.read()
        last_page = tail.rfind(b"OggS")
        if last_page >= 0 and not tail[last_page + 5] & 4:  # the flag "end of stream" in the page's header
            return "cut off: the stream has no end"
    return None
