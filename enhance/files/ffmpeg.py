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
from quietmic.enhance.files.media import START_S, find_programs, probe, safe_options
from quietmic.enhance.files.storage import Location, Url


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
            command += ["-map", "0:a:0", "-ar", str(self.info.sample_rate)]  # "-ac" would mix what has other places
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

    def finish(self, n_read: int) -> None:
        """Hears what the program has to say at its end."""
        code = self._program.wait(START_S)
        said = text_of(self._errors).rpartition("\n")[2]
        if said or code:
            self.damage = f"damaged: ffmpeg says: {said or f'code {code}'}"

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


def text_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()
