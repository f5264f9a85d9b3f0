"""Pages of Ogg (RFC 3533): where the recordings that follow each other in one file begin and end."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MARK = b"OggS"
_SEARCH = 1 << 16  # bytes that are looked through at a time where a page is damaged
_FIRST, _LAST = 2, 4  # flags of a page
_CHECK = slice(22, 26)  # where a page keeps its check sum, counted with zeros in that place
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the bits of each byte from behind


@dataclass(frozen=True)
class Page:
    """Where a page lies and what its flags say.

    Attributes:
        start: position.
        end: position behind it, as its header says.
        is_first: it begins a stream.
        is_last: it ends one.
        stream: number of the stream that it belongs to.
        number: of the page within its stream.
        mended: the check sum that fits what is there, where another one is written; None where it fits.
    """

    start: int
    end: int
    is_first: bool
    is_last: bool
    stream: bytes = b""
    number: int = 0
    mended: bytes | None = None


@dataclass(frozen=True)
class Link:
    """One recording of those that follow each other.

    Attributes:
        start: position.
        end: position behind it.
        is_whole: its last page is there to the end, and says that it is the last one.
        patches: check sums by which decoders take damaged pages, whose larger part is mostly good.
        n_pages: pages that are there.
        n_lost: pages that are missing between them.
    """

    start: int
    end: int
    is_whole: bool
    patches: tuple[tuple[int, bytes], ...] = ()
    n_pages: int = 0
    n_lost: int = 0


def find_links(stream: BinaryIO, end: int) -> list[Link]:
    """The recordings of a file; streams that begin together, as those of a film, are one."""
    links: list[Link] = []
    before: Page | None = None
    start, n_pages, n_lost = 0, 0, 0
    patches: list[tuple[int, bytes]] = []
    numbers: dict[bytes, int] = {}
    for page in _pages(stream, end):
        if page.is_first and before and not before.is_first:
            links.append(Link(start, page.start, before.is_last, tuple(patches), n_pages, n_lost))
            start, patches, n_pages, n_lost, numbers = page.start, [], 0, 0, {}
        n_pages += 1
        if page.mended:
            patches.append((page.start + _CHECK.start, page.mended))
        n_lost += max(0, page.number - numbers.get(page.stream, page.number - 1) - 1)
        numbers[page.stream] = page.number
        before = page
    if before:
        links.append(Link(start, end, before.is_last and before.end <= end, tuple(patches), n_pages, n_lost))
    return links


def _pages(stream: BinaryIO, end: int) -> Iterator[Page]:
    position = 0
    while position < end:
        page = _page_at(stream, position, end)
        if page:
            yield page
        position = page.end if page else _find_mark(stream, position + 1, end)


def _page_at(stream: BinaryIO, position: int, end: int) -> Page | None:
    """The page at a position; one whose header is cut off ends with the file and is no last one."""
    stream.seek(position)
    head = stream.read(27 + 255)
    if head[:4] != MARK:
        return None
    if len(head) < 27 or len(head) < 27 + head[26]:
        return Page(position, end + 1, False, False)
    n_bytes = 27 + head[26] + sum(head[27 : 27 + head[26]])
    is_first, is_last = bool(head[5] & _FIRST), bool(head[5] & _LAST)
    stream.seek(position)
    page = bytearray(stream.read(n_bytes))
    written, page[_CHECK] = bytes(page[_CHECK]), bytes(4)
    found = _check_sum(bytes(page))
    mended = found if found != written and len(page) == n_bytes else None
    number = int.from_bytes(head[18:22], "little")
    return Page(position, position + n_bytes, is_first, is_last, bytes(head[14:18]), number, mended)


def _check_sum(page: bytes) -> bytes:
    """That of Ogg, which is the one of zlib with all bits from behind, nothing in front and nothing turned."""
    number = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return number.to_bytes(4, "big").translate(_REVERSED)


def _find_mark(stream: BinaryIO, position: int, end: int) -> int:
    while position < end:
        stream.seek(position)
        found = stream.read(_SEARCH).find(MARK)
        if found >= 0:
            return position + found
        position += _SEARCH - len(MARK) + 1
    return end
