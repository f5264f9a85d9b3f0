"""Pages of Ogg (RFC 3533): where the recordings that follow each other in one file begin and end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MARK = b"OggS"
_SEARCH = 1 << 16  # bytes that are looked through at a time where a page is damaged
_FIRST, _LAST = 2, 4  # flags of a page


@dataclass(frozen=True)
class Page:
    """Where a page lies and what its flags say.

    Attributes:
        start: position.
        end: position behind it, as its header says.
        is_first: it begins a stream.
        is_last: it ends one.
    """

    start: int
    end: int
    is_first: bool
    is_last: bool


@dataclass(frozen=True)
class Link:
    """One recording of those that follow each other.

    Attributes:
        start: position.
        end: position behind it.
        is_whole: its last page is there to the end, and says that it is the last one.
    """

    start: int
    end: int
    is_whole: bool


def find_links(stream: BinaryIO, end: int) -> list[Link]:
    """The recordings of a file; streams that begin together, as those of a film, are one."""
    links: list[Link] = []
    before: Page | None = None
    start = 0
    for page in _pages(stream, end):
        if page.is_first and before and not before.is_first:
            links.append(Link(start, page.start, before.is_last))
            start = page.start
        before = page
    if before:
        links.append(Link(start, end, before.is_last and before.end <= end))
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
    return Page(position, position + n_bytes, bool(head[5] & _FIRST), bool(head[5] & _LAST))


def _find_mark(stream: BinaryIO, position: int, end: int) -> int:
    while position < end:
        stream.seek(position)
        found = stream.read(_SEARCH).find(MARK)
        if found >= 0:
            return position + found
        position += _SEARCH - len(MARK) + 1
    return end
