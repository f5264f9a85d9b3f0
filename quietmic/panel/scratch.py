"""The folder in which the panel works: gone when it ends, and if it was killed, when it is started the next time."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None

_PREFIX = "quietmic-panel-"
_DISK = Path("/var/tmp")  # a long recording does not belong into memory, which /tmp is on many systems


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that only this user can read, on disk, until the context ends; TMPDIR says where."""
    wanted = os.environ.get("TMPDIR")
    on_disk = _DISK if _DISK.is_dir() and os.access(_DISK, os.W_OK) else Path(tempfile.gettempdir())
    base = Path(wanted) if wanted else on_disk
    remove_abandoned(base)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    with (folder / "lock").open("wb") as lock:
        if fcntl:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # Windows removes the lock only now


def remove_abandoned(base: Path) -> None:
    """Removes folders of panels that were killed; the lock of one that runs is held by it."""
    if fcntl is None:
        return
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
