"""JSON for other programs."""

import json
import math
import os
from pathlib import Path
from typing import Any

from quietmic.enhance.redact import redact


def json_text(value: Any) -> str:
    """A value as text with full precision; numbers that are not finite become null.

    Args:
        value: of dicts, lists, strings and numbers; tuples and numpy scalars are allowed.
    """
    return json.dumps(plain(value), indent=2, allow_nan=False)


def write_json(value: Any, path: Path, is_private: bool = False) -> None:
    """Writes a value into a file, as `json_text` makes it; the file appears whole or not at all.

    Args:
        value: see `json_text`.
        path: its folder is made.
        is_private: nobody else on this machine may read the file.

    Raises:
        OSError: it cannot be written.
    """
    text = json_text(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a pipe or a terminal
        path.write_text(text + "\n", encoding="utf-8")
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch(mode=0o600 if is_private else 0o666)
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:  # of the file that was asked for, and not of its hidden name
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """The same value made of what JSON knows: no number that is not finite, no password of an address."""
    if hasattr(value, "item") and not hasattr(value, "__len__"):  # a numpy scalar
        value = value.item()
    if isinstance(value, dict):
        return {redact(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | Path):
        return redact(str(value))
    return value
