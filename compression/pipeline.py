"""A recipe from end to end: decide, cut, fine-tune, factor, fine-tune again. See docs/compression.md for an example."""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.checkpoint import Checkpoints, state_of
from quietmic.compression.cost import Budget, CostModel, Meter, RtfModel
from quietmic.compression.criteria.allocate import TOLERANCE
from quietmic.compression.criteria.blocks import remove_blocks, without_block
from quietmic.compression.criteria.context import Context, Decision
from quietmic.compression.criteria.gates import GateSchedule
from quietmic.compression.criteria.masks import prune_columns
from quietmic.compression.criteria.table import find_criterion
from quietmic.compression.factor.lowrank import choose_ranks, factor, ranks_for_budget, uncalled_layers
from quietmic.compression.factor.quantize import share_weights, sparse_bytes
from quietmic.compression.finetune import distilled, finetune
from quietmic.compression.fresh import drawn_anew
from quietmic.compression.recipe import Recipe
from quietmic.compression.result import CompressionResult, StepFigures
from quietmic.compression.schedules import gradual_budgets, soft_finetune
from quietmic.compression.split import settle_share
from quietmic.compression.structure.check import Cut, checked_cut, fit_groups
from quietmic.compression.structure.groups import Structure, find_groups
from quietmic.compression.structure.plain import check_finite, plain_weights
from quietmic.compression.structure.rnn import split_layers
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent
from quietmic.models.networks.count import count
from quietmic.models.networks.fold import fold_norms
from quietmic.models.networks.run import Example, copied
from quietmic.models.training.folder import one_run


def compress(
    model: nn.Module,
    example_inputs: Example,
    loss: Callable[[nn.Module, Any], Tensor],
    data: Iterable[Any] | None,
    recipe: Recipe,
    *,
    predict: Callable[[nn.Module, Any], Tensor] | None = None,
    distance: str = "energy",
    seconds: float = 1.0,
    rtf: RtfModel | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
    build: Callable[[], nn.Module] | None = None,
) -> CompressionResult:
    """Compresses a trained network by a recipe. Each phase of training hears the batches after those of the one before.

    Args:
        model: the parent; it is not changed.
        example_inputs: arguments of its forward: a tuple, a mapping of keyword arguments, one bare tensor, or a
            callable that makes them from a network (states whose shape depends on its widths).
        loss: (network, batch) -> scalar.
        data: batches, iterated again and again (see `Task`). What they depend on may stand in an attribute `identity`,
            as plain values; `folder` then refuses other data.
        recipe: what to do.
        predict: (network, batch) -> outputs, for distillation and the criterion `curl`.
        distance: "kl" where these are scores of classes, else "energy".
        seconds: signal time of the example inputs; MACs are counted per second of it.
        rtf: cost model of a machine, for budgets of real-time factor.
        folder: keeps what each step gave; a second call with the same recipe, parent and data goes on from there.
        progress: called after each batch of training.
        build: makes the parent with the weights that its training started from, for the criterion `scratch`; without
            it the layers' own defaults are drawn.

    Returns:
        The smaller network with the figures of each step.

    Raises:
        QuietmicError: a budget out of reach, nothing to cut, missing data, figures not finite, a folder in use.
    """

    def run(wanted: Recipe, where: Path | None) -> CompressionResult:
        task = Task(loss, data, predict, distance, wanted.n_calibration)
        with one_run(where) if where else nullcontext():
            return _Run(model, example_inputs, task, wanted, seconds, rtf, where, progress, build).run()

    return run(settle_share(recipe, folder, run), folder)


class _Run:
    """One compression: the network as it stands, and the figures so far."""

    def __init__(
        self, parent: nn.Module, example_inputs: Any, task: Task, recipe: Recipe,
        seconds: float, rtf: RtfModel | None, folder: Path | None, progress: Progress,
        build: Callable[[], nn.Module] | None,
    ) -> None:  # fmt: skip
        recipe.check_budgets(has_rtf=rtf is not None)
        torch.manual_seed(recipe.seed)
        self.parent = plain_weights(parent)
        check_finite(self.parent)
        self.model = split_layers(copied(self.parent))
        self.example_inputs, self.task, self.recipe = example_inputs, task, recipe
        self.seconds, self.rtf, self.progress, self.build = seconds, rtf, progress, build
        self.checkpoints = Checkpoints(folder, recipe, parent, getattr(task.data, "identity", None))
        weight = recipe.finetune.distil
        self.tuning = distilled(task, self.parent, weight, recipe.finetune.temperature) if weight else task
        self.heard = 0  # batches that the phases so far have trained on, by the recipe: resumed runs count alike
        self.steps: list[StepFigures] = []
        self.gone: list[str] = []
        self.whole: dict[str, int] = {}
        self.kept: list[dict[str, Tensor]] = []
        self.left_alone: tuple[str, ...] = ()
        self.masks: dict[str, Tensor] = {}
        self.factored: tuple = ()
        self.meter = Meter(example_inputs, seconds, rtf)
        self.started = time.monotonic()

    def run(self) -> CompressionResult:
        self._note("parent")
        self._blocks()
        if self.recipe.prune.method == "units":
            self._units()
        elif self.recipe.prune.method == "lstm-masks":
            self._lstm_masks()
        self._low_rank()
        storage = self._storage()
        return CompressionResult(
            self.model.eval(), self.recipe, tuple(self.steps), tuple(self.kept), self.factored, self.left_alone,
            self.masks, storage,
        )  # fmt: skip

    def _note(self, name: str, notes: tuple[str, ...] = ()) -> None:
        """Writes down the figures of the network as it stands, and first what they do not count."""
        figures = count(self.model, self.example_inputs)
        notes += tuple(f"products of layer '{n}' are not counted" for n in figures.not_counted if not self.steps)
        n_parameters = figures.parameters - sum(int((mask == 0).sum()) for mask in self.masks.values())
        loss = self.task.mean_loss(self.model) if self.task.data is not None else float("nan")
        now, macs = time.monotonic(), figures.macs / self.seconds
        self.steps.append(StepFigures(name, n_parameters, macs, loss, now - self.started, notes))
        self.started = now

    def _blocks(self) -> None:
        if not self.recipe.prune.blocks:
            return

        def work() -> dict[str, Any]:
            n_blocks = self.recipe.prune.blocks
            return {"gone": list(remove_blocks(self.model, self.example_inputs, self.task, n_blocks)[1])}

        self.gone = self.checkpoints.step("blocks", work)["gone"]
        for path in self.gone:
            self.model = without_block(self.model, path, self.example_inputs)
        self._note("blocks removed", (", ".join(self.gone) or "the network has no residual block",))

    def _cuttable(self, structure: Structure) -> Structure:
        """The structure, if there is something to cut; what is left alone is written down."""
        self.left_alone = tuple(dict.fromkeys((*self.left_alone, *structure.left_alone)))
        if not structure.groups:
            reasons = "; ".join(structure.left_alone) or "it has no layer whose units another layer reads"
            raise QuietmicError(f"nothing can be cut from this network: {reasons}")
        return structure

    def _structure(self) -> Structure:
        """What can be cut from the network as it stands; groups whose cut was tried and failed are named."""
        return self._cuttable(fit_groups(self.model, find_groups(self.model, self.example_inputs), self.example_inputs))

    def _costs(self, structure: Structure) -> CostModel:
        return CostModel(self.model, structure, self.example_inputs, self.seconds, self.rtf)

    def _context(self, structure: Structure, budget: Budget, steps: int, done: float = 1.0) -> Context:
        """What the criterion is asked; of the ratios by hand, `done` of the way is gone after this cut."""
        recipe, prune = self.recipe, self.recipe.prune
        ratios = prune.ratios
        if not isinstance(ratios, str):
            ratios = {name: ratio**done for name, ratio in ratios.items()}
        return Context(
            self.model, structure, replace(self.task, heard=self.heard), self._costs(structure), budget, ratios,
            prune.floor, prune.round_to, self.whole, steps, recipe.finetune.lr, prune.beta, recipe.seed, self.progress,
        )  # fmt: skip

    def _units(self) -> None:
        """Cuts units in one or several stages, with fine-tuning behind each."""
        prune, tune = self.recipe.prune, self.recipe.finetune
        structure = self._structure()
        self.whole = {group.name: group.n_units for group in structure.groups}
        budget = self.recipe.prune_budget()
        budgets = (
            gradual_budgets(budget, self._costs(structure), prune.stages) if prune.schedule == "gradual" else [budget]
        )
        if prune.schedule == "soft":
            self._train("soft", tune.steps // 2, partial(self._soft, structure, budget))
        for index, stage in enumerate(budgets):
            suffix = f" {index + 1}" if len(budgets) > 1 else ""
            structure = self._structure() if index else structure
            self._cut(structure, stage, len(budgets), index, suffix)
            steps = tune.steps // (len(budgets) if prune.schedule != "soft" else 2)
            self._train(f"fine-tune{suffix}", steps, self._finetune)
            self._note(f"fine-tuned{suffix}")

    def _cut(self, structure: Structure, budget: Budget, n_stages: int, index: int, suffix: str) -> None:
        """Decides and cuts; what turns out to be no cut is undone, and decided about anew without it."""
        decision = Decision({})
        done: Cut | None = None
        attempt = suffix
        while done is None or done.undone:
            structure = self._cuttable(structure.without(done.undone) if done else structure)
            context = self._context(structure, budget, self.recipe.prune.steps // n_stages, (index + 1) / n_stages)
            decision = self._decide(f"decide{attempt}", context)
            attempt += " again"
            if decision.masks:
                self.masks = decision.masks
                self._hold(0)
                break
            done = checked_cut(self.model, structure, decision.kept, self.example_inputs, decision.gates)
        if done:
            self.model = done.model
            self.kept.append(done.kept)
        self._note_cut(decision, f"cut{suffix}", budget)

    def _decide(self, name: str, context: Context) -> Decision:
        """Asks the criterion; its decision and the weights that it may have trained are kept."""
        criterion = find_criterion(self.recipe.prune.criterion)

        def work() -> dict[str, Any]:
            made = criterion.decide(context)
            return {
                "kept": made.kept, "gates": made.gates, "notes": list(made.notes), "fresh": made.fresh,
                "masks": made.masks, "state": state_of(self.model),
            }  # fmt: skip

        values = self.checkpoints.step(name, work)
        self.model.load_state_dict(values["state"])
        self.heard += context.steps if criterion.trains else 0
        return Decision(values["kept"], values["gates"], tuple(values["notes"]), values["fresh"], values["masks"])

    def _note_cut(self, decision: Decision, name: str, budget: Budget) -> None:
        notes = decision.notes
        if decision.fresh:
            torch.manual_seed(self.recipe.seed)
            self.model = drawn_anew(self.model, self.build, self.gone, self.kept, self.example_inputs)
            notes = (*notes, "weights drawn anew")
        searched = isinstance(self.recipe.prune.ratios, str) and budget.kind != "units" and not decision.masks
        if searched and (spent := self.meter.spent(self.model, budget)) > 1 + TOLERANCE:
            reached = " and ".join(map(str, self.meter.costs(self.model, budget)))
            raise QuietmicError(f"{budget} was not met: the network has {reached}, {spent:.2f} times as much")
        if searched and spent < 1 - TOLERANCE:
            notes = (*notes, f"{spent:.0%} of the budget is used: the next unit, or all there are, would go beyond")
        self._note(name, notes)

    def _storage(self) -> dict[str, Any]:
        """Bytes of forms of storage that hold the network in less: shared values, or single weights that are zero."""
        if self.recipe.share_bits:
            self.model, storage = share_weights(self.model, self.recipe.share_bits)
            self._note("shared", (f"stored as tables and indices: {storage['ratio']:.1%} of the bytes",))
            return storage
        return sparse_bytes(self.model.named_parameters(), self.masks) if self.masks else {}

    def _hold(self, step: int) -> None:
        """Keeps single weights at zero."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.model.get_parameter(name).mul_(mask)

    def _finetune(self, steps: int) -> None:
        finetune(
            self.model, replace(self.tuning, heard=self.heard), steps, self.recipe.finetune.lr, progress=self.progress,
            after_step=self._hold if self.masks else None,
        )  # fmt: skip

    def _soft(self, structure: Structure, budget: Budget, steps: int) -> None:
        decide = find_criterion(self.recipe.prune.criterion).decide
        context, tuning = self._context(structure, budget, 0), replace(self.tuning, heard=self.heard)
        soft_finetune(tuning, context, decide, steps, self.recipe.prune.stages, self.recipe.finetune.lr)

    def _train(self, name: str, steps: int, work: Callable[[int], None]) -> None:
        """Trains the network in place on so many batches, or takes the weights of an earlier run."""

        def trained() -> dict[str, Any]:
            work(steps)
            return state_of(self.model)

        self.model.load_state_dict(self.checkpoints.step(name, trained))
        self.heard += steps

    def _lstm_masks(self) -> None:
        """Column masks (`criteria/masks.py`); the row "pruned" is prune alone, nothing removed."""
        prune, tune = self.recipe.prune, self.recipe.finetune
        notes: list[str] = []

        def work(steps: int) -> None:
            schedule = GateSchedule(steps, tune.lr, prune.beta)
            _, said = prune_columns(self.model, self.task, prune.keep, schedule, self.progress)
            notes.extend(said)

        self._train("masks", prune.steps, work)
        self.masks = {
            name: (p != 0).float() for name, p in self.model.named_parameters() if bool((p == 0).any()) and p.dim() == 2
        }
        self._train("fine-tune", tune.steps, self._finetune)
        self.masks = {}
        self._note("pruned", tuple(notes))

    def _low_rank(self) -> None:
        low, budget = self.recipe.lowrank, self.recipe.budget
        if low.by == "none":
            return
        if self.masks:
            self._note("not factored", ("single weights are zero, which factors would fill again",))
            return
        budget = None if low.by == "thresh" or (budget and budget.kind == "units") else budget
        whole = uncalled_layers(self.model, self.example_inputs)
        if budget:
            ranks = ranks_for_budget(self.model, partial(self.meter.spent, budget=budget), 1.0, low.gates, whole)
        else:
            ranks = choose_ranks(self.model, low.thresh, low.gates, whole)
        self.model = fold_norms(self.model, self.example_inputs, set(ranks))
        self.model, self.factored = factor(self.model, ranks)
        if budget and self.meter.spent(self.model, budget) > 1:
            reached = " and ".join(map(str, self.meter.costs(self.model, budget)))
            raise QuietmicError(
                f"{budget} cannot be met by low rank: the least is {reached}; cut units, or more of them"
            )
        self._note("factored", () if ranks else ("no matrix where two factors would save multiplications",))
        if ranks:
            self._train("fine-tune factored", self.recipe.finetune.steps // 2, self._finetune)
            self._note("fine-tuned factored")
