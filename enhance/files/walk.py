"""What lies below a folder of this machine."""

import os
from collections.abc import Callable
from pathlib import Path


def files_below(folder: Path, on_unread: Callable[[OSError], None]) -> list[Path]:
    """Files to any depth, sorted; no hidden ones, as the "._a.wav" that macOS leaves beside "a.wav" is no sound.

    Args:
        folder: where to look; links to folders are not followed. One that is not there holds nothing.
        on_unread: hears of each folder that cannot be read, by an error that names it.
    """

    def tell(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            on_unread(error)

    found = []
    for place, folders, names in os.walk(folder, onerror=tell):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if _may_be_file(path))


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder whose names can be read, and nothing else: who opens the file hears why
        return True
