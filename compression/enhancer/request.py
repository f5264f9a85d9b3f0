"""The command `compress` for the enhancers: paths and options in, ONNX files, cards and a record out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from quietmic.compression.cost import Budget, CostModel, RtfModel
from quietmic.compression.criteria.allocate import allocate
from quietmic.compression.criteria.table import find_criterion
from quietmic.compression.criteria.weight_scores import l1_of
from quietmic.compression.enhancer.speech import (
    EXAMPLE_S,
    STFT,
    HopSeconds,
    SpeechData,
    example_inputs,
    fresh_like,
    loss,
    measured_rtf,
    operators_of,
    predict,
    real_frames,
    rtf_model,
)
from quietmic.compression.factor.quantize import quantize_onnx
from quietmic.compression.picture import draw_result
from quietmic.compression.pipeline import compress
from quietmic.compression.recipe import Recipe, read_recipe
from quietmic.compression.result import CompressionResult
from quietmic.compression.structure.count import count
from quietmic.compression.structure.groups import find_groups
from quietmic.enhance.card import ModelCard
from quietmic.enhance.catalogue import WEIGHTS, find_model
from quietmic.enhance.errors import UserError
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure.records import hash_file, write_record
from quietmic.enhance.network import OnnxNetwork
from quietmic.models.export import add_to_index, write_card
from quietmic.models.networks.registry import load_network
from quietmic.models.publish import card_data, measure_into_card, open_source, write_model
from quietmic.models.training.config import read_config


@dataclass(frozen=True)
class Sources:
    """Where training scenes come from: folders, room responses, cache, and the TOML file of the training."""

    speech: Path | None
    noise: Path | None
    measured: Path | None
    rooms: int
    config: Path | None
    cache: Path
    jobs: int


@dataclass(frozen=True)
class Parent:
    """An uncompressed enhancer: network, checkpoint, and its ONNX file where there is one."""

    name: str
    network: nn.Module
    checkpoint: Path
    onnx: Path | None
    facts: dict[str, Any]

    @property
    def sha256(self) -> str:
        return hash_file(self.onnx or self.checkpoint)


def find_parent(name_or_path: str) -> Parent:
    """A parent by name of the catalogue (its .pt lies beside its .onnx) or by the path of a checkpoint.

    Raises:
        UserError: no checkpoint there.
    """
    path = Path(name_or_path)
    if path.suffix != ".pt":
        path = find_model(name_or_path, WEIGHTS).with_suffix(".pt")
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: `compress` starts from weights that PyTorch can train", 2)
    network, facts = load_network(path)
    onnx = path.with_suffix(".onnx")
    name = path.stem if path.stem.startswith(str(network.family)) else str(network.family)
    return Parent(name, network, path, onnx if onnx.is_file() else None, facts)


def parse_amount(text: str) -> float:
    """A number with an optional k, M or G: "0.81M" -> 810000."""
    scale = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower(), 1.0)
    try:
        return float(text[:-1] if scale != 1.0 else text) * scale
    except ValueError:
        raise UserError(f"'{text}' is no amount: write 810000, 810k or 0.81M", 2) from None


def find_budget(parameters: str | None, macs: str | None, rtf: float | None) -> Budget | None:
    """The budgets of the options; where several are given, all must hold."""
    budget: Budget | None = None
    for kind, value in (("params", parameters), ("macs", macs), ("rtf", rtf)):
        if value is not None:
            budget = Budget(kind, parse_amount(str(value)), budget)
    return budget


def open_data(parent: Parent, sources: Sources) -> SpeechData:
    """Training scenes for a parent."""
    if sources.speech is None or sources.noise is None:
        raise UserError("this recipe needs data and there is none: give --speech and --noise", 2)
    config = read_config(sources.config, str(parent.network.family))
    source, _ = open_source(
        sources.speech, sources.noise, sources.measured, sources.rooms, config, sources.cache, sources.jobs
    )
    return SpeechData(source, config, parent.network, first=10**6)


class Bar:
    """Progress of training: one bar per stage on a terminal, else a line each tenth of a stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True))
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bar:
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, stage: str, step: int, steps: int, value: float) -> None:
        if not self._progress.console.is_terminal:
            if step % max(1, steps // 10) == 0:
                click.echo(f"{stage}: {step} of {steps} batches, loss {value:.3f}", err=True)
            return
        if stage not in self._tasks or step == 1:
            self._tasks[stage] = self._progress.add_task(stage, total=steps)
        self._progress.update(self._tasks[stage], completed=step, description=f"{stage} (loss {value:.3f})")


@dataclass(frozen=True)
class Request:
    """What the commands share."""

    parent: Parent
    recipe: Recipe
    sources: Sources
    hop_seconds: HopSeconds | None = None

    @property
    def rtf(self) -> RtfModel | None:
        """RTF on the board, with as many operators as the parent's graph has; None without a board."""
        if self.hop_seconds is None:
            return None
        return rtf_model(self.hop_seconds, operators_of(self.parent.onnx) if self.parent.onnx else None)

    def compress(self, recipe: Recipe, data: SpeechData, bar: Bar, folder: Path | None = None) -> CompressionResult:
        """One compression of the parent."""
        return compress(
            self.parent.network, example_inputs, loss, data, recipe, predict=predict, seconds=EXAMPLE_S, rtf=self.rtf,
            folder=folder, progress=bar, build=fresh_like(self.parent.network),
        )  # fmt: skip

    def predicted_rtf(self, result: CompressionResult) -> float | None:
        """RTF of a result by the board's cost model, None without a board."""
        rtf = self.rtf
        return rtf and rtf(count(result.model, example_inputs(result.model)).layers, EXAMPLE_S)


def dry_run(request: Request) -> dict[str, Any]:
    """Predicted parameters, MACs and RTF ("params", "macs", "rtf") of the parent and after the cut, and notes.

    No data are read: where the recipe spreads units over the groups by scores, sums of weights stand in for them.
    """
    model, recipe, rtf = request.parent.network, request.recipe, request.rtf
    structure = find_groups(model, example_inputs)
    costs = CostModel(model, structure, example_inputs(model), EXAMPLE_S, rtf)
    kinds = ("params", "macs", *(("rtf",) if rtf else ()))
    rows: dict[str, Any] = {"parent": {kind: costs.cost(kind, costs.everything()) for kind in kinds}}
    if recipe.prune.method != "units" or not find_criterion(recipe.prune.criterion).cuts:
        return rows | {"notes": ["nothing is cut by this recipe, and low rank is not predicted"]}
    scores = {group.name: l1_of(group, model) for group in structure.groups}
    kept = allocate(scores, costs, recipe.prune_budget(), recipe.prune.ratios, recipe.prune.floor)
    rows["cut"] = {kind: costs.cost(kind, kept) for kind in kinds}
    notes = []
    if recipe.prune.ratios in ("auto", "global") and recipe.prune.criterion not in ("l1", "scratch"):
        notes.append("widths by the weights alone: those of the criterion need data and will differ")
    if recipe.lowrank.by == "budget":
        notes.append(f"low rank then takes it down to {recipe.budget}")
    return rows | {"notes": notes}


def make_request(
    model: str, recipe: Path, budget: Budget | None, sources: Sources, hop_seconds: HopSeconds | None
) -> Request:
    """Parent and recipe found, or an error before anything is read."""
    torch.set_num_threads(sources.jobs)
    return Request(find_parent(model), read_recipe(recipe).with_budget(budget), sources, hop_seconds)


def run_compress(
    request: Request, out: Path, name: str | None, scenes: Path | None, list_it: bool, dry: bool, json_path: str | None
) -> None:
    """Compresses, exports, quantises, measures; writes OUT, a checkpoint, the int8 form, a picture and a record."""
    if dry:
        rows = dry_run(request)
        write_json(rows, json_path) if json_path else _print_rows(rows)
        return
    parent, recipe = request.parent, request.recipe
    name = name or f"{parent.network.family}-{recipe.name}"
    if not name.startswith(str(parent.network.family)):
        raise UserError(f"the name must begin with the network's family: {parent.network.family}...", 2)
    data = open_data(parent, request.sources)
    with Bar() as bar:
        result = request.compress(recipe, data, bar, out.parent / f"{out.stem}.steps")
    compression = describe_compression(request, result)
    facts = card_data(parent.facts)
    card = ModelCard(
        name=name, stft=STFT, max_mics=8, look_ahead=0, parameters=0, macs_per_second=0, training_data=facts,
        **compression,
    )  # fmt: skip
    write_model(result.model, card, facts | {"compression": compression}, out, scenes)
    files: dict[str, dict[str, Any]] = {
        "float32": {"path": str(out), "bytes": out.stat().st_size, "rtf": measured_rtf(out)}
    }
    if recipe.quantize != "none":
        target = out.with_name(f"{out.stem}-int8.onnx")
        report = quantize_onnx(out, target, recipe.quantize, real_frames(out, data))
        write_card(target, replace(OnnxNetwork(target).card, name=f"{name}-int8", metrics={}))
        if scenes:
            measure_into_card(target, scenes)
        files["int8"] = {"path": str(target), **asdict(report), "rtf": measured_rtf(target)}
    if list_it:
        for form, file in files.items():
            add_to_index(Path(file["path"]), f"{name}-int8" if form == "int8" else name)
    draw_result(result, out.with_suffix(".png"))
    figures = result.to_dict() | {"files": files, "rtf_predicted": request.predicted_rtf(result)}
    figures["ratios"] = survey_ratios(parent, result, files["float32"])
    record = write_record("compress", figures, model=name, parent=parent.name, parent_sha256=parent.sha256)
    for step in result.steps:
        click.echo(
            f"{step.name:24} {step.parameters / 1e6:7.3f}M  {step.macs_per_second / 1e6:9.1f}M MACs/s  "
            f"loss {step.loss:.4f}  {step.seconds:.0f} s  {'; '.join(step.notes)}", err=json_path is not None,
        )  # fmt: skip
    click.echo(f"{out}\n{record}", err=json_path is not None)
    if json_path:
        write_json(figures, json_path)


def survey_ratios(parent: Parent, result: CompressionResult, file: dict[str, Any]) -> dict[str, Any]:
    """Compressed over original: parameters, MACs, storage, latency, and their plain mean (Yin et al., section 3.1).

    Storage and latency need the parent's ONNX file; energy is not measured (None), and a dense file has no index.
    """
    ratios: dict[str, Any] = dict(result.ratios())
    if parent.onnx:
        ratios["storage"] = file["bytes"] / parent.onnx.stat().st_size
        ratios["latency"] = file["rtf"] / measured_rtf(parent.onnx)
    return {**ratios, "mean": sum(ratios.values()) / len(ratios), "energy": None}


def _print_rows(rows: dict[str, Any]) -> None:
    for note in rows.pop("notes"):
        click.echo(note, err=True)
    for name, row in rows.items():
        click.echo(f"{name:12} " + "  ".join(str(Budget(kind, value)) for kind, value in row.items()))


def describe_compression(request: Request, result: CompressionResult) -> dict[str, Any]:
    """Parent, its hash, and the recipe with every step's figures; of a network compressed before, what that told."""
    told: dict[str, Any] | None = request.parent.facts.get("compression")
    steps = result.to_dict()["steps"]
    if told is None:
        recipe = {**request.recipe.to_dict(), "steps": steps}
        return {"parent": request.parent.name, "parent_sha256": request.parent.sha256, "recipe": recipe}
    then = [*told["recipe"].get("then", []), {**request.recipe.to_dict(), "steps": steps}]
    return {**told, "recipe": {**told["recipe"], "then": then}}
