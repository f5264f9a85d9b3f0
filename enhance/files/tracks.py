"""Writing the sound of films and phones through the program ffmpeg: all of it under the final name, or nothing."""

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files.ffmpeg import FfmpegDecoder, end_program, text_of
from quietmic.enhance.files.formats import ending
from quietmic.enhance.files.media import START_S, Media, find_programs, probe
from quietmic.enhance.files.parts import PartFile
from quietmic.enhance.files.pictures import carry_pictures
from quietmic.enhance.files.places import choose_layout, raw_input
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


class FfmpegWriter:
    """Writes a sound track; the picture, subtitles and other tracks of `source` are copied into the same file.

    Attributes:
        notes: what a listener should know of the output.
    """

    def __init__(
        self, path: Path, n_channels: int, sample_rate: int, source: FfmpegDecoder | None, tags: Mapping[str, str],
        pictures_of: Location | None = None, layout: str = "",
    ) -> None:  # fmt: skip
        """Starts the program, which writes under a temporary name.

        Args:
            path: final name; its ending chooses the format.
            n_channels: channels of every block.
            sample_rate: Hz.
            source: film whose other tracks and tags are copied; None for a sound alone.
            tags: of a sound alone.
            pictures_of: file whose pictures go over into a sound alone.
            layout: places of the channels of a sound alone, as ffmpeg calls them; "" where they are not known.

        Raises:
            QuietmicError: ffmpeg is not installed.
        """
        self.path = path
        self.notes: list[str] = []
        if ending(path) in _NO_BEGINNING:
            self.notes.append(
                f"the sound begins some 20 ms late: .{ending(path)} cannot tell what its coding puts in front"
            )
        self._n_written, self._rate, self._pictures_of, self._layout = 0, sample_rate, pictures_of, layout
        self._is_other_kind = source is not None and ending(path) != ending(source.local)
        self._part = PartFile(path)
        with ExitStack() as stack:
            stack.callback(self._part.discard)  # nothing is there any more once it has its final name
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            self._program = subprocess.Popen(
                self._command(n_channels, source, tags), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )  # fmt: skip
            stack.callback(end_program, self._program)
            self._stack = stack.pop_all()

    def _command(self, n_channels: int, source: FfmpegDecoder | None, tags: Mapping[str, str]) -> list[str]:
        media = source.media if source else None
        coding = self._coding(media, source.local if source else None)
        sound = raw_input(n_channels, self._rate, self._places(n_channels, media, coding))
        command = [find_programs(self.path)[0], "-v", "error", "-y"]
        if source is None or media is None:
            named = [("-metadata", f"{_TAGS.get(name, name)}={text}") for name, text in tags.items()]
            return [*command, *sound, *chain(*named), *coding, f"file:{self._part.path}"]
        command += ["-itsoffset", str(media.offset_s), *sound, *source.safely, "-i", f"file:{source.local}"]
        command += [*self._tracks(media, source.local), "-map_metadata", "1", "-map_chapters", "1"]
        for name, text in media.tags.items():
            command += ["-metadata:s:a:0", f"{name}={text}"]
        command += ["-disposition:a:0", "+".join(media.roles) or "0"]
        return [*command, "-c", "copy", *coding, f"file:{self._part.path}"]

    def _coding(self, media: Media | None, source: Path | None) -> list[str]:
        """Options that choose the encoder."""
        coding = ["-c:a:0", self._encoder(media.codec, source)] if media and source else []
        if media and media.bit_rate:
            coding += ["-b:a:0", str(media.bit_rate)]
        return coding

    def _places(self, n_channels: int, media: Media | None, coding: Sequence[str]) -> str:
        """Where the channels stand, as the encoder is told so that it need not mix them."""
        if n_channels < 3:
            return ""
        wanted: str | None = self._layout
        if media:
            wanted = (media.layout or None) if media.info.n_channels == n_channels else ""
        layout = choose_layout(self.path, n_channels, self._rate, wanted, coding)
        if wanted and layout != wanted:
            self.notes.append(f"its channels, untouched, are called {layout}: this coding does not know {wanted}")
        return layout

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
        if self._program.returncode or _NO_SPACE in text_of(self._errors):
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
        said = text_of(self._errors)
        # The first line tells the cause, the others what follows from it.
        cause = re.sub(r"^\[.*?\] ", "", said.partition("\n")[0])
        reason = _NO_SPACE.lower() if _NO_SPACE in said else f"ffmpeg says: {cause}"
        if self._is_other_kind:
            reason += "; a film keeps all of its tracks where its ending stays"
        return QuietmicError(f"{self.path}: cannot be written: {reason}")
