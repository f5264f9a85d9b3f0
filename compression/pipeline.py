"""A recipe from end to end: decide, cut, fine-tune, factor, fine-tune again. See docs/compression.md for an example."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compression.blocks import remove_blocks, without_block
from compression.checkpoint import Checkpoints, state_of
from compression.context import Context, Decision
from compression.cost import Budget, CostModel, RtfModel
from compression.count import count
from compression.criteria import find_criterion
from compression.finetune import Progress, distilled, finetune, silent
from compression.fold import fold_norms
from compression.groups import Structure, example, find_groups
from compression.lowrank import choose_ranks, factor, ranks_for_budget
from compression.masks import prune_columns
from compression.recipe import Recipe
from compression.result import CompressionResult, StepFigures
from compression.rnn import split_layers
from compression.schedules import gradual_budgets, soft_finetune
from compression.surgery import cut
from compression.task import Task
from enhance.errors import UserError


def compress(
    model: nn.Module,
    example_inputs: tuple | Callable[[nn.Module], tuple],
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
) -> CompressionResult:
    """Compresses a trained network by a recipe.

    Args:
        model: the parent; it is not changed.
        example_inputs: arguments of its forward, or a callable that makes them from a network (states whose shape
            depends on its widths).
        loss: (network, batch) -> scalar.
        data: batches, iterated again and again.
        recipe: what to do.
        predict: (network, batch) -> outputs, for distillation and the criterion `curl`.
        distance: "kl" where these are scores of classes, else "energy".
        seconds: signal time of the example inputs; MACs are counted per second of it.
        rtf: cost model of a machine, for budgets of real-time factor.
        folder: keeps what each step gave; a second call with the same recipe and parent goes on from there.
        progress: called after each batch of training.

    Returns:
        The smaller network with the figures of each step.

    Raises:
        UserError: a budget that cannot be met, data that are missing, an influence or loss that is not finite.
    """
    task = Task(loss, data, predict, distance, recipe.n_calibration)
    return _Run(model, example_inputs, task, recipe, seconds, rtf, folder, progress).run()


class _Run:
    """One compression: the network as it stands, and the figures so far."""

    def __init__(
        self, parent: nn.Module, example_inputs: Any, task: Task, recipe: Recipe,
        seconds: float, rtf: RtfModel | None, folder: Path | None, progress: Progress,
    ) -> None:  # fmt: skip
        torch.manual_seed(recipe.seed)
        self.parent = copy.deepcopy(parent).eval()
        self.model = split_layers(copy.deepcopy(parent)).eval()
        self.example_inputs, self.task, self.recipe = example_inputs, task, recipe
        self.seconds, self.rtf, self.progress = seconds, rtf, progress
        self.checkpoints = Checkpoints(folder, recipe, parent)
        weight = recipe.finetune.distil
        self.tuning = distilled(task, self.parent, weight, recipe.finetune.temperature) if weight else task
        self.steps: list[StepFigures] = []
        self.kept: list[dict[str, Tensor]] = []
        self.left_alone: tuple[str, ...] = ()
        self.masks: dict[str, Tensor] = {}
        self.factored: tuple = ()
        self.started = time.monotonic()

    def run(self) -> CompressionResult:
        self._note("parent")
        self._blocks()
        if self.recipe.prune.method == "units":
            self._units()
        elif self.recipe.prune.method == "lstm-masks":
            self._lstm_masks()
        self._low_rank()
        return CompressionResult(
            self.model, self.recipe, tuple(self.steps), tuple(self.kept), self.factored, self.left_alone, self.masks
        )

    def _inputs(self) -> tuple:
        return example(self.example_inputs, self.model)

    def _note(self, name: str, notes: tuple[str, ...] = ()) -> None:
        """Writes down the figures of the network as it stands."""
        figures = count(self.model, self._inputs())
        zeros = sum(int((mask == 0).sum()) for mask in self.masks.values())
        loss = self.task.mean_loss(self.model) if self.task.data is not None else float("nan")
        now = time.monotonic()
        macs = figures.macs / self.seconds
        self.steps.append(StepFigures(name, figures.parameters - zeros, macs, loss, now - self.started, notes))
        self.started = now

    def _blocks(self) -> None:
        if not self.recipe.prune.blocks:
            return

        def work() -> dict[str, Any]:
            return {
                "gone": list(remove_blocks(self.model, self.example_inputs, self.task, self.recipe.prune.blocks)[1])
            }

        gone = self.checkpoints.step("blocks", work)["gone"]
        for path in gone:
            self.model = without_block(self.model, path, self._inputs())
        self._note("blocks removed", (", ".join(gone) or "the network has no residual block",))

    def _costs(self, structure: Structure) -> CostModel:
        return CostModel(self.model, structure, self._inputs(), self.seconds, self.rtf)

    def _context(self, structure: Structure, budget: Budget, steps: int) -> Context:
        recipe, prune = self.recipe, self.recipe.prune
        return Context(
            self.model, structure, self.task, self._costs(structure), budget, prune.ratios, prune.floor, steps,
            recipe.finetune.lr, prune.beta, recipe.seed, self.progress,
        )  # fmt: skip

    def _units(self) -> None:
        """Cuts units in one or several stages, with fine-tuning behind each."""
        prune, tune = self.recipe.prune, self.recipe.finetune
        structure = find_groups(self.model, self.example_inputs)
        self.left_alone = structure.left_alone
        budget = self._prune_budget()
        budgets = (
            gradual_budgets(budget, self._costs(structure), prune.stages) if prune.schedule == "gradual" else [budget]
        )
        if prune.schedule == "soft":
            self._train("soft", lambda: self._soft(structure, budget, tune.steps // 2))
        for index, stage in enumerate(budgets):
            suffix = f" {index + 1}" if len(budgets) > 1 else ""
            structure = find_groups(self.model, self.example_inputs)
            decision = self._decide(f"decide{suffix}", structure, stage, prune.steps // len(budgets))
            self._apply(structure, decision, f"cut{suffix}")
            steps = tune.steps // (len(budgets) if prune.schedule != "soft" else 2)
            self._train(f"fine-tune{suffix}", partial(self._finetune, steps))
            self._note(f"fine-tuned{suffix}")

    def _prune_budget(self) -> Budget:
        """The recipe's budget, with what low rank shall take off on top."""
        budget = self.recipe.budget
        if budget is None:
            raise UserError("a recipe that cuts units needs a budget: parameters, MACs, RTF or units", 2)
        if self.recipe.lowrank.by != "budget" or budget.kind == "units":
            return budget
        return budget.times(1 / (1 - self.recipe.lowrank.share))

    def _decide(self, name: str, structure: Structure, budget: Budget, steps: int) -> Decision:
        """Asks the criterion; its decision and the weights that it may have trained are kept."""

        def work() -> dict[str, Any]:
            criterion = find_criterion(self.recipe.prune.criterion)
            made = criterion.decide(self._context(structure, budget, steps))
            return {
                "kept": made.kept, "gates": made.gates, "notes": list(made.notes), "fresh": made.fresh,
                "masks": made.masks, "state": state_of(self.model),
            }  # fmt: skip

        values = self.checkpoints.step(name, work)
        self.model.load_state_dict(values["state"])
        notes = tuple(values["notes"])
        return Decision(values["kept"], values["gates"], {}, notes, values["fresh"], values["masks"])

    def _apply(self, structure: Structure, decision: Decision, name: str) -> None:
        notes = decision.notes
        if decision.masks:
            self.masks = decision.masks
            self._hold(0)
        else:
            self.model = cut(self.model, structure, decision.kept, decision.gates)
            self.kept.append(decision.kept)
        if decision.fresh:
            torch.manual_seed(self.recipe.seed)
            for module in self.model.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
            notes = (*notes, "weights drawn anew")
        self._note(name, notes)

    def _hold(self, step: int) -> None:
        """Keeps single weights at zero."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.model.get_parameter(name).mul_(mask)

    def _finetune(self, steps: int) -> None:
        finetune(
            self.model, self.tuning, steps, self.recipe.finetune.lr, progress=self.progress,
            after_step=self._hold if self.masks else None,
        )  # fmt: skip

    def _soft(self, structure: Structure, budget: Budget, steps: int) -> None:
        decide = find_criterion(self.recipe.prune.criterion).decide
        context = self._context(structure, budget, 0)
        soft_finetune(self.tuning, context, decide, steps, self.recipe.prune.stages, self.recipe.finetune.lr)

    def _train(self, name: str, work: Callable[[], None]) -> None:
        """Trains the network in place, or takes the weights of an earlier run."""

        def trained() -> dict[str, Any]:
            work()
            return state_of(self.model)

        self.model.load_state_dict(self.checkpoints.step(name, trained))
        self.model.eval()

    def _lstm_masks(self) -> None:
        """The seed's column masks; the row "pruned" is prune alone, nothing removed."""
        prune, tune = self.recipe.prune, self.recipe.finetune
        notes: list[str] = []

        def work() -> None:
            _, said = prune_columns(self.model, self.task, prune.keep, prune.steps, tune.lr, prune.beta, self.progress)
            notes.extend(said)
            self.masks = {
                name: (p != 0).float()
                for name, p in self.model.named_parameters()
                if bool((p == 0).any()) and p.dim() == 2
            }
            self._finetune(tune.steps)
            self.masks = {}

        self._train("masks", work)
        self._note("pruned", tuple(notes))

    def _low_rank(self) -> None:
        low, tune = self.recipe.lowrank, self.recipe.finetune
        if low.by == "none":
            return
        budget = self.recipe.budget
        if low.by == "budget" and budget is not None and budget.kind != "units":
            ranks = ranks_for_budget(self.model, lambda m: self._spent(m, budget), 1.0, low.gates)
        else:
            ranks = choose_ranks(self.model, low.thresh, low.gates)
        self.model = fold_norms(self.model, self._inputs(), set(ranks))
        self.model, self.factored = factor(self.model, ranks)
        notes = () if ranks else ("no matrix where two factors would save multiplications",)
        self._note("factored", notes)
        if ranks:
            self._train("fine-tune factored", lambda: self._finetune(tune.steps // 2))
            self._note("fine-tuned factored")

    def _spent(self, model: nn.Module, budget: Budget) -> float:
        """Cost of any network over the budget."""
        figures = count(model, example(self.example_inputs, model))
        costs = {"params": float(figures.parameters), "macs": figures.macs / self.seconds}
        if self.rtf is not None:
            costs["rtf"] = self.rtf(figures.layers, self.seconds)
        return max(costs[part.kind] / part.value for part in budget.parts())
