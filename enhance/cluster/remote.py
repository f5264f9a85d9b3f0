"""What happens on a worker of a cluster: it checks that it is the right one, then runs the job."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from quietmic.enhance.catalogue import WEIGHTS
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_once

J = TypeVar("J")
R = TypeVar("R")

_PACKAGES = ("enhance", "models", "compression")


@dataclass(frozen=True)
class Needs:
    """What a worker must have.

    Attributes:
        code: of `code_version`.
        models: path at the client and SHA-256 of each model.
    """

    code: str
    models: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A worker that is not the right one takes no work; this is its answer.

    Attributes:
        worker: its address.
        reason: what it lacks.
    """

    worker: str
    reason: str


def needs_of(models: Iterable[Path]) -> Needs:
    """What a worker must have to do jobs like this machine: its version of the code, and the models."""
    return Needs(code_version(), tuple((path, hash_once(path)) for path in models))


def run_checked(function: Callable[[J], R], job: J, needs: Needs) -> R | Refusal:
    """Runs a job on a worker that fulfils the needs."""
    reason = _unmet(needs)
    if reason is None:
        return function(job)
    from distributed import get_worker

    return Refusal(get_worker().address, reason)


@lru_cache(maxsize=1)
def code_version() -> str:
    """Eight digits of the SHA-256 over this installation's sources: equal if and only if the code is."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[2]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


@lru_cache(maxsize=64)
def find_weights(path: Path, sha256: str) -> Path:
    """The file with this SHA-256: at the same path, or among the installed weights, whatever its name.

    Raises:
        QuietmicError: there is none.
    """
    for candidate in (path, WEIGHTS / path.name, *sorted(WEIGHTS.glob("*.onnx"))):
        if candidate.is_file() and hash_once(candidate) == sha256:
            return candidate
    known = next((p for p in (path, WEIGHTS / path.name) if p.is_file()), None)
    found = f"its {known.name} has SHA-256 {hash_once(known)[:12]}" if known else f"it has no {path.name}"
    raise QuietmicError(f"{found}; wanted is SHA-256 {sha256[:12]}")


@lru_cache(maxsize=16)
def _unmet(needs: Needs) -> str | None:
    """Why this process may not do the work; looked at once."""
    if code_version() != needs.code:
        return f"its quietmic is version {code_version()} (hash of the sources), the client's is {needs.code}"
    try:
        for path, sha256 in needs.models:
            find_weights(path, sha256)
    except QuietmicError as error:
        return str(error)
    return None
