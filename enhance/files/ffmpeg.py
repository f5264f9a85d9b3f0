"""Films, and the sound of phones, through the program ffmpeg where it is installed.

The program and not its libraries: their Python package takes a hundred megabytes to save a few milliseconds for each
file, and people who have films have the program. It reads files only, of kinds that are named here: a playlist in
disguise could make it fetch addresses or other files.
"""

import shutil
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.files.gaps import find_gaps
from quietmic.enhance.files.media import START_S, find_programs, last_words, probe, safe_options
from quietmic.enhance.files.storage import Location, Url

_TIMED = frozenset({"mov", "matroska", "asf", "flv", "mpegts", "mpeg"})
"""Containers that tell when each packet is to be heard."""
_SLACK_S = 0.05  # by which a header may count more than can be decoded, and samples that codings put at both ends
_SLACK = 4096


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
            command += ["-map", "0:a:0", *self._fill_gaps(path)]
            command += ["-ar", str(self.info.sample_rate)]  # "-ac" would mix what has other places
            self._program = subprocess.Popen(
                [*command, "-f", "f32le", "pipe:1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=self._errors,
            )  # fmt: skip
            stack.callback(end_program, self._program)
            self._stack = stack.pop_all()

    def read(self, n_samples: int) -> Array:
        """The next samples, [n, n_channels]; none at the end or where the file is damaged."""
        assert self._program.stdout
        n_channels = self.info.n_channels
        data = self._program.stdout.read(4 * n_channels * n_samples)
        return np.frombuffer(data[: len(data) // (4 * n_channels) * 4 * n_channels], "<f4").reshape(-1, n_channels)

    def _fill_gaps(self, path: Location) -> list[str]:
        """Options that put silence where timestamps leave a gap; none, and the sound as it is, where none do."""
        media = self.media
        if not _TIMED & set(media.container.split(",")):
            return []
        command = [find_programs(path)[1], "-v", "error", *self.safely]
        is_stream = media.container in ("mpegts", "mpeg")
        gaps = find_gaps(command, self.local, media.codec, media.ends_s, is_stream)
        if not gaps.is_safe:
            self.notes.append("its timestamps jump: sound may be out of step with the picture behind that")
        if not gaps.n or not gaps.is_safe:
            return []
        what = "a gap in its sound was" if gaps.n == 1 else f"{gaps.n} gaps in its sound were"
        self.notes.append(f"{what} filled with silence ({gaps.missing_s:.1f} s), so that it stays with the picture")
        return ["-af", "aresample=async=1"]

    def finish(self, n_read: int) -> None:
        """Hears what the program has to say at its end, and compares the length with what the header promised."""
        code = self._program.wait(START_S)
        said = last_words(text_of(self._errors))
        if said or code:
            self.damage = f"damaged: ffmpeg says: {said or how_it_ended(code)}"
        there_s, promised_s = n_read / self.info.sample_rate, self.media.promised_s
        if there_s < promised_s - _SLACK_S - _SLACK / self.info.sample_rate:
            short = f"{there_s:.1f} of {promised_s:.1f} s of sound are there"
            self.damage = f"{self.damage}; {short}" if self.damage else f"cut off or damaged: {short}"

    def close(self) -> None:
        """Ends the program, whatever it still has to give."""
        self._stack.close()


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


def end_program(program: subprocess.Popen[bytes]) -> None:
    """Ends a program whatever it does."""
    for pipe in (program.stdin, program.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()
    if program.poll() is None:
        program.kill()
    program.wait()


def how_it_ended(code: int) -> str:
    """What a program's exit code tells where the program itself said nothing."""
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"


def text_of(errors: IO[bytes]) -> str:
    """All that a program complained of, line by line."""
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()
