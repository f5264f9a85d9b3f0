"""What `train` and `export` print."""

from pathlib import Path
from typing import Any

from quietmic.enhance.hashes import hash_file
from quietmic.models.publish import publish
from quietmic.models.training import run


def run_training(*arguments: Any) -> None:
    """Trains, as `quietmic.models.training.run.run_training` does, and tells where the weights are."""
    path, record = run.run_training(*arguments)
    if record:
        print(f"Weights: {path}\nRecord: {record}")


def run_export(checkpoint: Path, out: Path, name: str, notes: str, scenes: Path | None, list_it: bool) -> None:
    """Exports, as `quietmic.models.publish.publish` does, and tells what it wrote."""
    publish(checkpoint, out, name, notes, scenes, list_it)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB, SHA-256 {hash_file(out)[:16]}...)")
