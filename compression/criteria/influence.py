"""Influence of weights and units on the loss: the gradient of a mask on the weights.

Every weight W gets a mask M of ones and is used as W * M. The empirical influence function of a weight on the loss L
is the gradient of its mask, I = dL/dM at M = 1, which back-propagation gives as W * dL/dW (Lai, Nanjing University
2022: "Inf-CP: a reliable channel pruning based on channel influence"). A gate on a unit is one mask shared by all
columns that read it, so that a unit's influence is the sum of I over these columns: what the loss changes, to first
order, per fraction of the unit that is taken away (with the sign turned). A unit that nobody reads has none.

First-order influence is signed, and terms cancel: averaged over all data it vanishes at a minimum of the loss. What
counts is therefore its size on single batches, averaged over batches.
"""

from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.structure.groups import Group, Slot, Structure
from quietmic.compression.structure.swap import swapped
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.run import evaluating


def mask_gradients(model: nn.Module, task: Task, batch: Any) -> dict[str, Tensor]:
    """I = W * dL/dW of every parameter on one batch.

    Args:
        model: the network; its influences are those in evaluation mode.

    Returns:
        Full parameter name -> influence of each weight, shape of the parameter.

    Raises:
        QuietmicError: an influence is not finite; the message names the layer.
    """
    # Copies that want gradients: a frozen layer reads units as a free one does.
    weights = {
        n: p.detach().requires_grad_() for n, p in model.named_parameters() if p.is_floating_point() or p.is_complex()
    }
    with torch.enable_grad(), evaluating(model), swapped(model, weights):
        loss = task.scalar(model, batch)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    result = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        influence = torch.zeros_like(weight) if gradient is None else weight.detach().conj() * gradient
        influence = influence.real  # of a complex weight, too: a mask is a real number
        if not influence.isfinite().all():
            raise QuietmicError(
                f"the influence of layer '{name.rpartition('.')[0]}' ({name}) is not finite; loss {loss.item()}"
            )
        result[name] = influence
    return result


def along_slot(values: Tensor, slot: Slot) -> Tensor:
    """Sum of a tensor over all axes but the slot's, [size]."""
    return values.movedim(slot.axis, 0).reshape(values.shape[slot.axis], -1).sum(1)


def unit_influence(group: Group, influences: dict[str, Tensor]) -> Tensor:
    """Signed influence of each unit of a group, [n_units]: the gradient of its gate at 1."""
    return sum_units(group, influences, group.reads())


def sum_units(group: Group, values: dict[str, Tensor], slots: list[Slot]) -> Tensor:
    """Sum of per-weight values over what belongs to each unit in some slots, [n_units]."""
    total = torch.zeros(group.n_units)
    for slot in slots:
        if slot.name in values:
            total = total + group.per_unit(slot, along_slot(values[slot.name], slot)).cpu()
    return total


def batch_influences(model: nn.Module, structure: Structure, task: Task) -> dict[str, Tensor]:
    """Signed influence of every unit on every calibration batch: group -> [n_batches, n_units]."""
    rows: dict[str, list[Tensor]] = {group.name: [] for group in structure.groups}
    for batch in task.calibration():
        influences = mask_gradients(model, task, batch)
        for group in structure.groups:
            rows[group.name].append(unit_influence(group, influences))
    return {name: torch.stack(values) for name, values in rows.items()}


def mean_influences(model: nn.Module, task: Task) -> dict[str, Tensor]:
    """Size of every weight's influence, averaged over the calibration batches: parameter -> its shape."""
    batches = task.calibration()
    means: dict[str, Tensor] = {}
    for batch in batches:
        for name, value in mask_gradients(model, task, batch).items():
            means[name] = means.get(name, 0) + value.abs() / len(batches)
    return means


def smooth(old: dict[str, Tensor] | None, new: dict[str, Tensor], momentum: float = 0.9) -> dict[str, Tensor]:
    """Running mean of influences over batches: a single batch is noisy."""
    if old is None:
        return new
    return old | {name: momentum * old.get(name, value) + (1 - momentum) * value for name, value in new.items()}
