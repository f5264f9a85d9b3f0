"""Which model this machine can bear: measured on first use, then remembered.

What was too slow is measured again at the next start, and the best figure counts: the machine may have been busy, as it
is while a person logs in.
"""

import contextlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from quietmic.devices.engine import Candidate, measure_engine
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.jsonfile import write_json

MAX_LOAD = 0.5
"""A model is fit for a machine if the 99th percentile of its hops takes at most this part of a hop."""

MEASURE_S = 2.0
"""Time of the measurement on first use, over all models tried."""


def cache_folder() -> Path:
    """Where this user's programs keep what can be measured again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "quietmic"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/quietmic"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quietmic"


@dataclass(frozen=True)
class Choice:
    """The model for this machine.

    Attributes:
        model: its name.
        reason: in words.
        loads: by model, the part of a hop that the 99th percentile of its hops takes; best model first.
    """

    model: str
    reason: str
    loads: dict[str, float]

    @property
    def is_first(self) -> bool:
        """Whether the machine can bear the best model."""
        return len(self.loads) == 1 and self.loads[self.model] <= MAX_LOAD


def smaller_candidates(candidates: Sequence[Candidate], current: Candidate, n_mics: int) -> list[Candidate]:
    """Those that cost less than the current one and can take its place in a running stream, largest first."""
    fitting = [
        c
        for c in candidates
        if c.macs_per_second < current.macs_per_second
        and c.max_mics >= n_mics
        and (c.sample_rate, c.hop_length) == (current.sample_rate, current.hop_length)
    ]
    return sorted(fitting, key=lambda c: -c.macs_per_second)


def choose_model(candidates: Sequence[Candidate], n_mics: int, threads: int, folder: Path | None = None) -> Choice:
    """The first model, or else the largest of the smaller ones, that the machine can bear.

    Args:
        candidates: the preferred one first.
        n_mics: microphones that it has to accept.
        threads: that the network runs with.
        folder: where measurements are remembered; None = the user's cache folder.

    Raises:
        QuietmicError: there is no model for so many microphones.
    """
    usable = [c for c in candidates if c.max_mics >= n_mics]
    if not usable:
        raise QuietmicError(f"no model is installed that takes {n_mics} microphones", argument="n_mics")
    path = (folder or cache_folder()) / "loads.json"
    known = _read_loads(path)
    loads: dict[str, float] = {}
    tried = [usable[0], *smaller_candidates(usable, usable[0], n_mics)]
    for candidate in tried:
        key = f"{candidate.sha256} {n_mics} {threads} {candidate.sample_rate} {platform.node()}"
        if (before := known.get(key, inf)) > MAX_LOAD:
            engine = candidate.open(n_mics, threads)
            known[key] = min(before, measure_engine(engine, MEASURE_S / len(tried)).p99_s / engine.hop_s)
            with contextlib.suppress(OSError):  # a read-only home: measured again next time
                write_json(known, path)
        load = loads[candidate.name] = known[key]
        if load <= MAX_LOAD:
            return Choice(candidate.name, f"99 % of its hops take less than {load:.0%} of their time", loads)
    name = min(loads, key=lambda n: loads[n])
    return Choice(name, f"no model stays below {MAX_LOAD:.0%} of the time; this one takes {loads[name]:.0%}", loads)


def _read_loads(path: Path) -> dict[str, float]:
    try:
        loads = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in loads.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # measured again
