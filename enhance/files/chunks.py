"""Files made of chunks: RIFF and RF64 (WAV), FORM (AIFF, SVX), CAF and W64."""

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

UNTOLD = 0xFFFFFFFF
"""A size of 32 bits that says nothing."""


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

    A chunk that holds the samples is the last one where its size leads to nothing that looks like a chunk. In RF64 that
    size lies in an earlier chunk, where 32 bits cannot count it.
    """
    stream.seek(start)
    kind = stream.read(4)
    order: Order = ORDERS[kind]
    n_size = 8 if kind == b"caff" else 4
    position = start + (8 if kind == b"caff" else 12)
    wide_size = 0
    while position + 4 + n_size <= end:
        stream.seek(position)
        head = stream.read(4 + n_size)
        name, size = head[:4], int.from_bytes(head[4:], order, signed=kind == b"caff")
        if not looks_like_name(name):
            return
        if kind == b"RF64" and name == b"ds64":
            wide_size = int.from_bytes(stream.read(16)[8:], order)
        if name == b"data" and size == UNTOLD and wide_size:
            size = wide_size
        chunk = Chunk(name, position, position + 4 + n_size, size)
        yield chunk
        if size < 0:
            return
        position = chunk.end + (size & 1 if kind != b"caff" else 0)


WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
"""First sixteen bytes of a file of Sony's Wave64, whose chunks are named by as many."""

_WAVE64_HEAD = 24  # bytes of a name and a size, which counts them


def walk_wave64(stream: IO[bytes], start: int, end: int) -> Iterator[Chunk]:
    """The chunks between the beginning of a recording and a position, named by four bytes, as far as their sizes fit.

    What holds the samples is given whatever its size is.
    """
    position = start + 40  # behind "riff", its size and "wave"
    while position + _WAVE64_HEAD <= end:
        stream.seek(position)
        head = stream.read(_WAVE64_HEAD)
        chunk = Chunk(head[:4], position, position + _WAVE64_HEAD, int.from_bytes(head[16:], "little") - _WAVE64_HEAD)
        fits = chunk.size >= 0 and chunk.end <= end
        if fits or chunk.name in SOUND:
            yield chunk
        if not fits:
            return
        position = -(-chunk.end // 8) * 8
