"""Gaps in the timestamps of a sound track, behind which its sound would come too early against the picture."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_HARD_S = 0.1  # by which timestamps and sound may part before ffmpeg fills in, as recorders' clocks tremble
_LONGEST_S = 10.0  # in transport streams, of which ffmpeg closes longer ones by itself
_LOST = 1.5  # a packet that is lost leaves a step of two; times are rounded to milliseconds
_ROUNDED_S = 0.003
_OF_UNKNOWN_S = 60  # of gaps in a file without a length; more is a damaged time
_ODD = 4  # times the usual length: that of a packet in mp4 that lasts until the sound goes on


@dataclass(frozen=True)
class Gaps:
    """What the timestamps of a track say of its sound.

    Attributes:
        n: gaps.
        missing_s: their length in all.
        is_safe: they can be filled; else timestamps jump back as well, or lead beyond the end.
    """

    n: int
    missing_s: float
    is_safe: bool


def find_gaps(command: Sequence[str], local: Path, codec: str, ends_s: float, has_own_mending: bool) -> Gaps:
    """Looks at the timestamps of the first sound track, whose packets are read and not decoded.

    Args:
        command: ffprobe with its options for safety.
        local: the file.
        codec: of the track.
        ends_s: length of the file as its header says; 0 where it does not.
        has_own_mending: ffmpeg closes long gaps in files of this kind.
    """
    fields = ["-select_streams", "a:0", "-show_entries", "packet=pts_time,duration_time,size", "-of", "csv=p=0"]
    command = [*command, *fields, f"file:{local}"]
    found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    rows = [row.split(",")[:3] for row in found.stdout.decode(errors="replace").splitlines()]
    numbers = np.array([[_number(cell) for cell in row] for row in rows if len(row) == 3], np.float64).reshape(-1, 3)
    numbers = numbers[np.isfinite(numbers[:, 0])]
    if len(numbers) < 2:
        return Gaps(0, 0.0, True)
    starts_s, lengths_s = numbers[:, 0], _lengths(numbers, codec)
    steps_s, lengths_s = np.diff(starts_s), lengths_s[:-1]
    is_gap = steps_s > _LOST * lengths_s + _ROUNDED_S
    gaps_s = (steps_s - lengths_s)[is_gap]
    missing_s = float(np.sum(gaps_s))
    goes_back = bool(np.any(steps_s < lengths_s - _HARD_S))
    if missing_s < _HARD_S:
        return Gaps(0, 0.0, not goes_back)
    lasts_s, heard_s = float(starts_s[-1] - starts_s[0]), float(np.sum(lengths_s))
    fits = lasts_s <= ends_s + 1 if ends_s else missing_s <= heard_s + _OF_UNKNOWN_S
    is_closed = has_own_mending and bool(np.any(gaps_s > _LONGEST_S))
    return Gaps(len(gaps_s), missing_s, fits and not goes_back and not is_closed)


def _lengths(numbers: NDArray[np.float64], codec: str) -> NDArray[np.float64]:
    """Seconds of sound in each packet, whatever time it is said to last."""
    steps = np.diff(numbers[:, 0])
    lengths = np.where(np.isfinite(numbers[:, 1]), numbers[:, 1], np.median(steps))
    if codec.startswith("pcm_"):
        return np.asarray(numbers[:, 2] * np.median(lengths / np.maximum(numbers[:, 2], 1)))
    usual = np.median(lengths)
    return lengths if codec == "vorbis" else np.where(lengths > _ODD * usual, usual, lengths)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
