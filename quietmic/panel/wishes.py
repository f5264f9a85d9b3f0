"""What a page asks for, checked before it is believed."""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from quietmic.enhance.errors import QuietmicError

CHANNELS = ("auto", "separate", "array")
"""What may be done with several channels: as their likeness says, each on its own, or one scene's microphones."""


@dataclass(frozen=True)
class FileWish:
    """How a file is to be enhanced.

    Attributes:
        model: a name of the catalogue.
        limit_db: nothing is attenuated by more than this; None for no limit.
        channels: one of CHANNELS.
    """

    model: str
    limit_db: float | None
    channels: str


def read_object(data: bytes | str) -> dict[str, Any]:
    """The JSON object in a message.

    Raises:
        QuietmicError: it is something else.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise QuietmicError("that is no JSON", exit_code=2) from error
    if not isinstance(value, dict):
        raise QuietmicError("that is no JSON object", exit_code=2)
    return value


def file_wish(value: dict[str, Any], models: Collection[str]) -> FileWish:
    """How a file is to be enhanced, out of what a page sent.

    Raises:
        QuietmicError: a model that is not installed, or a value that there is not.
    """
    model, channels = value.get("model"), value.get("channels", "auto")
    if model not in models:
        raise QuietmicError(f"there is no model {model!r}", exit_code=2)
    if channels not in CHANNELS:
        raise QuietmicError(f"channels is {channels!r}, but it must be one of {', '.join(CHANNELS)}", exit_code=2)
    return FileWish(str(model), read_limit(value.get("limit_db")), channels)


def read_limit(value: object) -> float | None:
    """An attenuation limit in dB, None for none.

    Raises:
        QuietmicError: no number from 0 on.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise QuietmicError(f"the limit is a number of dB from 0 on, not {value!r}", exit_code=2)
    return float(value)
