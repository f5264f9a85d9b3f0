"""Microphone arrays: which channels of the device are the microphones, and where they sit."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.errors import QuietmicError

BOARDS_FILE = Path(__file__).with_name("boards.toml")


@dataclass(frozen=True)
class MicrophoneArray:
    """One array of microphones: which channels of which device, and where each sits.

    Attributes:
        name: by which it is chosen.
        description: for people.
        device: part of the name of its sound device, empty if any.
        channels: of the device, the reference first.
        positions: [n_mics, 3] in metres, in the order of `channels`.
    """

    name: str
    description: str
    device: str
    channels: tuple[int, ...]
    positions: NDArray[np.float64]


def _to_array(name: str, entry: dict[str, Any]) -> MicrophoneArray:
    try:
        positions = np.array(entry["positions"], dtype=np.float64)
        channels = tuple(int(c) for c in entry.get("channels", range(len(positions))))
    except (KeyError, TypeError, ValueError) as error:
        raise QuietmicError(f"array {name}: positions must be a list of [x, y, z] in metres", exit_code=2) from error
    if positions.ndim != 2 or positions.shape != (len(channels), 3):
        raise QuietmicError(f"array {name}: positions must have [x, y, z] for each of its channels", exit_code=2)
    if len(set(channels)) < len(channels) or min(channels) < 0:
        raise QuietmicError(f"array {name}: channels must be different and not negative", exit_code=2)
    return MicrophoneArray(name, entry.get("description", ""), entry.get("device", ""), channels, positions)


def list_arrays() -> dict[str, str]:
    """The arrays of boards.toml: their descriptions by name."""
    arrays = tomllib.loads(BOARDS_FILE.read_text(encoding="utf-8"))["arrays"]
    return {name: entry.get("description", name) for name, entry in arrays.items()}


def find_array(name: str) -> MicrophoneArray:
    """An array by its name in boards.toml, or from a geometry file.

    Args:
        name: of the array, or path of a TOML file with `positions` and, if wanted, `channels`, `device` and
            `description` at its top.

    Raises:
        QuietmicError: unknown name, or a file that is no geometry.
    """
    path = Path(name)
    if path.suffix == ".toml":
        try:
            return _to_array(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise QuietmicError(f"{name} is no geometry file: {error}", exit_code=2) from error
    arrays = tomllib.loads(BOARDS_FILE.read_text(encoding="utf-8"))["arrays"]
    if name not in arrays:
        known = ", ".join(arrays)
        raise QuietmicError(f"no array {name!r}; there are {known}, or give a geometry file (.toml)", exit_code=2)
    return _to_array(name, arrays[name])
