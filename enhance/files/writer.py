"""Writing audio files: all of it under the final name, or nothing."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

import numpy as np
import soundfile

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files import rf64
from quietmic.enhance.files.bitrate import writing_options
from quietmic.enhance.files.formats import choose_format
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.files.library import LibraryError, native_name
from quietmic.enhance.files.parts import PartFile
from quietmic.enhance.files.storage import Location
from quietmic.enhance.files.tags import COMMON_TAGS, copy_tags, goes_as_chunks, write_count_of_fact

_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4,
          "DOUBLE": 8}  # fmt: skip  # of a sample; others are compressed


class _Sink:
    """A file as the library writes it; keeps the error, of which the library only says that there was one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None
        self.seek, self.tell, self.read = file.seek, file.tell, file.read

    def write(self, data: bytes) -> int:
        """As a file of its own would do it."""
        n_written = 0
        try:
            while n_written < len(data):  # a system may take a part of it
                n_written += self._file.write(data[n_written:])
        except OSError as error:
            self.error = error
        return n_written


class AudioWriter:
    """Writes an audio file under a temporary name, renamed when the context ends well and removed when it does not.

    Attributes:
        notes: what of the tags could not go over; known when the context has ended.
    """

    def __init__(
        self,
        path: str | Path,
        n_channels: int,
        sample_rate: int,
        like: AudioInfo | None = None,
        subtype: str | None = None,
        tags_of: Location | None = None,
    ) -> None:
        """Opens the temporary file beside the place of the final one; folders are made.

        Args:
            path: final name; its extension chooses the format.
            n_channels: channels of every block.
            sample_rate: Hz.
            like: take format, subtype and bit rate from this file where the extension allows.
            subtype: coding; default: that of `like`, else the format's own.
            tags_of: file whose tags go over.

        Raises:
            QuietmicError: an extension or a rate that cannot be written.
        """
        self.path = Path(path)
        self.notes: list[str] = []
        self._tags_of = tags_of
        self._format, self._subtype = choose_format(self.path, like, subtype)
        self._named = self._format  # what the name stands for
        self._format = choose_wav(self._format, self._subtype, n_channels, like)
        self._source_format, self._n_pictures = (like.format, like.n_pictures) if like else ("", 0)
        options = writing_options(self._format, self._subtype, sample_rate, like) if like else {}
        self._n_written = 0
        self._part = PartFile(self.path)
        self._sink = _Sink(self._part.file)
        try:
            self._file = soundfile.SoundFile(
                self._sink, "w", sample_rate, n_channels, self._subtype, format=self._format, **options
            )
        except (*LibraryError, ValueError) as error:
            self._part.discard()
            what = f"{self._format} {self._subtype or ''}".strip()
            raise QuietmicError(
                f"{path}: cannot write {what} with {n_channels} channels at {sample_rate} Hz"
            ) from error
        self._frame_bytes = n_channels * _BYTES.get(self._file.subtype, 0)
        if like and not goes_as_chunks(like.format, self._named):
            self._set_tags(like.tags)

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        """The common tags, which the library writes in front of the sound."""
        lost = []
        for name in COMMON_TAGS & set(tags):
            try:
                setattr(self._file, name, tags[name])
            except LibraryError:
                lost.append(name)
        lost = [name for name in lost if name != "software"]  # a program's name is no word of the author
        lost += set(tags) - COMMON_TAGS
        if lost and self._tags_of is not None:
            self.notes.append(f"tags left out: {', '.join(sorted(lost))}")  # the file may have a place for them

    def write(self, block: Array) -> None:
        """Appends a block [n_channels, n_samples].

        Raises:
            QuietmicError: no space left, or another reason why it cannot be written.
        """
        if block.shape[1]:
            try:
                self._file.write(np.ascontiguousarray(block.T))
            except (*LibraryError, AssertionError) as error:  # it asserts that all was taken
                raise self._failure(error) from error
            if self._sink.error:
                raise self._failure()
            self._n_written += block.shape[1]

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            try:
                self._file.close()
                self._part.file.flush()
            except (*LibraryError, OSError) as failure:
                if kind is None:
                    raise self._failure(failure) from failure
            if kind is None:
                self._finish()
        except BaseException:
            self._part.discard()
            raise
        if kind is not None:
            self._part.discard()

    def _finish(self) -> None:
        """Tags, then a look at what lies on the disk, then the final name."""
        if self._sink.error:
            raise self._failure()
        try:
            write_count_of_fact(self._part.file, self._n_written)
            if self._tags_of is not None:
                told = self._source_format, self._n_pictures
                self.notes += copy_tags(self._tags_of, *told, self._part.file, self._named)
            if self._format != self._named:
                rf64.make_plain(self._part.file, keeps_places=self._named == "WAVEX")
            self._part.file.flush()
            n_there = self._count()
        except (*LibraryError, OSError) as error:
            raise self._failure(error) from error
        if n_there < self._n_written:
            self._weigh(n_there)
        self._part.commit()

    def _weigh(self, n_counted: int) -> None:
        """Where the header counts too few samples: hours of sound that lie on the disk are kept, and that is told."""
        if not self._frame_bytes or self._part.file.seek(0, 2) < self._n_written * self._frame_bytes:
            raise QuietmicError(f"{self.path}: only {n_counted} of {self._n_written} samples came onto the disk")
        self.notes.append(
            f"all {self._n_written} samples are in the file, but {self._named} cannot count so many: programs find "
            f"{n_counted} of them; FLAC, CAF and W64 can"
        )

    def _count(self) -> int:
        """Samples that lie on the disk; of an empty FLAC not even a header does."""
        if self._n_written == 0:
            return 0
        with soundfile.SoundFile(native_name(self._part.path)) as written:
            return written.frames

    def _failure(self, error: Exception | None = None) -> QuietmicError:
        """Why it cannot be written, as the system says it."""
        found = self._sink.error or error
        reason = (reason_of(found) if found else "") or "the library does not say"
        return QuietmicError(f"{self.path}: cannot be written: {reason}")


def choose_wav(file_format: str, subtype: str | None, n_channels: int, like: AudioInfo | None) -> str:
    """The same format, or RF64 in place of WAV where the samples of `like` are too many for it, or nobody knows."""
    if like is None or file_format not in ("WAV", "WAVEX") or not soundfile.check_format("RF64", subtype or "PCM_16"):
        return file_format
    is_too_long = like.n_samples * n_channels * _BYTES.get(subtype or "PCM_16", 4) > rf64.WAV_LIMIT
    return "RF64" if is_too_long or not like.is_counted else file_format


def open_flac(stream: BinaryIO, n_channels: int, sample_rate: int) -> soundfile.SoundFile:
    """A FLAC encoder of 16 bits over an open binary file; its `write` takes [n_samples, n_channels] float32."""
    return soundfile.SoundFile(stream, "w", sample_rate, n_channels, "PCM_16", format="FLAC")
