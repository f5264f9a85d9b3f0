"""What a file says beside its sound: tags, broadcast metadata, cue points, the places of its channels.

Files of chunks give their chunks as they are. Of the others, the library passes on ten common tags; all of them, and
pictures, go over between files of one kind where mutagen is installed (the extra "tags").
"""

from contextlib import suppress
from typing import IO, Any

from quietmic.enhance.errors import QuietmicError, reason_of, told
from quietmic.enhance.files.chunks import ORDERS, SOUND, Chunk, walk
from quietmic.enhance.files.pictures import carry_pictures, written_whole
from quietmic.enhance.files.storage import Location, Url, stamp

_STRUCTURE = {  # chunks that belong to the samples; the writer has made its own
    b"fmt ", b"fact", b"PEAK", b"ds64", b"JUNK", b"junk", b"PAD ", b"FLLR", b"levl",
    b"COMM", b"FVER", b"VHDR", b"desc", b"pakt", b"kuki", b"free", b"peak", *SOUND,
}  # fmt: skip
_TEXT = {b"LIST", b"id3 ", b"ID3 ", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"info", b"strg"}
"""Chunks of tags, which the library passes on to other formats."""

_NAMES = {b"bext": "broadcast metadata (bext)", b"cue ": "cue points", b"MARK": "markers", b"iXML": "production notes"}
_PIECE = 1 << 20
_CUE_SHEET = 5  # number of that block of metadata in FLAC
_APE, _APE_WITHIN = b"APETAGEX", 32 + 128  # its last lines, behind which there may be tags of ID3's first version
_EXTENSIBLE = b"\xfe\xff"  # code of a "fmt " that tells the places of its channels, at byte 20
_NO_TAGS = {"encoder", "description", "metadata_block_picture"}
_WITH_TAGS = ("MP3", "FLAC", "OGG")
COMMON_TAGS = {
    "title", "copyright", "software", "artist", "comment", "date", "album", "license", "tracknumber", "genre",
}  # fmt: skip
"""Those that the library reads from and writes into files of nearly every kind."""


def goes_as_chunks(source_format: str, target_format: str) -> bool:
    """Whether tags travel as chunks: both files are of one kind of chunks."""
    kinds = {"WAV": 0, "WAVEX": 0, "RF64": 0, "AIFF": 1, "CAF": 2}
    return source_format in kinds and kinds[source_format] == kinds.get(target_format)


def copy_tags(
    source: Location, source_format: str, n_pictures: int, target: IO[bytes], target_format: str
) -> list[str]:
    """Gives a finished file what another one says of itself.

    Args:
        source: where the tags come from.
        source_format: as libsndfile calls it, or the ending of what ffmpeg reads.
        n_pictures: in the source, as far as its header told.
        target: open for reading and writing, at its final length.
        target_format: as libsndfile calls it.

    Returns:
        Sentences on what could not go over; the sound is as it was.

    Raises:
        OSError: the target cannot be written, and may be damaged.
    """
    try:
        n_bytes = stamp(source)[0]
        stream = source.open() if isinstance(source, Url) else source.open("rb")
    except (OSError, QuietmicError) as error:  # it was there when the work began
        return [f"tags left out: {told(error)}"]
    with stream:
        if goes_as_chunks(source_format, target_format):
            return _append_chunks(stream, n_bytes, target)
        if source_format != target_format or source_format not in _WITH_TAGS:
            notes = find_lost_tags(source, source_format, target_format)
            return notes + carry_pictures(stream, n_pictures, target, target_format)
        notes = _copy_with_mutagen(stream, target)
        return notes + _find_unread(stream, n_bytes, target)


def find_lost_tags(source: Location, source_format: str, target_format: str) -> list[str]:
    """Sentences on what of a file cannot go over into one of another kind."""
    with source.open() if isinstance(source, Url) else source.open("rb") as stream:
        n_bytes = stamp(source)[0]
        notes = _lost_chunks(stream, n_bytes, target_format) + _find_unread(stream, n_bytes, None)
        return notes + (_copy_with_mutagen(stream, None) if source_format in _WITH_TAGS else [])


def _find_unread(stream: IO[bytes], n_bytes: int, target: IO[bytes] | None) -> list[str]:
    """A sentence on what the library passes over: the cue sheet of FLAC, tags of APE behind an MP3."""
    lost = []
    if _has_cue_sheet(stream) and not (target and _has_cue_sheet(target)):
        lost.append("cue sheet")
    stream.seek(max(0, n_bytes - _APE_WITHIN))
    if _APE in stream.read():
        lost.append("tags of APE")
    return [f"left out: {', '.join(lost)}"] if lost else []


def _has_cue_sheet(stream: IO[bytes]) -> bool:
    """Whether a file is FLAC (RFC 9639) with a cue sheet among its blocks of metadata."""
    stream.seek(0)
    if stream.read(4) != b"fLaC":
        return False
    while len(head := stream.read(4)) == 4:
        if head[0] & 0x7F == _CUE_SHEET:
            return True
        if head[0] & 0x80:  # the last block
            break
        stream.seek(int.from_bytes(head[1:], "big"), 1)
    return False


def _chunks_of(stream: IO[bytes], n_bytes: int) -> list[Chunk]:
    stream.seek(0)
    if stream.read(4) not in ORDERS:
        return []
    return [chunk for chunk in walk(stream, 0, n_bytes) if chunk.end <= n_bytes and chunk.name not in ORDERS]


def _lost_chunks(stream: IO[bytes], n_bytes: int, target_format: str) -> list[str]:
    chunks = _chunks_of(stream, n_bytes)
    lost = [chunk.name for chunk in chunks if chunk.name not in _STRUCTURE | _TEXT and chunk.size]
    names = ", ".join(dict.fromkeys(_NAMES.get(name, name.decode("ascii").strip()) for name in lost))
    return [f"left out, since {target_format} has no place for it: {names}"] if names else []


def _append_chunks(stream: IO[bytes], n_bytes: int, target: IO[bytes]) -> list[str]:
    """A sentence where the disk has no room for them: the sound in front of them is whole."""
    end = target.seek(0, 2)
    try:
        _copy_chunks(stream, n_bytes, target)
    except OSError as error:
        target.truncate(end)
        return [f"tags left out: {reason_of(error)}"]
    return []


def _copy_chunks(stream: IO[bytes], n_bytes: int, target: IO[bytes]) -> None:
    """Appends the chunks that do not belong to the samples, and counts them in the header."""
    chunks = _chunks_of(stream, n_bytes)
    target.seek(0, 2)
    end = target.tell()
    own = {chunk.name: chunk for chunk in _chunks_of(target, end)}
    target.seek(0)
    magic = target.read(4)
    n_size = 8 if magic == b"caff" else 4
    target.seek(0, 2)
    for chunk in chunks:
        if chunk.name in _STRUCTURE:
            continue
        if target.tell() & 1 and magic != b"caff":
            _put(target, b"\0")
        _put(target, chunk.name + chunk.size.to_bytes(n_size, ORDERS[magic]))
        stream.seek(chunk.start)
        for begin in range(0, chunk.size, _PIECE):
            _put(target, stream.read(min(_PIECE, chunk.size - begin)))
    if target.tell() & 1 and magic != b"caff":
        _put(target, b"\0")
    _count_chunks(target, magic, own, target.tell())
    _copy_channel_mask(stream, chunks, target, own)


def _put(target: IO[bytes], data: bytes) -> None:
    """Writes all of it: a disk that gets full takes a part and says nothing before it is asked again."""
    while data:
        data = data[target.write(data) :]


def _count_chunks(target: IO[bytes], magic: bytes, own: dict[bytes, Chunk], n_bytes: int) -> None:
    if magic == b"RF64":
        target.seek(own[b"ds64"].start)
        target.write((n_bytes - 8).to_bytes(8, "little"))
    elif magic != b"caff":  # CAF counts its chunks one by one
        target.seek(4)
        target.write(min(n_bytes - 8, 0xFFFFFFFF).to_bytes(4, ORDERS[magic]))


def _copy_channel_mask(stream: IO[bytes], chunks: list[Chunk], target: IO[bytes], own: dict[bytes, Chunk]) -> None:
    """Where the channels stand around the listener, if both files tell that of as many channels."""
    source_fmt = next((chunk for chunk in chunks if chunk.name == b"fmt "), None)
    target_fmt = own.get(b"fmt ")
    if not source_fmt or not target_fmt or min(source_fmt.size, target_fmt.size) < 40:
        return
    stream.seek(source_fmt.start)
    target.seek(target_fmt.start)
    theirs, ours = stream.read(24), target.read(24)
    if theirs[:2] == ours[:2] == _EXTENSIBLE and theirs[2:4] == ours[2:4]:
        target.seek(target_fmt.start + 20)
        target.write(theirs[20:24])


def _copy_with_mutagen(stream: IO[bytes], target: IO[bytes] | None) -> list[str]:
    """All tags into a file of the same kind; without one, says which are beyond those that the library passes on."""
    try:
        import mutagen
    except ImportError:
        return [] if target is None else carry_pictures(stream, 0, target, "MP3")  # which tells of them
    stream.seek(0)
    with suppress(mutagen.MutagenError):
        found = mutagen.File(stream, easy=target is None)
        if found is None or not (found.tags or getattr(found, "pictures", ()) or getattr(found, "cuesheet", None)):
            return []
        if target is None:
            lost = sorted(set(map(str.lower, (found.tags or {}).keys())) - COMMON_TAGS - _NO_TAGS)
            return [f"tags left out: {', '.join(lost)}"] if lost else []
        with written_whole(target) as file:
            file.seek(0)
            _move_tags(found, mutagen.File(file), file)
    return []


def _move_tags(source: Any, target: Any, file: IO[bytes]) -> None:
    file.seek(0)
    if hasattr(source.tags, "getall"):  # ID3, which can be saved into any file
        version = source.tags.version[1] if source.tags.version[1] in (3, 4) else 4
        if version == 3:
            source.tags.update_to_v23()
        source.tags.save(file, v2_version=version)
        return
    if target.tags is None:
        target.add_tags()
    target.tags[:] = list(source.tags or ())
    for picture in getattr(source, "pictures", ()):
        target.add_picture(picture)
    if getattr(source, "cuesheet", None):
        target.metadata_blocks.append(source.cuesheet)
    target.save(file)


def write_count_of_fact(target: IO[bytes], n_samples: int) -> None:
    """Tells how many samples a coding in blocks has, where the last block is not full."""
    target.seek(0, 2)
    chunks = {chunk.name: chunk for chunk in _chunks_of(target, target.tell())}
    fmt, fact = chunks.get(b"fmt "), chunks.get(b"fact")
    if not fmt or not fact:
        return
    target.seek(fmt.start)
    if target.read(2) in (b"\x02\x00", b"\x11\x00"):
        target.seek(fact.start)
        target.write(n_samples.to_bytes(4, "little"))
