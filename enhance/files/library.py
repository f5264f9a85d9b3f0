"""Reading through libsndfile, which is shown a header that can be believed."""

import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.bitrate import measure_bit_rate
from quietmic.enhance.files.container import find_flac, find_layout
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.files.layout import Part, Window
from quietmic.enhance.files.storage import Location, Url, stamp

LibraryError = (soundfile.SoundFileError, RuntimeError, TypeError)

_SHORTER = re.compile(r"(?:data|SSND)\s*: (\d+) \(should be (\d+)\)")  # in what the library tells of a header
_PIPE_SIZE = 0x7FFF0000  # sizes from here on stand for "to the end"
_FLAT = {"MAT4", "MAT5", "HTK", "AVR", "NIST", "IRCAM", "PAF", "PVF"}  # one header, then samples to the end
_FLAT_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4,
               "DOUBLE": 8}  # fmt: skip
_HEADER_BYTES = 4096  # no header of these is longer
_FLAC_AHEAD = 1 << 17  # bytes that the decoder of FLAC may have read beyond what it gave
_SLACK = 3 * 1152  # samples by which a length of MP3 may differ: what the encoder put in front and behind


class _Sequential(soundfile.SoundFile):
    """Reads on until nothing comes: a file that can be sought is read no further than its header says."""

    def seekable(self) -> bool:
        """Never, so that the library reads on where the header would stop it."""
        return False


class LibraryDecoder:
    """An open file; gives samples [n, n_channels] until its end.

    Attributes:
        info: what the headers say.
        damage: how the file falls short of its header, None while it does not.
        notes: what a listener should know, though all of the sound is read.
    """

    def __init__(self, path: Location) -> None:
        """Opens a file and finds out where its sound lies.

        Raises:
            LibraryError: libsndfile cannot read it.
            QuietmicError: the connection failed.
        """
        self._path = path
        self._stream: BinaryIO = path.open() if isinstance(path, Url) else path.open("rb")
        try:
            n_bytes = stamp(path)[0]
            self._layout = find_layout(self._stream, n_bytes)
            self._is_plain = self._layout.is_plain(n_bytes) and not isinstance(path, Url)
            self.damage, self.notes = self._layout.damage, list(self._layout.notes)
            self._parts = list(self._layout.parts)
            self._open(self._parts.pop(0))
            self.info = self._find_info()
        except BaseException:
            self._stream.close()
            raise

    def _open(self, part: Part) -> None:
        self._part, self._n_of_part = part, 0
        self._window = None if self._is_plain else Window(self._stream, part)
        self._file = _Sequential(self._window or native_name(self._path))

    def _find_info(self) -> AudioInfo:
        """Facts of all parts together; those of another kind than the first are left out with a note."""
        file, layout = self._file, self._layout
        kind = file.channels, file.samplerate
        n_samples, kept = self._n_declared(), []
        for part in self._parts:
            with suppress(*LibraryError), _Sequential(Window(self._stream, part)) as other:
                if (other.channels, other.samplerate) == kind:
                    n_samples += other.frames
                    kept.append(part)
        if left_out := len(self._parts) - len(kept):
            self.notes.append(
                f"{left_out} of the {len(layout.parts)} recordings in this file are left out, having other channels or "
                f"another rate than the first ({file.channels} at {file.samplerate} Hz)"
            )
        self._parts = kept
        for declared, found in _SHORTER.findall(file.extra_info) if self._is_plain else ():
            if int(found) < int(declared) < _PIPE_SIZE and self.damage is None:
                self.damage = f"cut off: {found} of {declared} bytes of sound are there"
        info = AudioInfo(
            file.channels, n_samples, file.samplerate, file.format, file.subtype, layout.is_counted, tags=self._tags()
        )
        return replace(info, **measure_bit_rate(self._stream, stamp(self._path)[0], info))

    def _tags(self) -> dict[str, str]:
        """Title, artist and others; of the whole file, since they may lie in front of the first part."""
        if self._is_plain or self._part.start == 0:
            return self._file.copy_metadata()
        with suppress(*LibraryError), _Sequential(Window(self._stream, Part(0, stamp(self._path)[0]))) as whole:
            return whole.copy_metadata()
        return {}

    def _n_declared(self) -> int:
        return self._file.frames if self._part.n_samples is None else self._part.n_samples

    def read(self, n_samples: int) -> Array:
        """The next samples, [n, n_channels]; none at the end or where the file is damaged."""
        while True:
            part = self._read_part(n_samples)
            self._n_of_part += len(part)
            if self._window and self._window.error:
                error = self._window.error
                raise QuietmicError(f"{self._path}: the connection failed: {error}") from error
            if len(part):
                return part
            if not self._parts:
                return part
            self._file.close()
            try:
                self._open(self._parts.pop(0))
            except LibraryError:
                self.damage = self.damage or "a recording within it is damaged"
                return part

    def _read_part(self, n_samples: int) -> Array:
        if self._part.ends_there:
            n_samples = min(n_samples, self._n_declared() - self._n_of_part)
        # An error takes what was decoded before it along, unless it lies in an array of ours.
        block = np.full((n_samples, self.info.n_channels), np.nan, np.float32)
        try:
            return self._file.read(out=block)
        except LibraryError:
            n_good = n_samples - int(np.argmin(np.isnan(block[::-1, -1]))) if not np.isnan(block).all() else 0
            n_until = self._n_of_part + n_good
            is_whole = self.info.is_counted and n_until >= self._n_declared()
            follows = self._finds_flac()
            if not is_whole and not (follows and not self.info.is_counted):
                self.damage = self.damage or f"damaged after {n_until} samples"
            return block[:n_good]

    def _finds_flac(self) -> bool:
        """Whether another recording follows, over whose beginning the decoder of FLAC stumbled; it comes next."""
        self._parts.clear()
        if self._window is None or self.info.format != "FLAC":
            return False
        begin = max(self._part.start + 1, self._part.start + self._window.tell() - _FLAC_AHEAD)
        part = find_flac(self._stream, begin, self._part.end)
        if part is None:
            return False
        with suppress(*LibraryError), _Sequential(Window(self._stream, part)) as other:
            if (other.channels, other.samplerate) == (self.info.n_channels, self.info.sample_rate):
                self._parts.append(part)
                self.info = replace(self.info, n_samples=self.info.n_samples + (part.n_samples or 0))
                return True
        self.notes.append("what follows the first recording is left out, having other channels or another rate")
        return True

    def finish(self, n_read: int) -> None:
        """Compares what was read to the end with what the header said."""
        n_samples = self.info.n_samples
        if not self.info.is_counted or self.damage:
            return
        sample_bytes = _FLAT_BYTES.get(self.info.subtype)
        if self.info.format in _FLAT and sample_bytes:
            frame_bytes = sample_bytes * self.info.n_channels
            n_room = max(0, stamp(self._path)[0] - _HEADER_BYTES) // frame_bytes
            if n_room > n_read + n_read // 10:
                self.damage = f"its header counts {n_read} samples, but the file has room for {n_room}"
        # The count of MP3 within WAV holds what the encoder put in front.
        if n_read < n_samples - (_SLACK if self.info.subtype == "MPEG_LAYER_III" and self.info.format != "MP3" else 0):
            self.damage = f"only {n_read} of {n_samples} samples can be read"
        elif n_read > n_samples + (_SLACK if self.info.format == "MP3" else 0):
            self.notes.append(f"its header counts {n_samples} samples, but {n_read} are there: all were read")

    def close(self) -> None:
        """Gives back what was opened for reading."""
        self._file.close()
        self._stream.close()


def native_name(path: Path | Url) -> str | bytes:
    """A name as the library takes it: bytes where names are bytes, since not all of them are text."""
    return str(path) if os.name == "nt" else os.fsencode(path)
