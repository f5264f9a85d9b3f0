"""Audio files in blocks of any length, whatever decodes them.

Arrays here and everywhere else are float32, [n_channels, n_samples], full scale 1.0.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.ffmpeg import FfmpegDecoder
from quietmic.enhance.files.formats import is_foreign
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.files.library import LibraryDecoder, LibraryError
from quietmic.enhance.files.media import find_ffmpeg
from quietmic.enhance.files.pipes import Pipe, PipeDecoder
from quietmic.enhance.files.storage import Location, Url, stamp
from quietmic.enhance.files.writer import AudioWriter

_READ_LENGTH = 4096  # samples asked for at a time


class Decoder(Protocol):
    """What gives the samples of a file; see `LibraryDecoder`."""

    info: AudioInfo
    damage: str | None
    notes: list[str]

    def read(self, n_samples: int) -> Array:
        """The next samples, [n, n_channels]; none at the end or where the file is damaged."""

    def finish(self, n_read: int) -> None:
        """Compares what was read to the end with what the header said."""

    def close(self) -> None:
        """Gives back what was opened for reading."""


class AudioReader:
    """An open audio file; a context manager.

    Attributes:
        info: what the header says.
        n_read: samples of each channel read so far.
    """

    def __init__(self, path: str | Location | Pipe) -> None:
        """Opens a file and reads its header.

        Raises:
            QuietmicError: no such file, empty, or not audio that can be read.
        """
        self.path = path if isinstance(path, Url | Pipe) else Path(path)
        self._decoder = PipeDecoder(self.path) if isinstance(self.path, Pipe) else _open(self.path)
        self.info = self._decoder.info
        self.n_read = 0

    @property
    def damage(self) -> str | None:
        """How the file falls short of its header, None while it does not."""
        return self._decoder.damage

    @property
    def warnings(self) -> list[str]:
        """What a listener should know so far: damage, and lengths or recordings that the header does not tell."""
        return [*([self.damage] if self.damage else []), *self._decoder.notes]

    @property
    def film(self) -> FfmpegDecoder | None:
        """What ffmpeg reads, whose picture and other tracks go over to an output of its kind."""
        return self._decoder if isinstance(self._decoder, FfmpegDecoder) else None

    def blocks(self, block_length: int) -> Iterator[Array]:
        """Blocks [n_channels, block_length], the last one shorter; stops where a damaged file stops."""
        parts: list[Array] = []
        n_parts = 0
        while len(part := self._decoder.read(min(_READ_LENGTH, block_length - n_parts))):
            self.n_read += len(part)
            parts.append(part)
            n_parts += len(part)
            if n_parts == block_length:
                yield _to_block(parts)
                parts, n_parts = [], 0
        if parts:
            yield _to_block(parts)
        self._decoder.finish(self.n_read)

    def refuse_damage(self) -> None:
        """For work that a part of a file would falsify.

        Raises:
            QuietmicError: damage was found so far.
        """
        if self.damage:
            raise QuietmicError(f"{self.path}: {self.damage}; replace the file or remove it")

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._decoder.close()


def _open(path: Location) -> Decoder:
    """A decoder: the library, and ffmpeg for what the library cannot read."""
    if not path.is_file():
        is_there = isinstance(path, Path) and path.exists()
        reason = (
            "a pipe or a device, and no file: what it gives can be sent to standard input"
            if is_there
            else "no such file"
        )
        raise QuietmicError(f"{path}: {reason}")
    if stamp(path)[0] == 0:
        raise QuietmicError(f"{path}: the file is empty")
    if is_foreign(path):
        return FfmpegDecoder(path)
    try:
        return LibraryDecoder(path)
    except LibraryError as error:
        refusal = QuietmicError(f"{path}: not audio that can be read, or damaged at its beginning")
        if find_ffmpeg() is None:
            raise refusal from error
        try:
            return FfmpegDecoder(path)
        except QuietmicError:
            raise refusal from error


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


def read_info(path: str | Path) -> AudioInfo:
    """What the header of a sound file tells.

    Raises:
        QuietmicError: the file cannot be read, or is damaged as far as its header tells.
    """
    with AudioReader(path) as reader:
        if not reader.info.is_counted:  # the header does not tell the length
            n_samples = sum(block.shape[1] for block in reader.blocks(reader.info.sample_rate))
            reader.refuse_damage()
            return replace(reader.info, n_samples=n_samples)
        reader.refuse_damage()
        return reader.info


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


def _read_all(reader: AudioReader) -> Array:
    parts = list(reader.blocks(1 << 20))
    return np.concatenate(parts, axis=1) if parts else np.zeros((reader.info.n_channels, 0), np.float32)


def _to_block(parts: list[Array]) -> Array:
    return np.ascontiguousarray(np.concatenate(parts).T)
