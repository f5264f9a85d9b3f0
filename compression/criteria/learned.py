"""Criteria that are trained: influence gates (Lai 2022) and AutoPruner (Luo and Wu 2020)."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from quietmic.compression.criteria.allocate import Scores, best
from quietmic.compression.criteria.calibration import watch
from quietmic.compression.criteria.context import Context, Decision
from quietmic.compression.criteria.data_scores import influence_static
from quietmic.compression.criteria.gates import OFF, GateSchedule, GateTarget, pull_each, pull_total, train_gates
from quietmic.compression.criteria.influence import mean_influences, sum_units
from quietmic.compression.structure.groups import Group, Slot
from quietmic.compression.structure.surgery import Kept, gated_weights
from quietmic.models.networks.functional import LayerCalls
from quietmic.models.networks.run import evaluating


def _lambda_weights(context: Context) -> dict[str, float]:
    """What a unit of each group costs in the budget, over the mean, within a factor of four."""
    costs = context.costs.unit_costs(context.budget)
    mean = sum(costs.values()) / len(costs)
    return {name: min(4.0, max(0.25, cost / mean)) for name, cost in costs.items()}


def _learn(
    context: Context,
    static: Scores,
    features: Callable[[Group], Callable[[dict[str, Tensor]], Tensor]],
    schedule: GateSchedule,
    start: dict[str, Tensor] | None = None,
) -> Decision:
    """Trains the gates of all groups and reads them.

    The widths are those that the static influences give, or, with the ratios "learned", those of the most open gates of
    the network: one penalty then stands on the cost of all.
    """
    model, structure, learned = context.model, context.structure, context.ratios == "learned"
    widths: Kept = {} if learned else context.allocate(static)
    penalty = (
        pull_total(context.costs, context.budget) if learned
        else pull_each({name: float(mask.float().mean()) for name, mask in widths.items()}, _lambda_weights(context))
    )  # fmt: skip
    targets = [GateTarget(group.name, group.n_units, features(group)) for group in structure.groups]
    logits = train_gates(
        model, targets, lambda values: gated_weights(model, structure, values), penalty, context.task, schedule, start,
        context.progress,
    )  # fmt: skip
    widths = widths or context.allocate(logits)
    return _read({name: best(values, int(widths[name].sum())) for name, values in logits.items()}, logits)


def _read(kept: Kept, logits: dict[str, Tensor]) -> Decision:
    """The values of the gates that stay go into the weights."""
    gates = {name: values.sigmoid() for name, values in logits.items()}
    n = sum(len(gate) for gate in gates.values())
    soft = sum(int(((gate > OFF) & (gate < 1 - OFF)).sum()) for gate in gates.values()) / n
    turned = sum(int(((gates[name] > 0.5) != kept[name]).sum()) for name in gates) / n
    notes = (f"{soft:.1%} of the gates were not yet binary; the budget turned {turned:.1%} of them over",)
    # A unit that the budget brings back starts at half: at its gate's zero it would be read by nobody.
    values = {name: kept[name] * gate.clamp(min=0.5) for name, gate in gates.items()}
    return Decision(kept, values, notes)


def influence(context: Context) -> Decision:
    """Learned gates on mask gradients; widths by influence per unit of cost (see gates.py)."""
    static, _ = influence_static(context)
    gates = {f"gate:{name}": score for name, score in static.items()}
    start = mean_influences(context.model, context.task) | gates

    def features(group: Group) -> Callable[[dict[str, Tensor]], Tensor]:
        def read(influences: dict[str, Tensor]) -> Tensor:
            made = sum_units(group, influences, group.makes())
            return torch.stack([influences[f"gate:{group.name}"], sum_units(group, influences, group.reads()), made], 1)

        return read

    return _learn(context, static, features, GateSchedule(context.steps, context.lr, context.beta), start)


def _pooled(pooled: dict[str, Tensor], group: Group, influences: dict[str, Tensor]) -> Tensor:
    """Pooled activations of a group in place of its influences."""
    return pooled[group.name]


def autopruner(context: Context) -> Decision:
    """Gates from pooled activations (mean and maximum over batch and positions) through a learner.

    The activations are those of the batch before, which leaves one forward pass a step; beta follows how many gates
    are binary already (`gates.next_beta`).
    """
    model, structure = context.model, context.structure
    pooled: dict[str, Tensor] = {}

    def seen(group: Group, slot: Slot, maps: Tensor) -> None:
        share = group.per_unit(slot, torch.ones(len(slot.units)))
        top = group.per_unit(slot, maps.detach().abs().amax((0, 2))) / share
        pooled[group.name] = torch.stack([group.per_unit(slot, maps.detach().abs().mean((0, 2))) / share, top], 1)

    static, _ = influence_static(context)
    handles = watch(model, structure, seen)
    schedule = GateSchedule(context.steps, context.lr, context.beta, adaptive=True)
    try:
        with LayerCalls(model):
            with torch.no_grad(), evaluating(model):
                context.task.scalar(model, context.task.calibration()[0])
            return _learn(context, static, lambda group: partial(_pooled, pooled, group), schedule)
    finally:
        for handle in handles:
            handle.remove()
