"""The folder of a run, in which one process works at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from quietmic.enhance.errors import QuietmicError, reason_of


@contextmanager
def one_run(folder: Path) -> Iterator[None]:
    """Makes a folder and keeps other runs out of it; what a killed one left half-written is removed.

    Raises:
        QuietmicError: another run is there, or the folder cannot be written.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        message = f"another run is working in {folder}: wait for it, or choose another folder"
        raise QuietmicError(message, exit_code=2) from error
    except OSError as error:
        raise QuietmicError(f"{folder} cannot be written: {reason_of(error)}", exit_code=2) from error
    try:
        for part in folder.glob("*.pt.*.part"):
            part.unlink()
        yield
    finally:
        lock.release()
