"""What passes through the units on real data: the inputs of every layer that reads them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from quietmic.compression.structure.groups import Group, Slot, Structure
from quietmic.compression.task import Task
from quietmic.models.networks.count import CONVOLUTIONS, RNNS, TRANSPOSED
from quietmic.models.networks.functional import LayerCalls
from quietmic.models.networks.run import evaluating

Seen = Callable[[Group, Slot, Tensor], None]  # activations [n_samples, size, n_positions] of one call of a layer


def as_maps(module: nn.Module, value: Tensor) -> Tensor:
    """Inputs or outputs of a layer as [n_samples, n_channels, n_positions]."""
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        value = value if value.dim() == len(module.kernel_size) + 2 else value.unsqueeze(0)
        return value.flatten(2)
    if isinstance(value, PackedSequence):
        value = value.data
    if isinstance(module, RNNS) and value.dim() == 3:
        return value.permute(0, 2, 1) if module.batch_first else value.permute(1, 2, 0)
    if value.dim() <= 2:  # [B, C]: one position
        return value.reshape(-1, value.shape[-1], 1)
    return value.flatten(1, -2).transpose(1, 2)


def watch(model: nn.Module, structure: Structure, seen: Seen) -> list[Any]:
    """Hooks that hand over what each layer reads, per group of units and slot; recurrent weights read the outputs."""
    readers: dict[str, list[tuple[Group, Slot]]] = {}
    for group in structure.groups:
        for slot in group.reads():
            readers.setdefault(slot.module, []).append((group, slot))

    def hook(slots: list[tuple[Group, Slot]]) -> Callable[[nn.Module, tuple, Any], None]:
        def look(module: nn.Module, inputs: tuple, output: Any) -> None:
            for group, slot in slots:
                recurrent = slot.parameter.startswith("weight_hh")
                outputs = output[0] if isinstance(output, tuple) else output
                maps = as_maps(module, outputs if recurrent else inputs[0])
                if maps.shape[1] == len(slot.units):
                    seen(group, slot, maps)

        return look

    return [model.get_submodule(path).register_forward_hook(hook(slots)) for path, slots in readers.items()]


def observe(model: nn.Module, structure: Structure, task: Task, seen: Seen) -> None:
    """Runs the calibration batches and hands every activation that a unit sends to `seen`."""
    handles = watch(model, structure, seen)
    try:
        with torch.no_grad(), evaluating(model), LayerCalls(model):
            for batch in task.calibration():
                task.scalar(model, batch)
    finally:
        for handle in handles:
            handle.remove()


def activation_statistics(model: nn.Module, structure: Structure, task: Task) -> dict[str, dict[str, Tensor]]:
    """Statistics of what each unit sends, averaged over calibration samples and readers.

    Returns:
        "mean", "std", "l1", "l2", "var-l2" (of each map) and "zeros" (share of zeros; where a layer has none, of values
        below 1% of its standard deviation), each group -> [n_units].
    """
    sums: dict[str, dict[str, Tensor]] = {}
    norms: dict[str, list[Tensor]] = {}
    calls: dict[str, int] = {}

    def seen(group: Group, slot: Slot, maps: Tensor) -> None:
        near = maps == 0
        if not bool(near.any()):
            near = maps.abs() < 0.01 * maps.std()
        # Of a vector there is no deviation over positions: that over samples stands for it.
        spread = maps.std(2 if maps.shape[2] > 1 else 0, keepdim=True, correction=0).flatten(1)
        l2 = maps.square().sum(2).sqrt()
        values = {
            "mean": maps.mean(2).mean(0),
            "std": spread.mean(0),
            "l1": maps.abs().sum(2).mean(0),
            "l2": l2.mean(0),
            "zeros": near.float().mean((0, 2)),
        }
        share = group.per_unit(slot, torch.ones(len(slot.units)))
        for name, value in values.items():
            known = sums.setdefault(name, {}).get(group.name, torch.zeros(group.n_units))
            sums[name][group.name] = known + group.per_unit(slot, value) / share
        norms.setdefault(group.name, []).append(torch.stack([group.per_unit(slot, row) / share for row in l2]))
        calls[group.name] = calls.get(group.name, 0) + 1

    observe(model, structure, task, seen)
    result = {name: {g: value / calls[g] for g, value in groups.items()} for name, groups in sums.items()}
    result["var-l2"] = {g: torch.cat(rows).var(0, correction=0) for g, rows in norms.items()}
    return result
