"""Gates on units, and their removal: a smaller dense network of plain modules with the same output.

A gate multiplies the columns that read its unit: the mask on weights of influence pruning, tied over a unit. A unit
whose gate is zero is read by nobody, so that taking it out changes nothing; the value of a gate that stays is folded
into the columns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.structure.groups import Slot, Structure
from quietmic.compression.structure.rules import CELLS, OVER_UNITS, TABLES, norm_axis
from quietmic.compression.structure.swap import owners, swapped
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.count import CONVOLUTIONS, RNNS, TRANSPOSED
from quietmic.models.networks.fold import BATCH_NORMS
from quietmic.models.networks.run import copied

Gates = dict[str, Tensor]  # group -> [n_units] factors
Kept = dict[str, Tensor]  # group -> [n_units] bool


def _along(values: Tensor, weight: Tensor, axis: int) -> Tensor:
    """[size] shaped so that it multiplies one axis of a weight."""
    shape = [1] * weight.dim()
    shape[axis] = -1
    return values.view(shape)


def gated_weights(model: nn.Module, structure: Structure, gates: Gates) -> dict[str, Tensor]:
    """Weights with the columns of each unit multiplied by its gate; differentiable in both.

    Args:
        gates: group -> [n_units] factors; groups that are not named keep all.

    Returns:
        Full parameter name -> weight times gates, for the weights that read a gated unit.
    """
    result: dict[str, Tensor] = {}
    for group in structure.groups:
        if group.name not in gates:
            continue
        factors = torch.cat([gates[group.name], gates[group.name].new_ones(1)])  # index -1: strangers keep 1
        for slot in group.reads():
            weight = result.get(slot.name, model.get_parameter(slot.name))
            result[slot.name] = weight * _along(factors[group.position(slot)].to(weight), weight, slot.axis)
    return result


@contextmanager
def gated(model: nn.Module, structure: Structure, gates: Gates) -> Iterator[None]:
    """The network with gates on its units.

    Norms over channels (layer and group norm) take their statistics over the units that are on, as they will when
    the others are gone.
    """
    on: dict[str, Tensor] = {}
    for group in structure.groups:
        for slot in group.slots if group.name in gates else ():
            module = model.get_submodule(slot.module)
            if slot.parameter == "weight" and isinstance(module, (*OVER_UNITS, nn.GroupNorm)):
                gate = gates[group.name].detach()
                mine = torch.cat([(gate > 0).to(gate), gate.new_ones(1)])[group.position(slot)]
                on[slot.module] = on.get(slot.module, torch.ones_like(mine)) * mine
    norms = [model.get_submodule(path) for path in on]
    for module, mask in zip(norms, on.values(), strict=True):
        module.__dict__["forward"] = partial(masked_norm, module, mask)
    try:
        with swapped(model, gated_weights(model, structure, gates)):
            yield
    finally:
        for module in norms:
            module.__dict__.pop("forward")


def masked_norm(module: Any, on: Tensor, x: Tensor) -> Tensor:
    """Layer norm or group norm whose statistics are taken over the channels [C] that are on.

    Channels that are off come out as if their mean were the others'; nobody reads them.
    """
    axis = 1
    if isinstance(module, OVER_UNITS):
        found = norm_axis(module, x, type(module).forward(module, x))
        assert found is not None  # else its units were left alone
        axis = found % x.dim()
    if isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels:
        return type(module).forward(module, x)  # no unit sees another
    rows = x.movedim(axis, -1)  # [.., C]
    groups = getattr(module, "num_groups", 1)
    parts = rows.unflatten(-1, (groups, -1))  # [.., groups, C / groups]
    mask = on.to(x).view(groups, -1).expand_as(parts)
    axes = [-1] if isinstance(module, OVER_UNITS) else [*range(1, parts.dim() - 2), -1]  # all positions of a sample
    n = mask.sum(axes, keepdim=True)
    mean = 0 if isinstance(module, nn.RMSNorm) else (parts * mask).sum(axes, keepdim=True) / n
    variance = ((parts - mean).square() * mask).sum(axes, keepdim=True) / n
    eps = torch.finfo(x.dtype).eps if module.eps is None else module.eps  # as RMSNorm has it
    y = ((parts - mean) * torch.rsqrt(variance + eps)).flatten(-2) * module.weight
    bias = getattr(module, "bias", None)
    return (y if bias is None else y + bias).movedim(-1, axis)


def cut(model: nn.Module, structure: Structure, kept: Kept, gates: Gates | None = None) -> nn.Module:
    """A copy of the network without the units that do not stay.

    Args:
        model: the network that `structure` was found in; it is not changed.
        structure: its coupled groups.
        kept: group -> [n_units] bool; groups that are not named stay whole.
        gates: group -> [n_units] factors folded into the columns that read the units.

    Returns:
        A dense network of the same modules, narrower. Its output equals that of `gated` with the gates of the
        removed units at zero.

    Raises:
        QuietmicError: a group would lose all its units.
    """
    result = copied(model)
    with torch.no_grad():
        for name, value in gated_weights(result, structure, gates or {}).items():
            result.get_parameter(name).copy_(value)
    masks: dict[tuple[str, str], dict[int, Tensor]] = {}
    slots: dict[tuple[str, str], Slot] = {}
    for group in structure.groups:
        if group.name not in kept or bool(kept[group.name].all()):
            continue
        if not kept[group.name].any():
            raise QuietmicError(f"group '{group.name}' would lose all of its {group.n_units} units: keep at least one")
        stays = torch.cat([kept[group.name].cpu(), torch.ones(1, dtype=torch.bool)])
        for slot in group.slots:
            key = (slot.module, slot.parameter)
            axes = masks.setdefault(key, {})
            axes[slot.axis] = axes.get(slot.axis, torch.ones(1, dtype=torch.bool)) & stays[group.position(slot)]
            slots[key] = slot
    known = owners(result)
    for key, axes in masks.items():
        value = _get(result, slots[key])
        smaller = value.detach()
        for axis, mask in axes.items():
            smaller = smaller.index_select(axis, mask.nonzero().flatten().to(value.device))
        put_tensor(known.get(id(value), [(result.get_submodule(key[0]), key[1])]), smaller.clone())
    return result


def _get(model: nn.Module, slot: Slot) -> Tensor:
    module: Any = model.get_submodule(slot.module)
    return getattr(module, slot.parameter)


def put_tensor(holders: list[tuple[nn.Module, str]], value: Tensor) -> None:
    """Gives one tensor of another size to all that hold it: shared weights stay shared, layers state the new size."""
    first, name = holders[0]
    if name in first._buffers:
        first._buffers[name] = value
    else:
        parameter = nn.Parameter(value, requires_grad=getattr(first, name).requires_grad)
        for module, key in holders:
            setattr(module, key, parameter)
    for module, _ in holders:
        refresh(module)


def refresh(module: Any) -> None:
    """Brings the sizes that a layer states in line with its weights."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, CONVOLUTIONS):
        if module.groups > 1 and module.groups == module.in_channels:  # depthwise
            module.groups = module.in_channels = weight.shape[0] * module.in_channels // module.out_channels
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, TRANSPOSED):
        if module.groups > 1 and module.groups == module.in_channels:
            module.groups = weight.shape[0]
        module.in_channels, module.out_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, TABLES):
        module.embedding_dim = weight.shape[1]
    elif isinstance(module, OVER_UNITS):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups == module.num_channels > 1:
            module.num_groups = len(weight)
        module.num_channels = len(weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)
    elif isinstance(module, CELLS):
        module.hidden_size, module.input_size = module.weight_hh.shape[1], module.weight_ih.shape[1]
    elif isinstance(module, RNNS):
        module.hidden_size, module.input_size = module.weight_hh_l0.shape[1], module.weight_ih_l0.shape[1]
        module.flatten_parameters()
    elif isinstance(module, BATCH_NORMS):
        module.num_features = len(weight if weight is not None else module.running_mean)
