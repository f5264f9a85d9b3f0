"""What is compressed, how and from which data: parent, recipe, budget, sources."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quietmic.compression.cost import Budget, CostModel, RtfModel
from quietmic.compression.criteria.allocate import allocate
from quietmic.compression.criteria.table import find_criterion
from quietmic.compression.criteria.weight_scores import l1_scores
from quietmic.compression.enhancer.speech import (
    EXAMPLE_S,
    HopSeconds,
    SpeechData,
    fresh_like,
    loss,
    operators_of,
    predict,
    rtf_model,
)
from quietmic.compression.enhancer.timing import measure_hop_costs
from quietmic.compression.pipeline import compress
from quietmic.compression.recipe import Recipe, read_recipe
from quietmic.compression.result import CompressionResult
from quietmic.compression.structure.groups import find_groups
from quietmic.enhance.catalogue import WEIGHTS, find_model
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.progress import Progress, silent
from quietmic.models.networks.count import count
from quietmic.models.networks.inputs import example_inputs
from quietmic.models.networks.registry import load_network
from quietmic.models.training.config import read_config
from quietmic.models.training.sources import Sources, open_source

BATCHES_OF_A_SEED = 10**4  # between the first batches of two seeds: no recipe hears as many


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
        """Hash of the ONNX file, or of the checkpoint where there is none; a card names the parent by it."""
        return hash_file(self.onnx or self.checkpoint)


def find_parent(name_or_path: str) -> Parent:
    """A parent by name of the catalogue (its .pt lies beside its .onnx) or by the path of a checkpoint.

    Raises:
        QuietmicError: no checkpoint there.
    """
    path = Path(name_or_path)
    if path.suffix != ".pt":
        path = find_model(name_or_path, WEIGHTS).with_suffix(".pt")
    if not path.is_file():
        raise QuietmicError(
            f"no checkpoint at {path}: `compress` starts from weights that PyTorch can train", exit_code=2
        )
    network, facts = load_network(path)
    onnx = path.with_suffix(".onnx")
    name = path.stem if path.stem.startswith(str(network.family)) else str(network.family)
    return Parent(name, network, path, onnx if onnx.is_file() else None, facts)


def open_data(parent: Parent, sources: Sources, progress: Progress = silent) -> SpeechData:
    """Training scenes for a parent."""
    config = read_config(sources.config, str(parent.network.family))
    source, _ = open_source(sources, config, progress)
    return SpeechData(source, config, parent.network, first=10**6)


@dataclass(frozen=True)
class Request:
    """What is to be compressed, how, and on which data: shared by the three commands."""

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

    def compress(
        self, recipe: Recipe, data: SpeechData, progress: Progress, folder: Path | None = None
    ) -> CompressionResult:
        """One compression of the parent; every seed has scenes of its own, for scores as for training."""
        own = data.skip(recipe.seed * BATCHES_OF_A_SEED)
        return compress(
            self.parent.network, example_inputs, loss, own, recipe, predict=predict, seconds=EXAMPLE_S, rtf=self.rtf,
            folder=folder, progress=progress, build=fresh_like(self.parent.network),
        )  # fmt: skip

    def predicted_rtf(self, result: CompressionResult) -> float | None:
        """RTF of a result by the board's cost model, None without a board."""
        rtf = self.rtf
        return rtf and rtf(count(result.model, example_inputs(result.model)).layers, EXAMPLE_S)


def predict_costs(request: Request) -> dict[str, Any]:
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
    scores = l1_scores(model, structure, example_inputs)
    kept = allocate(
        scores, costs, recipe.prune_budget(), recipe.prune.ratios, recipe.prune.floor, round_to=recipe.prune.round_to
    )
    rows["cut"] = {kind: costs.cost(kind, kept) for kind in kinds}
    notes = []
    if recipe.prune.ratios in ("auto", "global", "learned") and recipe.prune.criterion not in ("l1", "scratch"):
        notes.append("widths by the weights alone: those of the criterion need data and will differ")
    if recipe.lowrank.by == "budget":
        notes.append(f"low rank then takes it down to {recipe.budget}")
    return rows | {"notes": notes}


def make_request(
    model: str, recipe: Path, budget: Budget | None, sources: Sources, hop_seconds: HopSeconds | None
) -> Request:
    """Parent and recipe found, or an error before anything is read.

    A budget of RTF without a board's costs is one on this machine, whose costs are measured then.
    """
    torch.set_num_threads(sources.jobs)
    parent, what = find_parent(model), read_recipe(recipe).with_budget(budget)
    if hop_seconds is None and what.budget and any(part.kind == "rtf" for part in what.budget.parts()):
        hop_seconds = measure_hop_costs(parent.network).hop_seconds
    return Request(parent, what, sources, hop_seconds)
