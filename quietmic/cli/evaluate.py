"""The command `evaluate`: options to systems, results to the screen, files and a record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.errors import UserError
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure.metrics import metric_versions
from quietmic.enhance.measure.quality import DEFAULT_CACHE, evaluate
from quietmic.enhance.measure.recordings import Scene, find_scenes
from quietmic.enhance.measure.records import DEFAULT_FOLDER, hash_files, write_record
from quietmic.enhance.measure.statistics import SEED
from quietmic.enhance.measure.systems import System, model_system, peer_system
from quietmic.enhance.measure.tables import evaluation_tables, markdown, summary_table, write_csv


def choose_systems(
    models: tuple[str, ...], peers: tuple[str, ...], mics: tuple[int, ...], weights: Path | None
) -> list[System]:
    """Every model with every number of microphones, then the peers; the default model when none is named.

    Raises:
        UserError: unknown names, or one system named twice.
    """
    names = models or (() if peers else ("default",))
    systems = [model_system(name, n_mics) for name in names for n_mics in mics]
    systems += [peer_system(name, weights) for name in peers]
    # Versions of one network bear one name: their files tell them apart.
    labels = [system.label for system in systems]
    systems = [
        replace(system, label=f"{system.label} ({Path(system.target).stem})")
        if labels.count(system.label) > 1
        else system
        for system in systems
    ]
    labels = [system.label for system in systems]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise UserError(f"named twice: {', '.join(sorted(twice))}", exit_code=2)
    return systems


def run_evaluation(
    folder: Path,
    systems: list[System],
    n_jobs: int,
    cache: Path = DEFAULT_CACHE,
    records: Path = DEFAULT_FOLDER,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Evaluates a folder and leaves a record; the record is what is returned, with its path."""
    scenes = find_scenes(folder)
    result = evaluate(scenes, systems, n_jobs, cache, cluster=cluster)
    facts = {
        "data": str(folder),
        "data_sha256": hash_files(_files_of(scenes)),
        "seed": SEED,
        "metric_versions": metric_versions(),
    }
    path = write_record("evaluate", result, records, **facts)
    return {"kind": "evaluate", **facts, "figures": result, "path": str(path)}


def print_evaluation(
    record: dict[str, Any], json_path: str | None, csv_path: Path | None, markdown_path: Path | None
) -> None:
    """Writes the files that were asked for, and the table of means to the screen unless JSON goes there."""
    result = record["figures"]
    if csv_path:
        write_csv(result["rows"], csv_path)
    if markdown_path:
        markdown_path.parent.mkdir(parents=True, exist_ok=True)
        markdown_path.write_text(markdown(evaluation_tables(result)), encoding="utf-8")
    if json_path:
        facts = {key: value for key, value in record.items() if key not in ("figures", "path")}
        write_json({**facts, **result, "record": record["path"]}, json_path)
    if json_path != "-":
        print(summary_table(result).markdown())
        print(f"\nRecord: {record['path']}")


def _files_of(scenes: list[Scene]) -> list[Path]:
    return [path for scene in scenes for path in (scene.noisy, scene.clean) if path]
