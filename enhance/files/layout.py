"""What is known of a file before it is decoded, and its bytes as the library shall see them."""

import io
from dataclasses import dataclass
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Part:
    """One recording of a file, as the library shall see it.

    Attributes:
        start: position of its first byte.
        end: position behind its last byte.
        head: bytes to put in front.
        patches: position in the file and the bytes that stand there instead.
        n_samples: of each channel, where it is known better than by the library; None where not.
        ends_there: what the decoder gives beyond `n_samples` only fills up its last block.
    """

    start: int
    end: int
    head: bytes = b""
    patches: tuple[tuple[int, bytes], ...] = ()
    n_samples: int | None = None
    ends_there: bool = False


@dataclass(frozen=True)
class Layout:
    """What is known of a file before it is decoded.

    Attributes:
        parts: recordings, one after the other.
        notes: what a listener should know, though all of the sound is read.
        damage: how the file is cut off, None where that does not show.
        is_counted: the header counts the samples, so that fewer are damage; else their number is a guess.
    """

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    damage: str | None = None
    is_counted: bool = True

    def followed_by(self, other: "Layout") -> "Layout":
        """Both, one behind the other in one file."""
        notes = tuple(dict.fromkeys((*self.notes, *other.notes)))
        damage = self.damage or other.damage
        return Layout((*self.parts, *other.parts), notes, damage, self.is_counted and other.is_counted)

    def is_plain(self, n_bytes: int) -> bool:
        """Whether the library may read the file as it is."""
        return self.parts == (Part(0, n_bytes),)


class Window(io.RawIOBase):
    """The bytes of a part as a file; keeps the error that the library would take for the end.

    Attributes:
        error: what went wrong while reading.
    """

    def __init__(self, stream: BinaryIO, part: Part) -> None:
        self._stream, self._part = stream, part
        self._position = 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As a file of its own would do it."""
        part = self._part
        base = (0, self._position, len(part.head) + part.end - part.start)[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """As a file of its own would do it."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """As a file of its own would do it."""
        view = memoryview(buffer).cast("B")
        part, position = self._part, self._position
        if position < len(part.head):
            data = part.head[position : position + len(view)]
        else:
            begin = part.start + position - len(part.head)
            data = self._patched(begin, self._read(begin, min(len(view), part.end - begin)))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, begin: int, n_bytes: int) -> bytes:
        if n_bytes <= 0:
            return b""
        try:
            self._stream.seek(begin)
            return self._stream.read(n_bytes)
        except Exception as error:  # storage has errors of many kinds, and a callback of the library must not raise
            self.error = self.error or OSError(str(error))
            return b""

    def _patched(self, begin: int, data: bytes) -> bytes:
        for at, replacement in self._part.patches:
            if at < begin + len(data) and begin < at + len(replacement):
                changed = bytearray(data)
                low, high = max(at, begin), min(at + len(replacement), begin + len(data))
                changed[low - begin : high - begin] = replacement[low - at : high - at]
                data = bytes(changed)
        return data
