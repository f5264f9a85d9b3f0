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
from quietmic.enhance.files.ffmpeg import FfmpegDecoder, end_program, how_it_ended, text_of
from quietmic.enhance.files.formats import ending
from quietmic.enhance.files.media import START_S, Media, find_programs, first_words, probe
from quietmic.enhance.files.parts import PartFile
from quietmic.enhance.files.pictures import carry_pictures
from quietmic.enhance.files.places import choose_layout, raw_input, rehearse
from quietmic.enhance.files.storage import Location, Url

_ENCODERS = {
    "opus": "libopus", "vorbis": "libvorbis", "mp3": "libmp3lame", "speex": "libspeex", "dts": "dca",
    "amr_nb": "libopencore_amrnb", "amr_wb": "libvo_amrwbenc",
}  # fmt: skip
"""Codecs whose encoder has another name."""
_TAGS = {"tracknumber": "track"}  # what ffmpeg calls otherwise than the library
_SOUND = frozenset({
    "m4a", "m4b", "mka", "aac", "wma", "amr", "ac3", "eac3", "dts", "ape", "wv", "tta", "spx", "oga", "ogg", "opus",
    "caf", "wav", "w64", "aif", "aiff", "au", "mp2",
})  # fmt: skip
"""Endings of files that hold no picture but that of a cover."""
_WITH_COVER = frozenset({"m4a", "m4b"})
_WITH_ATTACHED = frozenset({"mkv", "mka"})
_TELLING = frozenset({"mp4", "m4a", "m4b", "m4v", "mov", "3gp", "3g2", "wav", "ogg", "oga", "opus"})
"""Endings of what tells how many samples a coding puts in front of the sound."""
_IN_FRONT = {"aac": 1024, "mp3": 1105, "mp2": 481, "ac3": 256, "eac3": 256, "dts": 512, "nellymoser": 128}
"""Those samples, by cross-correlation of what ffmpeg 5.1 wrote and read."""
_LATE_S = {"speex": 0.013}  # 10 to 16 ms, the more the higher the rate
_OPUS, _OPUS_UNTOLD = 312, frozenset({"ts", "mts", "m2ts", "caf"})
_USUAL = {
    "webm": "libopus", "mkv": "flac", "mka": "flac", "avi": "libmp3lame", "wma": "wmav2", "wmv": "wmav2",
    "asf": "wmav2", "wv": "wavpack", "tta": "tta", "ac3": "ac3", "eac3": "eac3", "dts": "dca", "mp2": "mp2",
    "mpg": "mp2", "mpeg": "mp2", "vob": "mp2", "spx": "libspeex", "amr": "libopencore_amrnb",
}  # fmt: skip
"""The encoder for an ending whose source has another one; the others get AAC."""
_SHALLOW = {"flac": "s16", "tta": "s16", "alac": "s16p", "wavpack": "s16p"}
_DEEP = {"flac": "s32", "tta": "s32", "alac": "s32p", "wavpack": "s32p"}
_READ_ONLY = frozenset({"ape"})

_NO_SPACE = "No space left on device"  # in what ffmpeg says; its exit code may be 0 then
_SLACK_S = 0.2  # by which the length that a container tells may differ from the samples written


class FfmpegWriter:
    """Writes a sound track; the picture, subtitles and other tracks of `source` are copied into the same file.

    Attributes:
        notes: what a listener should know of the output.
    """

    def __init__(
        self, path: Path, n_channels: int, sample_rate: int, source: FfmpegDecoder | None, tags: Mapping[str, str],
        pictures_of: Location | None = None, layout: str = "", depth: int = 0,
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
            depth: bits of a sample of a sound alone; 0 where that says nothing.

        Raises:
            QuietmicError: ffmpeg is not installed.
        """
        self.path = path
        self.notes: list[str] = []
        if ending(path) in _READ_ONLY:
            raise QuietmicError(f"{path}: .{ending(path)} can be read and not written: name another output, as .flac")
        self._n_written, self._rate, self._pictures_of = 0, sample_rate, pictures_of
        self._layout, self._depth = layout, depth
        self._is_other_kind = source is not None and source.media.n_others > 0 and ending(path) != ending(source.local)
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
        coding = choose_coding(self.path, source, self._depth)
        self._n_front = _frames_in_front(coding, self._rate, media is not None and media.n_others > 0)
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

    def write(self, block: Array) -> None:
        """Appends a block [n_channels, n_samples].

        Raises:
            QuietmicError: the program ended early.
        """
        assert self._program.stdin
        if self._n_front:
            front, self._n_front = np.zeros((len(block), self._n_front), np.float32), 0
            block = np.concatenate((front, block), axis=1)
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
        n_late = self._n_late(written)
        if n_late:
            what = f"{1000 * n_late / self._rate:.0f} ms late"
            self.notes.append(
                f"the sound begins {what}: .{ending(self.path)} cannot tell what {written.codec} puts in front of it"
            )
        if place := self._pictures_of:
            with place.open() if isinstance(place, Url) else place.open("rb") as file:
                try:
                    self.notes += carry_pictures(file, 0, self._part.file, ending(self.path).upper())
                except OSError as error:
                    raise QuietmicError(f"{self.path}: cannot be written: {reason_of(error)}") from error
        self._part.commit()

    def _n_late(self, written: Media) -> int:
        """Samples by which the sound begins late; a picture beside it is moved by as many, but in AVI."""
        name, codec = ending(self.path), written.codec
        if name in _TELLING or (written.n_others and name != "avi"):
            return 0
        if codec == "opus":
            return _OPUS if name in _OPUS_UNTOLD else 0
        return _IN_FRONT.get(codec, round(_LATE_S.get(codec, 0) * self._rate))

    def _failure(self) -> QuietmicError:
        self._program.wait(START_S)
        said = text_of(self._errors)
        # The first line tells the cause, the others what follows from it.
        cause = first_words(said).replace(str(self._part.path), str(self.path))
        cause = cause or how_it_ended(self._program.returncode or 0)
        if missing := re.match(r"Unknown encoder '(.*)'", cause):
            cause = f"it has no encoder for this ({missing[1]}): name another output, as .flac"
        reason = _NO_SPACE.lower() if _NO_SPACE in said else f"ffmpeg says: {cause}"
        if self._is_other_kind:
            reason += "; a film keeps all of its tracks where its ending stays"
        return QuietmicError(f"{self.path}: cannot be written: {reason}")


def choose_coding(path: Path, source: FfmpegDecoder | None, depth: int = 0) -> list[str]:
    """Options that choose the encoder: that of the source where the ending stays, else the usual one of the ending.

    Args:
        path: final name of the output.
        source: film that the sound comes from; None for one that the library reads.
        depth: bits of a sample of the latter; 0 where that says nothing.
    """
    strict = ["-strict", "-2"]  # FLAC in mp4, TrueHD and DTS are called experimental
    media = source.media if source else None
    encoder = _USUAL.get(ending(path), "aac" if source else "")
    stays = source is not None and ending(path) == ending(source.local)
    if media and stays:
        encoder = _ENCODERS.get(media.codec, media.codec)
    if not encoder:
        return strict
    coding = ["-c:a:0", encoder, *strict]
    if media and media.bit_rate and (stays or encoder != "mp2"):  # which has a few rates only
        coding += ["-b:a:0", str(media.bit_rate)]
    depth = media.depth if media else depth
    if depth and encoder in _DEEP:
        is_float = media is not None and media.is_float
        kept = "fltp" if is_float and encoder == "wavpack" else (_SHALLOW if depth <= 16 else _DEEP)[encoder]
        coding += ["-sample_fmt:a:0", kept, *(["-bits_per_raw_sample:a:0", "24"] if depth == 24 else [])]
    return coding


def can_write(path: Path, n_channels: int, sample_rate: int, source: FfmpegDecoder | None) -> bool:
    """Whether ffmpeg writes what `choose_coding` chooses, found out with a moment of silence."""
    return rehearse(path, n_channels, sample_rate, "", choose_coding(path, source)) is not None


def _frames_in_front(coding: Sequence[str], sample_rate: int, is_film: bool) -> int:
    """Silence for an encoder of Windows Media to begin with, in samples: a frame is thrown away by what decodes it.

    In a film the picture is moved by another frame, which the encoder says to have put in front.
    """
    encoder = coding[1] if coding[0] == "-c:a:0" else ""
    if encoder not in ("wmav1", "wmav2"):
        return 0
    middle = 32000 if encoder == "wmav1" else 22050
    frame = 512 if sample_rate <= 16000 else 1024 if sample_rate <= middle else 2048
    return 2 * frame if is_film else frame
