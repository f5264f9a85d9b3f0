"""Takes in an upload: to disk as it comes, never more than was said."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from quietmic.enhance.errors import QuietmicError

_ROOM = 4  # times its size: itself, the enhanced one, and the sound of both


def check_room(folder: Path, n_bytes: int) -> None:
    """Looks whether the disk has room for a file and what is made of it.

    Raises:
        QuietmicError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if _ROOM * n_bytes > free:
        raise QuietmicError(f"the disk has {free / 1e9:.1f} GB left, too little for a file of {n_bytes / 1e9:.1f} GB")


async def receive(pieces: AsyncIterator[bytes], n_bytes: int, path: Path) -> None:
    """Writes what comes to a file.

    Args:
        pieces: of the body.
        n_bytes: that were announced.
        path: of the file.

    Raises:
        QuietmicError: more or less came than was announced.
    """
    n_written = 0
    with path.open("wb") as file:
        async for piece in pieces:
            n_written += len(piece)
            if n_written > n_bytes:
                break
            await asyncio.to_thread(file.write, piece)
    if n_written != n_bytes:
        raise QuietmicError("the upload broke off: send the file again")
