"""All files in one ZIP, made while it is sent: neither memory nor disk holds it."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

_PIECE = 1 << 18


class _Pipe:
    """A file that cannot go back; what was written is taken out piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keeps what was written, until it is taken."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Has nothing of its own to send on."""

    def close(self) -> None:
        """Has nothing to give back."""

    def take(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def zip_pieces(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    """The bytes of a ZIP of (name, file); sound does not get smaller, so it is stored as it is."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            with path.open("rb") as source, archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                while data := source.read(_PIECE):
                    entry.write(data)
                    yield pipe.take()
    yield pipe.take()
