"""Pictures within sound files, such as the cover of a record, from one kind of file into another.

The library mutagen (the extra "tags") takes them out and puts them in; without it they are told as left out.
"""

import base64
import binascii
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

_PLACES = frozenset({"MP3", "FLAC", "OGG", "M4A", "M4B"})
_MARK = re.compile(rb"APIC\0|metadata_block_picture=|image/(?:jpe?g|png|gif|bmp|webp)", re.IGNORECASE)
_HEAD = 1 << 18  # bytes in which a picture shows that nothing takes out
_FIELD = "metadata_block_picture"  # of Ogg
_COVER = 3  # the role of a picture in files that tell none


def carry_pictures(source: IO[bytes], n_told: int, target: IO[bytes], kind: str) -> list[str]:
    """Gives a finished file the pictures of another one.

    Args:
        source: where they come from.
        n_told: how many there are, as far as that is known otherwise.
        target: open for reading and writing, at its final length.
        kind: of the target: its format, or its ending in capitals.

    Returns:
        A sentence where some could not go over.
    """
    pictures, is_able = _find(source)
    if kind not in _PLACES:
        return [f"left out, since {kind} has no place for it: pictures"] if pictures or n_told else []
    if not is_able:
        return ['pictures left out: they need `pip install "quietmic[tags]"`'] if pictures or n_told else []
    n_carried = _carry(pictures, target, kind) if pictures else 0
    is_short = n_carried < max(n_told, len(pictures))
    return [f"pictures left out, since they cannot be brought into {kind}"] if is_short else []


@contextmanager
def written_whole(target: IO[bytes]) -> Iterator[IO[bytes]]:
    """A file for mutagen, which takes a part that a full disk wrote for all of it, and calls the error its own.

    Raises:
        OSError: not all could be written.
    """
    import mutagen

    buffered = io.BufferedRandom(target)  # type: ignore[arg-type]  # a file of ours has no buffer
    try:
        yield buffered
        buffered.flush()
    except mutagen.MutagenError as error:
        if error.args and isinstance(error.args[0], OSError):
            raise error.args[0] from error
    finally:
        with suppress(OSError):  # what the disk did not take is told already
            buffered.detach()


def _carry(pictures: list[Any], target: IO[bytes], kind: str) -> int:
    """How many of them are in the file now."""
    n_carried = 0
    with written_whole(target) as file:
        n_carried = _put(pictures, file, kind)
    return n_carried


def _find(source: IO[bytes]) -> tuple[list[Any], bool]:
    """(Pictures as those of FLAC, whether they can be written); without mutagen, a mark for those that show."""
    source.seek(0)
    try:
        import mutagen
    except ImportError:
        return _MARK.findall(source.read(_HEAD))[:1], False
    with suppress(mutagen.MutagenError):
        found = mutagen.File(source)
        if found is not None:
            return _pictures_of(found), True
    return [], True


def _pictures_of(found: Any) -> list[Any]:
    from mutagen.flac import Picture
    from mutagen.mp4 import MP4Cover

    if hasattr(found, "pictures"):
        return list(found.pictures)
    if not found.tags:
        return []
    if hasattr(found.tags, "getall"):  # ID3
        return [_picture(one.data, one.mime, int(one.type), one.desc) for one in found.tags.getall("APIC")]
    pictures = []
    for text in found.tags.get(_FIELD, ()):
        with suppress(binascii.Error, ValueError):
            pictures.append(Picture(base64.b64decode(text)))
    for cover in found.tags.get("covr", ()):
        mime = "image/png" if cover.imageformat == MP4Cover.FORMAT_PNG else "image/jpeg"
        pictures.append(_picture(bytes(cover), mime, _COVER, ""))
    return pictures


def _picture(data: bytes, mime: str, role: int, text: str) -> Any:
    from mutagen.flac import Picture

    picture = Picture()
    picture.data, picture.mime, picture.type, picture.desc = data, mime, role, text
    return picture


def _put(pictures: list[Any], target: IO[bytes], kind: str) -> int:
    """How many of them are in the file now."""
    import mutagen
    from mutagen.id3 import APIC
    from mutagen.mp4 import MP4Cover

    target.seek(0)
    file = mutagen.File(target)
    if file is None:
        return 0
    if file.tags is None:
        file.add_tags()
    target.seek(0)
    if kind == "MP3":
        for number, one in enumerate(pictures):  # two of one description would be one
            text = one.desc if number == 0 else f"{one.desc} {number + 1}".strip()
            file.tags.add(APIC(encoding=3, mime=one.mime, type=one.type, desc=text, data=one.data))
        file.tags.update_to_v23()
        file.tags.save(target, v2_version=3)  # which every player reads
        return len(pictures)
    if kind == "FLAC":
        for one in pictures:
            file.add_picture(one)
    elif kind == "OGG":
        file.tags[_FIELD] = [base64.b64encode(one.write()).decode("ascii") for one in pictures]
    else:
        forms = {"image/png": MP4Cover.FORMAT_PNG, "image/jpeg": MP4Cover.FORMAT_JPEG}
        pictures = [one for one in pictures if one.mime in forms]
        file.tags["covr"] = [MP4Cover(one.data, forms[one.mime]) for one in pictures]
    file.save(target)
    return len(pictures)
