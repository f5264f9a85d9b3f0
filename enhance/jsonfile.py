"""JSON for other programs."""

import json
import math
from pathlib import Path
from typing import Any

from quietmic.enhance.redact import redact


def json_text(value: Any) -> str:
    """A value as text with full precision; numbers that are not finite become null.

    Args:
        value: of dicts, lists, strings and numbers; tuples and numpy scalars are allowed.
    """
    return json.dumps(plain(value), indent=2, allow_nan=False)


def write_json(value: Any, path: Path) -> None:
    """Writes a value into a file, as `json_text` makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(value) + "\n", encoding="utf-8")


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
