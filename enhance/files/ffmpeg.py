"""Films, and the sound of phones, through the program ffmpeg where it is installed.

The program and not its libraries: their Python package takes a hundred megabytes to save a few milliseconds for each
file, and people who have films have the program. It reads files only, of kinds that are named here: a playlist in
disguise could make it fetch addresses or other files.
"""

import json
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.formats import ending, is_foreign
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.files.parts import PartFile
from quietmic.enhance.files.storage import Location, Url

_MARKED = "mov,matroska,avi,asf,flv,ape,wv,tta,ogg,wav,w64,caf,aiff,au,flac"  # told by marks that chance does not make
_BARE = "mpegts,mpeg,mp3,aac,ac3,eac3,dts,amr,amrnb,amrwb"  # told by a few bits: believed only where the name says so
_ENCODERS = {"opus": "libopus", "vorbis": "libvorbis", "mp3": "libmp3lame"}  # codecs whose encoder has another name
_LOSSLESS = ("alac", "flac", "pcm_", "tta", "wavpack", "ape")
_NO_BEGINNING = frozenset({"avi", "aac", "mp2", "ts", "mts", "m2ts", "mpg", "mpeg", "vob"})
"""Endings of what cannot tell how many samples a coding puts in front of the sound."""

_NO_SPACE = "No space left on device"  # in what ffmpeg says; its exit code may be 0 then
_START_S = 60  # more than a program needs to look at the beginning of a file
_SLACK_S = 0.2  # by which the length that a container tells may differ from the samples written


@dataclass(frozen=True)
class _Media:
    """What ffprobe tells of a file.

    Attributes:
        info: of the first sound track.
        codec: of it, as in "aac".
        bit_rate: of it, bits per second; None for a lossless one.
        offset_s: by which it begins later than the file.
        n_tracks: sound tracks.
        duration_s: of the first one; 0 where that is not told.
    """

    info: AudioInfo
    codec: str
    bit_rate: int | None
    offset_s: float
    n_tracks: int
    duration_s: float


def find_ffmpeg() -> tuple[str, str] | None:
    """The programs ffmpeg and ffprobe, None where they are not installed."""
    programs = shutil.which("ffmpeg"), shutil.which("ffprobe")
    return (programs[0], programs[1]) if programs[0] and programs[1] else None


def _programs(path: Location) -> tuple[str, str]:
    programs = find_ffmpeg()
    if programs is None:
        raise QuietmicError(
            f"{path}: sound of this kind needs the program ffmpeg, which is not installed: `apt install ffmpeg`, "
            "`brew install ffmpeg` or `winget install ffmpeg`"
        )
    return programs


def _safely(path: Location) -> tuple[str, ...]:
    """Options in front of an input: only files, only of these kinds."""
    kinds = f"{_MARKED},{_BARE}" if is_foreign(path) or ending(path) == "mp2" else _MARKED
    return "-protocol_whitelist", "file,pipe", "-format_whitelist", kinds


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
            self.media = _probe(self.local, path)
            self.safely = _safely(path)
            self.info = self.media.info
            if self.media.n_tracks > 1:
                self.notes.append(f"the file has {self.media.n_tracks} sound tracks: the first was read")
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            command = [_programs(path)[0], "-v", "error", "-nostdin", *self.safely, "-i", f"file:{self.local}"]
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
        code = self._program.wait(_START_S)
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

    def __init__(self, path: Path, n_channels: int, sample_rate: int, source: FfmpegDecoder | None) -> None:
        """Starts the program, which writes under a temporary name.

        Raises:
            QuietmicError: ffmpeg is not installed.
        """
        self.path = path
        self.notes: list[str] = []
        if ending(path) in _NO_BEGINNING:
            self.notes.append(
                f"the sound begins some 20 ms late: .{ending(path)} cannot tell what its coding puts in front"
            )
        self._n_written, self._rate = 0, sample_rate
        self._part = PartFile(path)
        with ExitStack() as stack:
            stack.callback(self._part.discard)  # nothing is there any more once it has its final name
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            self._program = subprocess.Popen(
                self._command(n_channels, source), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )  # fmt: skip
            stack.callback(_end, self._program)
            self._stack = stack.pop_all()

    def _command(self, n_channels: int, source: FfmpegDecoder | None) -> list[str]:
        sound = ["-f", "f32le", "-ar", str(self._rate), "-ac", str(n_channels), "-i", "pipe:0"]
        command = [_programs(self.path)[0], "-v", "error", "-y"]
        if source is None:
            return [*command, *sound, f"file:{self._part.path}"]
        media = source.media
        command += ["-itsoffset", str(media.offset_s), *sound, *source.safely, "-i", f"file:{source.local}"]
        command += ["-map", "1:v?", "-map", "0:a", "-map", "1:a?", "-map", "-1:a:0", "-map", "1:s?"]
        command += ["-map_metadata", "1", "-map_metadata:s:a:0", "1:s:a:0", "-map_chapters", "1"]
        command += ["-c", "copy", "-c:a:0", self._encoder(media.codec, source.local)]
        if media.bit_rate:
            command += ["-b:a:0", str(media.bit_rate)]
        return [*command, f"file:{self._part.path}"]

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
        written = _probe(self._part.path, self.path)
        if written.duration_s and written.duration_s < self._n_written / self._rate - _SLACK_S:
            raise QuietmicError(
                f"{self.path}: only {written.duration_s:.1f} of {self._n_written / self._rate:.1f} s came onto the disk"
            )
        self._part.commit()

    def _failure(self) -> QuietmicError:
        self._program.wait(_START_S)
        said = _text_of(self._errors)
        reason = _NO_SPACE.lower() if _NO_SPACE in said else f"ffmpeg says: {said.splitlines()[-1] if said else ''}"
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


def _probe(local: Path, name: Location) -> _Media:
    command = [_programs(name)[1], "-v", "error", *_safely(name), "-of", "json", "-show_streams", "-show_format"]
    try:
        found = subprocess.run(
            [*command, f"file:{local}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_START_S, check=False
        )
        facts = json.loads(found.stdout or b"{}")
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise QuietmicError(f"{name}: ffmpeg cannot make anything of it") from error
    tracks = [stream for stream in facts.get("streams", []) if stream.get("codec_type") == "audio"]
    if not tracks or not int(tracks[0].get("sample_rate", 0)):
        said = found.stderr.decode(errors="replace").strip().splitlines()
        reason = f" ({said[-1].removeprefix(f'file:{local}: ')})" if said else ""
        raise QuietmicError(f"{name}: there is no sound in it that ffmpeg can read{reason}")
    return _describe(tracks[0], facts.get("format", {}), len(tracks), local)


def _describe(track: dict[str, Any], container: dict[str, Any], n_tracks: int, local: Path) -> _Media:
    rate, codec = int(track["sample_rate"]), track.get("codec_name", "")
    duration_s = float(track.get("duration") or container.get("duration") or 0)
    offset_s = max(0.0, float(track.get("start_time") or 0) - float(container.get("start_time") or 0))
    lossy = not codec.startswith(_LOSSLESS)
    bit_rate = int(track.get("bit_rate") or (container.get("bit_rate") or 0 if len(container) and n_tracks == 1 else 0))
    tags = {**container.get("tags", {}), **track.get("tags", {})}
    info = AudioInfo(
        int(track["channels"]), round(duration_s * rate), rate, local.suffix[1:].upper(), codec, is_counted=False,
        tags={key.lower(): str(value) for key, value in tags.items()},
    )  # fmt: skip
    return _Media(info, codec, bit_rate if lossy and bit_rate else None, offset_s, n_tracks, duration_s)


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
