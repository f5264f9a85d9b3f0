"""Records of runs: one JSON file per training, compression, evaluation or bench, from which reports are drawn."""

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure.machine import describe_machine, git_commit, package_versions

DEFAULT_FOLDER = Path("out/records")


def write_record(kind: str, figures: dict[str, Any], folder: Path = DEFAULT_FOLDER, **facts: Any) -> Path:
    """Writes what a run gave and all that is needed to run it again.

    Args:
        kind: "evaluate", "bench", "train", "compress"...; the file's name begins with it.
        figures: the results.
        folder: made if missing.
        facts: what else belongs to it: seed, hashes of the data (see `hash_files`), settings.

    Returns:
        Path of the file, which appears whole or not at all.
    """
    now = datetime.now(UTC)
    record = {
        "kind": kind,
        "time": now.isoformat(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": git_commit(),
        "machine": describe_machine(),
        "versions": package_versions(),
        **facts,
        "figures": figures,
    }
    path = folder / f"{kind}-{now:%Y%m%dT%H%M%S.%fZ}.json"
    write_json(record, path, is_private=True)  # the command may name places that are nobody else's business
    return path


def read_records(folder: Path = DEFAULT_FOLDER, kind: str | None = None) -> list[dict[str, Any]]:
    """Records of a folder, oldest first, of one kind or all; each with its `path` added."""
    records = []
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if kind in (None, record["kind"]):
            records.append({**record, "path": str(path)})
    return sorted(records, key=lambda record: record["time"])
