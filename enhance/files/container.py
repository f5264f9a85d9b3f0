"""Where the sound of a file lies, whatever the lengths in its header say.

A recorder that lost its power leaves a length of 0, a pipe one that nobody knew, a file beyond 4 GB one that wrapped
around; radio captures are several recordings in a row. The library that decodes believes the header and stops there.
Here such a header is found, and the library is shown the same bytes with a length that reaches to the end.
"""

import re
from typing import BinaryIO

from quietmic.enhance.files import mp3, ogg
from quietmic.enhance.files.chunks import (
    ORDERS,
    SOUND,
    UNTOLD,
    WAVE64,
    Chunk,
    Order,
    looks_like_name,
    walk,
    walk_wave64,
)
from quietmic.enhance.files.layout import Layout, Part

_UNKNOWN = (0x7FFFF000 - 0x1000, 0x80000000, 0xFFFF0000)  # from .. to, and from: what pipes write for a length
_TO_THE_END = 0xFFFFFFFF  # in AU, also for what is longer than it can count
_FLAC_UNBOUNDED = (1 << 36) - 1  # samples; the largest that the header holds
_FLAC_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # mark, and the block that comes first, of 34 bytes
_SEARCH = 1 << 20  # bytes that are looked through at a time
_PADDING = 1 << 16  # zeros up to here behind the samples fill up a block of the disk
_TAIL_TAGS = (b"TAG", b"ID3")  # what taggers hang behind any file


def find_layout(stream: BinaryIO, n_bytes: int) -> Layout:
    """Looks at the headers of a file.

    Args:
        stream: of the whole file.
        n_bytes: its length.
    """
    stream.seek(0)
    magic = stream.read(4)
    if magic in ORDERS:
        return _chunked(stream, n_bytes)
    if magic == WAVE64[:4]:
        return _wave64(stream, 0, n_bytes)
    if magic in (b".snd", b"dns."):
        return _sun(stream, 0, n_bytes, magic)
    if magic == ogg.MARK:
        return _chained(stream, n_bytes)
    start = mp3.end_of_id3(stream)
    stream.seek(start)
    if stream.read(4) == b"fLaC":
        return _flac(stream, n_bytes, start)
    return _mpeg(stream, n_bytes) or Layout((Part(0, n_bytes),))


def _is_unknown(size: int) -> bool:
    return _UNKNOWN[0] <= size < _UNKNOWN[1] or size >= _UNKNOWN[2] or size < 0


def _unfinished(n_declared: int, n_found: int) -> str:
    if n_declared == 0:
        return "its header was never finished (length 0): all of the sound that is there was read"
    return f"its header counts {n_declared} bytes of sound, but {n_found} are there: all were read"


def _chunked(stream: BinaryIO, n_bytes: int) -> Layout:
    """Recordings of chunks, one behind the other as `cat` puts them."""
    parts: list[Part] = []
    notes: list[str] = []
    damage = None
    start = 0
    while start < n_bytes:
        stream.seek(start)
        if stream.read(4) not in ORDERS:
            break
        layout, end = _chunked_part(stream, start, n_bytes)
        parts += layout.parts
        notes += layout.notes
        damage = damage or layout.damage
        start = end
    return Layout(tuple(parts), tuple(dict.fromkeys(notes)), damage)


def _chunked_part(stream: BinaryIO, start: int, n_bytes: int) -> tuple[Layout, int]:
    """One recording, and where the next one begins."""
    sound: Chunk | None = None
    more: list[Chunk] = []
    others: dict[bytes, Chunk] = {}
    end = n_bytes
    for chunk in walk(stream, start, n_bytes):
        if sound and chunk.name in ORDERS:
            end = chunk.header
            break
        if chunk.name in SOUND:
            more += [chunk] if sound and chunk.size else []
            sound = sound or chunk
        others.setdefault(chunk.name, chunk)
    if sound is None:
        return Layout((Part(start, n_bytes),)), n_bytes
    stream.seek(start)
    magic = stream.read(4)
    patches, note, damage = _mend_size(stream, magic, sound, others.get(b"ds64"), end)
    fmt = others.get(b"fmt ")
    n_samples = None if patches or damage else _count_of_fact(stream, fmt, others.get(b"fact"), sound)
    ends_there = n_samples is not None
    if note and magic == b"RIFF" and fmt and end - sound.start >= 1 << 32:
        head = _wide_head(stream, fmt, end - sound.start)
        return Layout((Part(sound.start, end, head=head),), (note,)), end
    if more and magic == b"RIFF" and fmt:
        heads = [_short_head(stream, fmt, chunk.size) for chunk in more]
        parts = [Part(one.start, min(one.end, end), head=head) for one, head in zip(more, heads, strict=True)]
        note = f"its sound lies in {1 + len(more)} chunks, of which players take one: all were read"
        return Layout((Part(start, sound.end, patches=patches), *parts), (note,), damage), end
    part = Part(start, end, patches=patches, n_samples=n_samples, ends_there=ends_there)
    return Layout((part,), (note,) if note else (), damage), end


def _mend_size(
    stream: BinaryIO, magic: bytes, sound: Chunk, wide: Chunk | None, end: int
) -> tuple[tuple[tuple[int, bytes], ...], str, str | None]:
    """(Patches of the size of the samples, note, damage)."""
    order, is_caf = ORDERS[magic], magic == b"caff"
    at, n_size, size = sound.header + 4, 8 if is_caf else 4, sound.size
    if wide and magic == b"RF64":
        at, n_size = wide.start + 8, 8
        stream.seek(at)
        size = int.from_bytes(stream.read(8), order)
        stream.seek(sound.header + 4)
        if int.from_bytes(stream.read(4), order) not in (0, UNTOLD):  # a size that fits counts more than the wide one
            at, n_size, size = sound.header + 4, 4, sound.size
    n_there = end - sound.start
    if size > n_there and not _is_unknown(size) and size < 1 << 63:
        patches = ((at, n_there.to_bytes(n_size, order)),) if n_size == 8 else ()
        return patches, "", f"cut off: {n_there} of {size} bytes of sound are there"
    if _is_unknown(size) or size >= 1 << 63:
        # A legal way to say "to the end" in CAF and what pipes leave elsewhere; the library knows the short ones.
        return (((at, n_there.to_bytes(n_size, order)),) if n_size == 8 else ()), "", None
    n_more = _sound_behind(stream, sound.start + size, end)
    if not n_more:
        return (), "", None
    written = min(n_there, (1 << 8 * n_size) - 1).to_bytes(n_size, order)
    return ((at, written),), _unfinished(size, n_there), None


def _sound_behind(stream: BinaryIO, end_of_sound: int, end: int) -> int:
    """Bytes behind the samples that are neither chunks nor tags nor padding: more samples."""
    for at in (end_of_sound + (end_of_sound & 1), end_of_sound):
        stream.seek(at)
        behind = stream.read(_PADDING)
        if looks_like_name(behind[:4]) or behind.startswith(_TAIL_TAGS):
            return 0
    n_more = end - end_of_sound
    is_padding = n_more < 8 or (n_more <= _PADDING and not any(behind))
    return 0 if is_padding else n_more


def _count_of_fact(stream: BinaryIO, fmt: Chunk | None, fact: Chunk | None, sound: Chunk) -> int | None:
    """Samples that a coding in blocks has, where the last block is not full; None where every sample is a frame."""
    if not fmt or not fact or fmt.size < 20 or fact.size < 4:
        return None
    stream.seek(fmt.start)
    head = stream.read(20)
    block_bytes, block_samples = int.from_bytes(head[12:14], "little"), int.from_bytes(head[18:20], "little")
    if head[:2] not in (b"\x02\x00", b"\x11\x00") or not block_bytes:  # ADPCM of Microsoft and of IMA
        return None
    stream.seek(fact.start)
    n_samples = int.from_bytes(stream.read(4), "little")
    n_blocks = -(-sound.size // block_bytes)
    return n_samples if (n_blocks - 1) * block_samples < n_samples <= n_blocks * block_samples else None


def _short_head(stream: BinaryIO, fmt: Chunk, n_bytes: int) -> bytes:
    """The header of a WAV whose samples follow."""
    stream.seek(fmt.header)
    form = stream.read(8 + fmt.size + (fmt.size & 1))
    sizes = [number.to_bytes(4, "little") for number in (4 + len(form) + 8 + n_bytes, n_bytes)]
    return b"RIFF" + sizes[0] + b"WAVE" + form + b"data" + sizes[1]


def _wide_head(stream: BinaryIO, fmt: Chunk, n_bytes: int) -> bytes:
    """The header of RF64 in place of one of WAV, which cannot count so many bytes."""
    stream.seek(fmt.header)
    form = stream.read(8 + fmt.size + (fmt.size & 1))
    n_behind = 4 + 36 + len(form) + 8 + n_bytes
    sizes = b"".join(number.to_bytes(8, "little") for number in (n_behind, n_bytes, 0))
    wide = b"ds64" + (28).to_bytes(4, "little") + sizes + bytes(4)
    return b"RF64" + b"\xff" * 4 + b"WAVE" + wide + form + b"data" + b"\xff" * 4


def _wave64(stream: BinaryIO, start: int, n_bytes: int) -> Layout:
    """W64: the library would read on through what lies behind the samples."""
    chunks = walk_wave64(stream, start, n_bytes)
    sound = next((chunk for chunk in chunks if chunk.name in SOUND), None)
    if sound is None:
        return Layout((Part(start, n_bytes),))
    behind = list(chunks)
    for chunk in behind:
        if chunk.name == WAVE64[:4]:
            return Layout((Part(start, sound.end),)).followed_by(_wave64(stream, chunk.header, n_bytes))
    n_there = n_bytes - sound.start
    size = (n_bytes - sound.header).to_bytes(8, "little")
    whole = Part(start, n_bytes, patches=((sound.header + 16, size),))
    if sound.size >= 1 << 62:
        return Layout((whole,))
    if sound.size > n_there:
        return Layout((whole,), (), f"cut off: {n_there} of {sound.size} bytes of sound are there")
    if n_there - sound.size < 8:
        return Layout((Part(start, n_bytes),))
    if behind or (sound.size > 0 and not _sound_behind(stream, sound.end, n_bytes)):
        return Layout((Part(start, sound.end),))
    return Layout((whole,), (_unfinished(max(0, sound.size), n_there),))


def _sun(stream: BinaryIO, begin: int, n_bytes: int, magic: bytes) -> Layout:
    """AU: the position of the samples and their size; all ones for "to the end"."""
    order: Order = "big" if magic == b".snd" else "little"
    stream.seek(begin + 4)
    head = stream.read(8)
    start, size = begin + int.from_bytes(head[:4], order), int.from_bytes(head[4:], order)
    n_there = n_bytes - start
    if size >= min(n_there, _TO_THE_END) or n_there - size < 8:
        damage = f"cut off: {n_there} of {size} bytes of sound are there" if n_there < size < 0xFFFF0000 else None
        return Layout((Part(begin, n_bytes),), (), damage)
    stream.seek(start + size)
    if size and stream.read(4) == magic:
        return Layout((Part(begin, start + size),)).followed_by(_sun(stream, start + size, n_bytes, magic))
    patch = (begin + 8, min(n_there, _TO_THE_END).to_bytes(4, order))
    return Layout((Part(begin, n_bytes, patches=(patch,)),), (_unfinished(size, n_there),))


def _chained(stream: BinaryIO, n_bytes: int) -> Layout:
    links = ogg.find_links(stream, n_bytes)
    n_bad, n_lost = sum(len(link.patches) for link in links), sum(link.n_lost for link in links)
    damage = None if all(link.is_whole for link in links) else "cut off: the stream has no end"
    if n_bad or n_lost:
        n_pages = sum(link.n_pages for link in links)
        what = [f"{n} {how}" for n, how in ((n_bad, "damaged"), (n_lost, "missing")) if n]
        damage = f"damaged: of {n_pages + n_lost} pages {' and '.join(what)}"
    if len(links) < 2:
        return Layout((Part(0, n_bytes, patches=links[0].patches if links else ()),), (), damage)
    return Layout(tuple(Part(link.start, link.end, patches=link.patches) for link in links), (), damage)


def _flac(stream: BinaryIO, n_bytes: int, start: int) -> Layout:
    """FLAC: the number of samples, which may be unknown or wrong, is replaced by one that nothing reaches."""
    at = start + 4 + 4 + 13  # mark, header of the block, 13 bytes and a half of other facts
    stream.seek(at)
    field = stream.read(5)
    if len(field) < 5:
        return Layout((Part(start, n_bytes),))
    value = int.from_bytes(field, "big")
    n_samples = value & _FLAC_UNBOUNDED
    patch = (at, (value | _FLAC_UNBOUNDED).to_bytes(5, "big"))
    guess = n_bytes // 2  # two bytes for a sample of all channels: rather too many
    return Layout((Part(start, n_bytes, patches=(patch,), n_samples=n_samples or guess),), is_counted=n_samples > 0)


def _mpeg(stream: BinaryIO, n_bytes: int) -> Layout | None:
    """MPEG: a length is only known where the first frame says it, and only believed where it fits the file."""
    end = mp3.end_of_frames(stream, n_bytes)
    found = mp3.first_frame(stream, end)
    if found is None:
        return None
    at, header = found
    if header.layer != 3:
        return Layout((Part(0, n_bytes),), is_counted=False)
    length = mp3.length_header(stream, at, header)
    if length is None or not length.n_frames:
        head = mp3.unbounded_frame(stream, at)
        start = at if length is None else at + header.n_bytes
        guess = (end - at) * 8 * header.sample_rate // max(1, mp3.scan_bit_rates(stream, at, end)[0])
        return Layout((Part(start, n_bytes, head=head, n_samples=guess),), is_counted=False)
    n_found = mp3.count_frames(stream, at + header.n_bytes, end, header)
    if abs(n_found - length.n_frames) <= 1:
        return Layout((Part(0, n_bytes),))
    patch = (length.position + 8, mp3.unbounded_count())
    part = Part(0, n_bytes, patches=(patch,), n_samples=n_found * header.n_samples)
    if n_found < length.n_frames:
        return Layout((part,), (), f"cut off: {n_found} of {length.n_frames} frames are there", is_counted=False)
    note = f"its header counts {length.n_frames} frames, but {n_found} are there: all were read"
    return Layout((part,), (note,), is_counted=False)


def find_flac(stream: BinaryIO, begin: int, n_bytes: int) -> Part | None:
    """The next recording of FLAC behind a position, as `cat` puts one behind the other; None where there is none."""
    while begin < n_bytes:
        stream.seek(begin)
        found = _FLAC_BEGINNING.search(stream.read(_SEARCH))
        if found:
            return _flac(stream, n_bytes, begin + found.start()).parts[0]
        begin += _SEARCH - 8
    return None
