"""Microphone arrays: which channels of the device are the microphones. Where these sit need not be known."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.tomlfile import read_toml

BOARDS_FILE = Path(__file__).with_name("boards.toml")


@dataclass(frozen=True)
class MicrophoneArray:
    """One array of microphones: which channels of which device.

    Attributes:
        name: by which it is chosen.
        description: for people.
        device: part of the name of its sound device, empty if any.
        channels: of the device, the reference first.
    """

    name: str
    description: str
    device: str
    channels: tuple[int, ...]


def _to_array(name: str, entry: dict[str, Any]) -> MicrophoneArray:
    try:
        channels = tuple(int(c) for c in entry["channels"])
    except (KeyError, TypeError, ValueError) as error:
        raise QuietmicError(f"array {name}: channels must be a list of numbers, as in [0, 1]", exit_code=2) from error
    if not channels or len(set(channels)) < len(channels) or min(channels) < 0:
        raise QuietmicError(f"array {name}: channels must be different and not negative", exit_code=2)
    return MicrophoneArray(name, entry.get("description", ""), entry.get("device", ""), channels)


def list_arrays() -> dict[str, str]:
    """The arrays of boards.toml: their descriptions by name."""
    arrays = tomllib.loads(BOARDS_FILE.read_text(encoding="utf-8"))["arrays"]
    return {name: entry.get("description", name) for name, entry in arrays.items()}


def find_array(name: str) -> MicrophoneArray:
    """An array by its name in boards.toml, or from a file of its own.

    Args:
        name: of the array, or path of a TOML file with `channels` and, if wanted, `device` and `description` at its
            top.

    Raises:
        QuietmicError: unknown name, or a file that is no array.
    """
    path = Path(name)
    if path.suffix == ".toml":
        return _to_array(path.stem, read_toml(path))
    arrays = tomllib.loads(BOARDS_FILE.read_text(encoding="utf-8"))["arrays"]
    if name not in arrays:
        known = ", ".join(arrays)
        raise QuietmicError(f"no array {name!r}; there are {known}, or give a file of your own (.toml)", exit_code=2)
    return _to_array(name, arrays[name])
