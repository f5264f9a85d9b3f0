"""Gates on units, and their removal: a smaller dense network of plain modules with the same output.

A gate multiplies the columns that read its unit: the mask on weights of influence pruning, tied over a unit. A unit
whose gate is zero is read by nobody, so that taking it out changes nothing; the value of a gate that stays is folded
into the columns.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.structure.groups import Slot, Structure
from quietmic.compression.structure.rules import BATCH_NORMS
from quietmic.compression.structure.swap import owners, swapped
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.count import CONVOLUTIONS, TRANSPOSED

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
            result[slot.name] = weight * _along(factors[group.position(slot)], weight, slot.axis)
    return result


@contextmanager
def gated(model: nn.Module, structure: Structure, gates: Gates) -> Iterator[None]:
    """The network with gates on its units.

    Norms over channels (layer and group norm) take their statistics over the units that are on, as they will when
    the others are gone.
    """
    norms = []
    for group in structure.groups:
        for slot in group.slots if group.name in gates else ():
            module: Any = model.get_submodule(slot.module)
            if slot.parameter == "weight" and isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
                on = torch.cat([(gates[group.name] > 0).float(), gates[group.name].new_ones(1)])[group.position(slot)]
                norms.append((module, module.__dict__.get("on", torch.ones_like(on)) * on))
                module.__dict__["on"] = norms[-1][1].detach()
    for module, _ in norms:
        module.__dict__["forward"] = lambda x, m=module: _masked_norm(m, x)
    try:
        with swapped(model, gated_weights(model, structure, gates)):
            yield
    finally:
        for module, _ in norms:
            module.__dict__.pop("forward", None)
            module.__dict__.pop("on", None)


def _masked_norm(module: Any, x: Tensor) -> Tensor:
    """Layer norm (last axis) or group norm with one group (channels and positions) over the units that are on."""
    on: Tensor = module.on
    scale: Tensor = module.weight
    shift: Tensor | None = module.bias
    axes = [-1]
    if isinstance(module, nn.GroupNorm):
        if module.num_groups > 1:  # one channel a group: no unit sees another
            return nn.functional.group_norm(x, module.num_groups, scale, shift, module.eps)
        shape = (-1, *[1] * (x.dim() - 2))
        on, scale = on.view(shape), scale.view(shape)
        shift = None if shift is None else shift.view(shape)
        axes = list(range(1, x.dim()))
    on = on.expand_as(x)
    n = on.sum(axes, keepdim=True)
    mean = (x * on).sum(axes, keepdim=True) / n
    variance = ((x - mean).square() * on).sum(axes, keepdim=True) / n
    y = (x - mean) * torch.rsqrt(variance + module.eps) * scale
    return y if shift is None else y + shift


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
    result = copy.deepcopy(model)
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
        for module, name in known.get(id(value), [(result.get_submodule(key[0]), key[1])]):
            _put(module, name, smaller.clone())
            refresh(module)
    return result


def _get(model: nn.Module, slot: Slot) -> Tensor:
    module: Any = model.get_submodule(slot.module)
    return getattr(module, slot.parameter)


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    if name in module._buffers:
        module._buffers[name] = value
    else:
        setattr(module, name, nn.Parameter(value, requires_grad=getattr(module, name).requires_grad))


def refresh(module: Any) -> None:
    """Brings the sizes that a layer states in line with its weights."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, CONVOLUTIONS):
        if module.groups > 1 and module.groups == module.in_channels:  # depthwise
            module.groups = module.in_channels = weight.shape[0] * module.in_channels // module.out_channels
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, TRANSPOSED):
        module.in_channels, module.out_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = weight.shape[1]
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = len(weight) if module.num_groups > 1 else 1
        module.num_channels = len(weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)
    elif isinstance(module, (nn.LSTM, nn.GRU)):
        module.hidden_size, module.input_size = module.weight_hh_l0.shape[1], module.weight_ih_l0.shape[1]
        module.flatten_parameters()
    elif isinstance(module, BATCH_NORMS):
        module.num_features = len(weight if weight is not None else module.running_mean)
