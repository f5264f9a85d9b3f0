"""Which endings are sound, and which format a name stands for."""

import re
from pathlib import Path

import soundfile

from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.files.library import LibraryError, native_name
from quietmic.enhance.files.storage import Location, Url
from quietmic.enhance.files.walk import files_below

FOREIGN = frozenset({
    "mp4", "m4a", "m4b", "m4v", "mov", "3gp", "3g2", "aac", "webm", "mkv", "mka", "avi", "wma", "wmv", "asf", "flv",
    "ts", "mts", "m2ts", "mpg", "mpeg", "vob", "amr", "ac3", "eac3", "dts", "ape", "wv", "tta", "spx",
})  # fmt: skip
"""Endings of films and of the sound of phones, which the program ffmpeg reads and the library does not."""

_FORMATS = {  # endings that are not the name of their format
    "OPUS": "OGG", "OGA": "OGG", "AIF": "AIFF", "AIFC": "AIFF", "SND": "AU", "WAVE": "WAV", "BWF": "WAV", "SPH": "NIST",
}  # fmt: skip
_MP3 = ("MP3", "MPEG_LAYER_III")
_MP2 = ("MP2", "MPEG_LAYER_II")
_LOOKS_LIKE_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,3}")


def ending(path: Location) -> str:
    """The ending in small letters, without its point."""
    return path.suffix[1:].lower()


def is_foreign(path: Location) -> bool:
    """Whether the name is one of those that ffmpeg is needed for."""
    return ending(path) in FOREIGN


def is_audio_name(path: Location) -> bool:
    """Whether the ending is that of a format that can be read."""
    extension = path.suffix[1:].upper()
    known = extension in _FORMATS or (extension in soundfile.available_formats() and extension != "RAW")
    return known or is_foreign(path)


def is_audio(path: Location) -> bool:
    """Whether a file is sound: by its name, or because the library can open it; storage is not opened for that."""
    if is_audio_name(path) or isinstance(path, Url):
        return is_audio_name(path)
    try:
        with soundfile.SoundFile(native_name(path)):
            return True
    except LibraryError:
        return False


def find_sounds(folder: Path) -> list[Path]:
    """Sound files to any depth, see `files_below`.

    Raises:
        QuietmicError: a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise QuietmicError(f"{error.filename}: cannot be read: {reason_of(error)}", exit_code=2) from error

    return [path for path in files_below(folder, refuse) if is_audio_name(path)]


def is_file_name(path: Location) -> bool:
    """Whether a name for output means a file: its ending is one of a format, or looks like a mistaken one."""
    return is_audio_name(path) or _LOOKS_LIKE_ENDING.fullmatch(path.suffix) is not None


def check_extension(path: Location) -> str:
    """The format that a name stands for, as libsndfile calls it; the ending itself for those that ffmpeg writes.

    Raises:
        QuietmicError: no format is known by this extension.
    """
    extension = path.suffix[1:].upper()
    file_format = _FORMATS.get(extension, extension)
    if file_format not in soundfile.available_formats() and not is_foreign(path):
        raise QuietmicError(f"{path}: no audio format is known by this extension", exit_code=2)
    return file_format


def choose_format(path: Path, like: AudioInfo | None, subtype: str | None) -> tuple[str, str | None]:
    """(Format, subtype) for a file: those of another one where the ending allows.

    Raises:
        QuietmicError: no format is known by the ending, or it cannot be written.
    """
    extension = path.suffix[1:].upper()
    # An ending that says nothing is that of a file in a folder, which the library knew by its contents.
    file_format = check_extension(path) if like is None or is_audio_name(path) else like.format
    if file_format == "SD2":
        raise QuietmicError(f"{path}: SD2 lies in two files of one name and cannot be written")
    if like and like.format in (file_format, f"{file_format}EX"):  # WAVEX is a kind of WAV
        file_format = like.format
    if subtype is None and extension == "OPUS":
        subtype = "OPUS"
    elif subtype is None and like and _is_kept(file_format, extension, like.subtype):
        subtype = like.subtype
    return file_format, subtype


def _is_kept(file_format: str, extension: str, subtype: str) -> bool:
    """Whether a file goes on in the subtype of another one.

    Of the layers of MPEG the library writes the third, and that in MP3 only, whatever it says; the second is kept where
    it is meant, for ffmpeg to write.
    """
    if subtype.startswith("MPEG_LAYER_"):
        return (file_format, subtype) == _MP3 or (extension, subtype) == _MP2
    return soundfile.check_format(file_format, subtype)
