"""Films, and the sound of phones, through the program ffmpeg where it is installed.

The program and not its libraries: their Python package takes a hundred megabytes to save a few milliseconds for each
file, and people who have films have the program. It reads files only, of kinds that are named here: a playlist in
disguise could make it fetch addresses or other files.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files.formats import ending
from quietmic.enhance.files.media import START_S, Media, find_programs, probe, safe_options
from quietmic.enhance.files.parts import PartFile
from quietmic.enhance.files.pictures import carry_pictures
from quietmic.enhance.files.storage import Location, Url

_ENCODERS = {"opus": "libopus", "vorbis": "libvorbis", "mp3": "libmp3lame"}  # codecs whose encoder has another name
_TAGS = {"tracknumber": "track"}  # what ffmpeg calls otherwise than the library
_SOUND = frozenset({"m4a", "m4b", "mka", "aac", "wma", "amr", "ac3", "eac3", "dts", "ape", "wv", "tta"})
"""Endings of files that hold no picture but that of a cover."""
_WITH_COVER = frozenset({"m4a", "m4b"})
_WITH_ATTACHED = frozenset({"mkv", "mka"})
_NO_BEGINNING = frozenset({"avi", "aac", "mp2", "ts", "mts", "m2ts", "mpg", "mpeg", "vob"})
"""Endings of what cannot tell how many samples a coding puts in front of the sound."""

_NO_SPACE = "No space left on device"  # in what ffmpeg says; its exit code may be 0 then
_SLACK_S = 0.2  # by which the length that a container tells may differ from the samples written


class FfmpegDecoder:
    """The first sound track of a film or a sound file; see `LibraryDecoder`."""

    def __init__(self, path: Location) -> None:
        """Looks at the file and starts the program.

        Raises:
            QuietmicError: ffmpeg is not installed, or finds no sound in the file.
        """
        self.damage: str | None = None
        self.notes: list[str] = []
        with ExitStack() as stack:
            self.local = stack.enter_context(_on_this_machine(path))
            self.media = probe(self.local, path)
            self.safely = safe_options(path)
            self.info = self.media.info
            if self.media.n_tracks > 1:
                self.notes.append(f"the file has {self.media.n_tracks} sound tracks: the first was read")
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            command = [find_programs(path)[0], "-v", "error", "-nostdin", *self.safely, "-i", f"file:{self.local}"]
            command += ["-map", "0:a:0", "-ac", str(self.info.n_channels), "-ar", str(self.info.sample_rate)]
            self._program = subprocess.Popen(
                [*command, "-f", "f32le", "pipe:1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=self._errors,
            )  # fmt: skip
            stack.callback(_end, self._program)
            self._stack = stack.pop_all()

    def read(self, n_samples: int) -> Array:
        """The next samples, [n, n_channels]; none at the end or where the file is damaged."""
        assert self._program.stdout
        n_channels = self.info.n_channels
        data = self._program.stdout.read(4 * n_channels * n_samples)
        return np.frombuffer(data[: len(data) // (4 * n_channels) * 4 * n_channels], "<f4").reshape(-1, n_channels)

    def finish(self, n_read: int) -> None:
        """Hears what the program has to say at its end."""
        code = self._program.wait(START_S)
        said = _text_of(self._errors).rpartition("\n")[2]
        if said or code:
            self.damage = f"damaged: ffmpeg says: {said or f'code {code}'}"

    def close(self) -> None:
        """Ends the program, whatever it still has to give."""
        self._stack.close()


class FfmpegWriter:
    """Writes a sound track; the picture, subtitles and other tracks of `source` are copied into the same file.

    Attributes:
        notes: what a listener should know of the output.
    """

    def __init__(
        self, path: Path, n_channels: int, sample_rate: int, source: FfmpegDecoder | None, tags: Mapping[str, str],
        pictures_of: Location | None = None,
    ) -> None:  # fmt: skip
        """Starts the program, which writes under a temporary name.

        Args:
            path: final name; its ending chooses the format.
            n_channels: channels of every block.
            sample_rate: Hz.
            source: film whose other tracks and tags are copied; None for a sound alone.
            tags: of a sound alone.
            pictures_of: file whose pictures go over into a sound alone.

        Raises:
            QuietmicError: ffmpeg is not installed.
        """
        self.path = path
        self.notes: list[str] = []
        if ending(path) in _NO_BEGINNING:
            self.notes.append(
                f"the sound begins some 20 ms late: .{ending(path)} cannot tell what its coding puts in front"
            )
        self._n_written, self._rate, self._pictures_of = 0, sample_rate, pictures_of
        self._is_other_kind = source is not None and ending(path) != ending(source.local)
        self._part = PartFile(path)
        with ExitStack() as stack:
            stack.callback(self._part.discard)  # nothing is there any more once it has its final name
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            self._program = subprocess.Popen(
                self._command(n_channels, source, tags), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )  # fmt: skip
            stack.callback(_end, self._program)
            self._stack = stack.pop_all()

    def _command(self, n_channels: int, source: FfmpegDecoder | None, tags: Mapping[str, str]) -> list[str]:
        sound = ["-f", "f32le", "-ar", str(self._rate), "-ac", str(n_channels), "-i", "pipe:0"]
        command = [find_programs(self.path)[0], "-v", "error", "-y"]
        if source is None:
            for name, text in tags.items():
                sound += ["-metadata", f"{_TAGS.get(name, name)}={text}"]
            return [*command, *sound, f"file:{self._part.path}"]
        media = source.media
        command += ["-itsoffset", str(media.offset_s), *sound, *source.safely, "-i", f"file:{source.local}"]
        command += [*self._tracks(media, source.local), "-map_metadata", "1", "-map_chapters", "1"]
        for name, text in media.tags.items():
            command += ["-metadata:s:a:0", f"{name}={text}"]
        command += ["-disposition:a:0", "+".join(media.roles) or "0"]
        command += ["-c", "copy", "-c:a:0", self._encoder(media.codec, source.local)]
        if media.bit_rate:
            command += ["-b:a:0", str(media.bit_rate)]
        return [*command, f"file:{self._part.path}"]

    def _tracks(self, media: Media, source: Path) -> list[str]:
        """What goes into the file: all tracks into a film, only the sound and its cover into a file of sound."""
        stays = ending(self.path) == ending(source)
        others = ["-map", "1:a?", "-map", "-1:a:0"]
        if ending(self.path) in _SOUND:
            covers = media.pictures if ending(self.path) in _WITH_COVER else ()
            if media.pictures and not covers:
                self.notes.append(f"left out, since .{ending(self.path)} has no place for it: pictures")
            pictures = [option for number in covers for option in ("-map", f"1:{number}")]
            return ["-map", "0:a", *(others if stays else []), *pictures]
        attached = ["-map", "1:t?"] if ending(self.path) in _WITH_ATTACHED else []
        for n_lost, what in ((media.n_data, "tracks of data"), (0 if attached else media.n_attached, "attached files")):
            if n_lost:
                self.notes.append(f"left out, since it cannot be copied: {n_lost} {what}")
        return ["-map", "1:v?", "-map", "0:a", *others, "-map", "1:s?", *attached]

    def _encoder(self, codec: str, source: Path) -> str:
        """That of the source where the ending stays, else the usual one of the ending."""
        if self.path.suffix.lower() == source.suffix.lower():
            return _ENCODERS.get(codec, codec)
        usual = {".webm": "libopus", ".mkv": "flac", ".mka": "flac", ".avi": "libmp3lame", ".wma": "wmav2"}
        return usual.get(self.path.suffix.lower(), "aac")

    def write(self, block: Array) -> None:
        """Appends a block [n_channels, n_samples].

        Raises:
            QuietmicError: the program ended early.
        """
        assert self._program.stdin
        try:
            self._program.stdin.write(np.ascontiguousarray(block.T, "<f4").tobytes())
        except OSError as error:
            raise self._failure() from error
        self._n_written += block.shape[1]

    def __enter__(self) -> "FfmpegWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        try:
            self._program.communicate()
        except OSError as error:
            raise self._failure() from error
        if self._program.returncode or _NO_SPACE in _text_of(self._errors):
            raise self._failure()
        written = probe(self._part.path, self.path)
        if written.duration_s and written.duration_s < self._n_written / self._rate - _SLACK_S:
            raise QuietmicError(
                f"{self.path}: only {written.duration_s:.1f} of {self._n_written / self._rate:.1f} s came onto the disk"
            )
        if place := self._pictures_of:
            with place.open() if isinstance(place, Url) else place.open("rb") as file:
                try:
                    self.notes += carry_pictures(file, 0, self._part.file, ending(self.path).upper())
                except OSError as error:
                    raise QuietmicError(f"{self.path}: cannot be written: {reason_of(error)}") from error
        self._part.commit()

    def _failure(self) -> QuietmicError:
        self._program.wait(START_S)
        said = _text_of(self._errors)
        # The first line tells the cause, the others what follows from it.
        cause = re.sub(r"^\[.*?\] ", "", said.partition("\n")[0])
        reason = _NO_SPACE.lower() if _NO_SPACE in said else f"ffmpeg says: {cause}"
        if self._is_other_kind:
            reason += "; a film keeps all of its tracks where its ending stays"
        return QuietmicError(f"{self.path}: cannot be written: {reason}")


class _on_this_machine:
    """A file of storage as one of this machine, for as long as the context lasts."""

    def __init__(self, path: Location) -> None:
        self._path = path

    def __enter__(self) -> Path:
        if isinstance(self._path, Path):
            return self._path
        self._folder = tempfile.TemporaryDirectory(prefix="quietmic-")
        local = Path(self._folder.name) / f"source{self._path.suffix}"
        with self._path.open() as source, local.open("wb") as target:
            shutil.copyfileobj(source, target)
        return local

    def __exit__(self, *exception: object) -> None:
        if isinstance(self._path, Url):
            self._folder.cleanup()


def _end(program: subprocess.Popen[bytes]) -> None:
    """Ends a program whatever it does."""
    for pipe in (program.stdin, program.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()
    if program.poll() is None:
        program.kill()
    program.wait()


def _text_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()
