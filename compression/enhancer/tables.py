"""Tables and curves from many compressions of one enhancer: criteria compared, one setting swept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from quietmic.compression.checkpoint import weights_sha256
from quietmic.compression.compare import (
    Judge,
    Judged,
    Row,
    for_criterion,
    for_value,
    paired,
    run_rows,
    summary,
    to_json,
    to_markdown,
)
from quietmic.compression.criteria.table import CRITERIA
from quietmic.compression.enhancer.request import Parent, Request, find_parent, open_data
from quietmic.compression.enhancer.speech import STFT, HopSeconds, SpeechData, loss
from quietmic.compression.picture import draw_sweep
from quietmic.compression.recipe import Recipe
from quietmic.compression.result import CompressionResult
from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import run_on_cluster
from quietmic.enhance.cluster.remote import find_weights
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file, hash_files
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.processes import WorkerDied
from quietmic.enhance.progress import Progress, silent
from quietmic.models.networks.spectra import analysis
from quietmic.models.training.progress import read_scenes, score_network
from quietmic.models.training.sources import Sources


def judge_by(scenes: Path | None, data: SpeechData, parent: Parent) -> Judge:
    """Figures of a network: quality on a scenes folder; without scenes the loss on new batches.

    Quality is that of the first microphone: SI-SDR, STOI and PESQ of each scene.
    """

    def judge(network: nn.Module) -> Judged:
        if scenes is None:
            held = iter(SpeechData(data.source, data.config, parent.network, first=2 * 10**6))
            with torch.no_grad():
                return {"loss": sum(float(loss(network.eval(), next(held))) for _ in range(16)) / 16}
        spectra = ((analysis(torch.from_numpy(noisy[None, :1]), STFT), clean) for noisy, clean in read_scenes(scenes))
        scores = [score_network(network, noisy, noisy[:, 0], clean) for noisy, clean in spectra]
        by_name = zip(("si_sdr", "stoi", "pesq_wb"), zip(*scores, strict=True), strict=True)
        return {name: [None if np.isnan(value) else float(value) for value in values] for name, values in by_name}

    return judge


def identity_of(request: Request, data: SpeechData, scenes: Path | None) -> dict[str, Any]:
    """What all rows of a table depend on: weights of the parent, data, scenes, and the board where there is one."""
    files = sorted(scenes.rglob("*.flac")) if scenes else []
    return {
        "parent": weights_sha256(request.parent.network),
        "data": data.identity,
        "scenes": hash_files(files) if files else None,
        "hop_s": request.hop_seconds(1e6, 100, 1e6) if request.hop_seconds else None,
    }


def _run_table(
    request: Request, recipes: list[tuple[str, Recipe]], scenes: Path | None, out: Path, progress: Progress
) -> list[Row]:
    data = open_data(request.parent, request.sources, progress)

    def run(recipe: Recipe) -> CompressionResult:
        return request.compress(recipe, data, progress)

    judge = judge_by(scenes, data, request.parent)
    return run_rows(recipes, run, judge, out / "rows", identity_of(request, data, scenes))


@dataclass(frozen=True)
class RowJob:
    """One row of a table, for a worker that sees the same folders.

    Attributes:
        label: of the row.
        recipe: of the compression.
        checkpoint: of the parent.
        sha256: of the checkpoint.
        sources: of the training scenes.
        hop_seconds: cost model of a board.
        scenes: to measure on.
        folder: where finished rows are kept.
    """

    label: str
    recipe: Recipe
    checkpoint: Path
    sha256: str
    sources: Sources
    hop_seconds: HopSeconds | None
    scenes: Path | None
    folder: Path


def make_row(job: RowJob) -> Row:
    """One compression and its figures, or the finished row of the folder."""
    request, data = _open_parent(job.checkpoint, job.sha256, job.sources)
    request = replace(request, recipe=job.recipe, hop_seconds=job.hop_seconds)
    judge = judge_by(job.scenes, data, request.parent)
    return run_rows(
        [(job.label, job.recipe)], lambda recipe: request.compress(recipe, data, silent), judge, job.folder,
        identity_of(request, data, job.scenes),
    )[0]  # fmt: skip


@lru_cache(maxsize=1)
def _open_parent(checkpoint: Path, sha256: str, sources: Sources) -> tuple[Request, SpeechData]:
    torch.set_num_threads(1)
    parent = find_parent(str(find_weights(checkpoint, sha256)))
    return Request(parent, Recipe(), sources), open_data(parent, sources)


def _rows_on_cluster(
    request: Request, recipes: list[tuple[str, Recipe]], scenes: Path | None, out: Path, progress: Progress,
    cluster: Cluster,
) -> list[Row]:  # fmt: skip
    """Rows in the order of the recipes."""
    parent, where = request.parent, request.sources
    open_data(parent, where, progress)  # packs and rooms are made once, before many workers want them
    speech, noise, measured, config = map(_absolute, (where.speech, where.noise, where.measured, where.config))
    sources = Sources(speech, noise, measured, where.n_rooms, config, where.cache.absolute(), where.jobs)
    checkpoint = parent.checkpoint.absolute()
    work = [
        RowJob(
            label, recipe, checkpoint, hash_file(checkpoint), sources, request.hop_seconds, _absolute(scenes),
            (out / "rows").absolute(),
        )
        for label, recipe in recipes
    ]  # fmt: skip
    rows: dict[int, Row] = {}
    for job, row in run_on_cluster(make_row, work, cluster, [checkpoint]):
        if isinstance(row, WorkerDied):
            raise QuietmicError(f"{job.label}, seed {job.recipe.seed}: {row.reason}")
        rows[work.index(job)] = row
        progress("compressing", len(rows), len(work), job.label)
    return [rows[i] for i in range(len(work))]


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


def compare_criteria(
    request: Request,
    criteria: Sequence[str],
    seeds: Sequence[int],
    scenes: Path | None,
    out: Path,
    cluster: Cluster | None = None,
    progress: Progress = silent,
) -> Path:
    """The table of rivals at one budget and as many batches each; writes OUT/criteria.md and .json.

    Returns:
        The path of the Markdown; the figures lie beside it.
    """
    recipes = [(name, for_criterion(request.recipe, name, seed)) for name in criteria or CRITERIA for seed in seeds]
    run = partial(_rows_on_cluster, cluster=cluster) if cluster else _run_table
    rows = run(request, recipes, scenes, out, progress)
    return _write_table(rows, out / "criteria.md", "criterion")


def sweep(
    request: Request,
    over: str,
    values: Sequence[str],
    seeds: Sequence[int],
    scenes: Path | None,
    out: Path,
    progress: Progress = silent,
) -> Path:
    """One compression per value; writes OUT/sweep-OVER.md, .json and .png.

    Returns:
        The path of the Markdown; the figures lie beside it.
    """
    recipes = [
        (value, replace(for_value(request.recipe, over, value), seed=seed)) for value in values for seed in seeds
    ]
    rows = _run_table(request, recipes, scenes, out, progress)
    path = _write_table(rows, out / f"sweep-{over}.md", over)
    draw_sweep(rows, over, out / f"sweep-{over}.png")
    return path


def _write_table(rows: list[Row], path: Path, first: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_markdown(rows, first), encoding="utf-8")
    write_json({"rows": to_json(rows), "summary": summary(rows), "paired": paired(rows)}, path.with_suffix(".json"))
    return path
