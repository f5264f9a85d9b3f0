"""Names that other people gave their files: shown and given back, and never used as paths."""

import re
import unicodedata
from pathlib import Path
from urllib.parse import quote

from quietmic.enhance.files.formats import is_audio_name

_LONGEST = 200  # bytes, of the 255 that file systems take: what is added has room
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_ENDING = re.compile(r"\.[a-z0-9]{1,5}")


def shown_name(given: str) -> str:
    """The last part of a name, without what is no sign or means something to a system."""
    last = re.split(r"[/\\]", given)[-1]
    kept = "".join(sign for sign in _FORBIDDEN.sub("", last) if unicodedata.category(sign) not in ("Cf", "Cs", "Co"))
    stem, ending = Path(kept).stem, Path(kept).suffix
    short = stem.encode()[:_LONGEST].decode(errors="ignore")
    return f"{short.strip('. ') or 'sound'}{ending[:10]}"


def safe_ending(name: str) -> str:
    """The ending of a name where it is that of a known format, else ".bin": the contents tell what it is then."""
    return _known_ending(name) or ".bin"


def enhanced_ending(name: str) -> str:
    """The ending that the enhanced file gets: that of the name, where a format is known by it, else ".wav"."""
    return Path(name).suffix if _known_ending(name) else ".wav"


def enhanced_name(name: str) -> str:
    """What the enhanced file is called when it is given back."""
    return f"{Path(name).stem}-enhanced{enhanced_ending(name)}"


def attachment(name: str) -> str:
    """The header by which a browser keeps an answer as a file of this name (RFC 6266)."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def distinct(names: list[str]) -> list[str]:
    """The same names, with a number where one was there before."""
    taken: set[str] = set()
    found = []
    for name in names:
        path, n = Path(name), 1
        while name.casefold() in taken:
            n += 1
            name = f"{path.stem}-{n}{path.suffix}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _known_ending(name: str) -> str:
    ending = Path(name).suffix.lower()
    return ending if _ENDING.fullmatch(ending) and is_audio_name(Path(f"sound{ending}")) else ""
