"""Files made of chunks: RIFF and RF64 (WAV), FORM (AIFF, SVX) and CAF."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Literal

Order = Literal["little", "big"]

ORDERS: dict[bytes, Order] = {
    b"RIFF": "little", b"RF64": "little", b"RIFX": "big", b"FORM": "big", b"caff": "big",
}  # fmt: skip
"""First four bytes of a file of chunks: byte order of its sizes."""

SOUND = (b"data", b"SSND", b"BODY")
"""Chunks that hold the samples."""


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies.

    Attributes:
        name: four characters.
        header: position of its name.
        start: position of its contents.
        size: bytes of its contents, as its header says.
    """

    name: bytes
    header: int
    start: int
    size: int

    @property
    def end(self) -> int:
        """Position behind the contents, without the byte that fills up an odd number."""
        return self.start + self.size


def looks_like_name(text: bytes) -> bool:
    """Whether four bytes can be the name of a chunk."""
    return len(text) == 4 and all(32 <= byte < 127 for byte in text)


def walk(stream: IO[bytes], start: int, end: int) -> Iterator[Chunk]:
    """The chunks between the beginning of a recording and a position, as far as they look like chunks.

    A chunk that holds the samples is the last one where its size leads to nothing that looks like a chunk.
    """
    stream.seek(start)
    kind = stream.read(4)
    order: Order = ORDERS[kind]
    n_size = 8 if kind == b"caff" else 4
    position = start + (8 if kind == b"caff" else 12)
    while position + 4 + n_size <= end:
        stream.seek(position)
        head = stream.read(4 + n_size)
        name, size = head[:4], int.from_bytes(head[4:], order, signed=kind == b"caff")
        if not looks_like_name(name):
            return
        chunk = Chunk(name, position, position + 4 + n_size, size)
        yield chunk
        if size < 0:
            return
        position = chunk.end + (size & 1 if kind != b"caff" else 0)
