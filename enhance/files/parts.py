"""A file under a hidden name until it is whole.

The one who writes holds a lock on it that the system gives up when its process ends, however it ends: so whoever finds
such a file can tell whether somebody still writes it.
"""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import IO

from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files.pipes import Pipe
from quietmic.enhance.files.storage import Location
from quietmic.enhance.processes import BEFORE_END

_OPEN: set[Path] = set()  # of this process
_N_BEGINNING = 18  # characters by which a part tells its target

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None


class PartFile:
    """A file to fill in place of `target`.

    Attributes:
        path: where it lies now; its ending is that of the target.
        file: open for writing and reading.
    """

    def __init__(self, target: Path) -> None:
        """Makes the file beside the place of the final one; folders are made.

        Raises:
            QuietmicError: the folder cannot be written.
        """
        self._target = target
        # Short whatever the name is: systems allow 255 bytes.
        self.path = target.parent / f"{_beginning(target)}{os.urandom(4).hex()}.part{target.suffix[:16]}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.file: IO[bytes] = self.path.open("w+b", buffering=0)
        except OSError as error:
            raise QuietmicError(f"{target}: cannot be written: {reason_of(error)}") from error
        _OPEN.add(self.path)
        if fcntl:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def commit(self) -> None:
        """Gives the whole file its final name.

        Raises:
            QuietmicError: it cannot have it, as where a folder has or another program holds it; it has another then.
        """
        self.file.close()
        try:
            self.path.replace(self._target)
        except OSError as error:
            kept = self.path.with_name(self.path.name[1:])  # which the next run does not take for left behind
            self.path.replace(kept)
            reason = f"cannot be written: {reason_of(error)}; all of it is in {kept}"
            raise QuietmicError(f"{self._target}: {reason}") from error
        finally:
            _OPEN.discard(self.path)

    def discard(self) -> None:
        """Removes the file, as after an error."""
        with suppress(OSError):  # a full disk shows here again
            self.file.close()
        self.path.unlink(missing_ok=True)
        _OPEN.discard(self.path)


def _discard_all() -> None:
    """When a worker is ended in the middle of a file."""
    for path in list(_OPEN):
        with suppress(OSError):
            path.unlink(missing_ok=True)


BEFORE_END.append(_discard_all)


def remove_parts(*targets: Location | Pipe) -> None:
    """Removes what was left of files when the process that wrote them was killed; what is being written stays.

    Each folder is listed once, however many targets lie in it.
    """
    beginnings: dict[Path, set[str]] = {}
    for target in targets:
        if isinstance(target, Path):  # what did not come up whole into storage has no name there
            beginnings.setdefault(target.parent, set()).add(_beginning(target))
    for folder, ours in beginnings.items():
        with suppress(OSError):  # not made yet
            for name in os.listdir(folder):
                if name[:_N_BEGINNING] in ours:
                    _remove_left_behind(folder / name)


def _remove_left_behind(path: Path) -> None:
    with suppress(OSError):  # gone already, or open on Windows
        if _is_left_behind(path):
            path.unlink()


def _beginning(target: Path) -> str:
    return f".{sha256(os.fsencode(target.name)).hexdigest()}"[: _N_BEGINNING - 1] + "."


def _is_left_behind(path: Path) -> bool:
    if fcntl is None:
        return True
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
