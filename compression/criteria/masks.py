"""LSTM pruning of Lai 2022 (chapter 4): eight mask vectors per layer, column by column; nothing is removed.

Each of W_x{i,f,g,o} and W_h{i,f,g,o} gets one learned gate per column. Columns multiplied by
gates near zero make a matrix nearly low rank, which the SVD of `lowrank.factor_gates` then turns into time.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quietmic.compression.criteria.allocate import best
from quietmic.compression.criteria.gates import GateSchedule, GateTarget, pull_each, train_gates
from quietmic.compression.criteria.influence import mean_influences
from quietmic.compression.structure.surgery import Gates
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent

GATES = "ifgo"


def lstm_layers(model: nn.Module) -> dict[str, nn.LSTM]:
    """LSTM layers of one direction and one layer each, by path."""
    return {
        path: m for path, m in model.named_modules()
        if isinstance(m, nn.LSTM) and m.num_layers == 1 and not m.bidirectional and not m.proj_size
    }  # fmt: skip


def mask_names(path: str) -> list[tuple[str, str, int]]:
    """(name of the mask, full parameter name, number of the gate) of the eight masks of a layer."""
    return [
        (f"{path}.W_{side}{gate}", f"{path}.weight_{part}_l0", index)
        for side, part in (("x", "ih"), ("h", "hh"))
        for index, gate in enumerate(GATES)
    ]


def masked_weights(model: nn.Module, masks: Gates) -> dict[str, Tensor]:
    """Input and recurrent weights of every LSTM with their columns multiplied by masks, gate by gate."""
    result = {}
    for path in lstm_layers(model):
        for part in ("ih", "hh"):
            name = f"{path}.weight_{part}_l0"
            columns = [masks[mask] for mask, parameter, _ in mask_names(path) if parameter == name]
            weight = model.get_parameter(name)
            stacked = torch.stack(columns)[:, None, :]  # [4, 1, n_in]
            result[name] = (weight.view(4, -1, weight.shape[1]) * stacked).view_as(weight)
    return result


def _features(mask: str, parameter: str, gate: int) -> Callable[[dict[str, Tensor]], Tensor]:
    def read(influences: dict[str, Tensor]) -> Tensor:
        block = influences[parameter].chunk(4)[gate]
        own = influences.get(f"gate:{mask}", block.sum(0))
        return torch.stack([own, block.sum(0), block.amax(0)], 1)

    return read


def prune_columns(
    model: nn.Module, task: Task, ratio: float, schedule: GateSchedule, progress: Progress = silent
) -> tuple[Gates, tuple[str, ...]]:
    """Learns the eight masks of every LSTM layer with fine-tuning, then multiplies them into the weights, in place.

    Args:
        ratio: fraction of the columns to keep, the same in each matrix.
        schedule: of the training (a beta of 0.15 was best for the LSTM of Lai 2022).

    Returns:
        Masks as multiplied in (0 for columns that went), and notes.

    Raises:
        QuietmicError: the network has no LSTM that masks fit.
    """
    names = [entry for path in lstm_layers(model) for entry in mask_names(path)]
    if not names:
        raise QuietmicError(
            "the network has no LSTM of one direction: set prune.method = 'units' in the recipe", exit_code=2
        )
    start = mean_influences(model, task)
    for mask, parameter, gate in names:
        start[f"gate:{mask}"] = start[parameter].chunk(4)[gate].sum(0)
    targets = [
        GateTarget(mask, model.get_parameter(parameter).shape[1], _features(mask, parameter, gate))
        for mask, parameter, gate in names
    ]
    logits = train_gates(
        model,
        targets,
        lambda masks: masked_weights(model, masks),
        pull_each({t.name: ratio for t in targets}, {t.name: 1.0 for t in targets}),
        task,
        schedule,
        start,
        progress,
    )
    masks = {}
    for name, values in logits.items():
        kept = best(values, max(1, round(ratio * len(values))))
        masks[name] = kept * values.sigmoid().clamp(min=0.5)
    with torch.no_grad():
        for name, weight in masked_weights(model, masks).items():
            model.get_parameter(name).copy_(weight)
    off = sum(int((m == 0).sum()) for m in masks.values()) / sum(len(m) for m in masks.values())
    return masks, (f"{off:.0%} of the columns of the LSTM matrices are zero; nothing is removed yet",)
