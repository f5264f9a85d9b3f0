"""Coupled groups of units, found from the network itself by one forward pass with labels (`labels.py`).

A group is a set of units that lie in the same slots: the channels of a convolution with its norm and all that read
them, every layer of a residual stream, the hidden units of an LSTM with its four gates and its consumers. A unit goes
or stays as a whole.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.structure.labels import FIXED, NONE, Labels, varies
from quietmic.compression.structure.rules import LEAVES, rule


@dataclass(frozen=True)
class Slot:
    """One axis of one parameter along which units lie."""

    module: str  # path of the layer ("" is the network itself)
    parameter: str  # name inside the layer
    axis: int
    role: str  # "out": made here, "in": read here, "pass": goes through
    units: Tensor  # [size] number of the unit at each index, -1 where nothing can be removed

    @property
    def name(self) -> str:
        """Full name of the parameter."""
        return f"{self.module}.{self.parameter}" if self.module else self.parameter


@dataclass(frozen=True)
class Group:
    """Units that are made, passed on and read by the same layers."""

    name: str  # the layers that make them, joined by "+"
    units: Tensor  # [n_units] their numbers
    slots: tuple[Slot, ...]

    @property
    def n_units(self) -> int:
        """Number of units in the group."""
        return len(self.units)

    def position(self, slot: Slot) -> Tensor:
        """[size] position in this group of the unit at each index of a slot, -1 for strangers."""
        table = torch.full((int(max(slot.units.max(), self.units.max())) + 2,), -1)
        table[self.units] = torch.arange(self.n_units)
        return table[slot.units]

    def per_unit(self, slot: Slot, values: Tensor) -> Tensor:
        """Sums values [size] along a slot into [n_units]."""
        position = self.position(slot).to(values.device)
        mine = position >= 0
        return torch.zeros(self.n_units, dtype=values.dtype, device=values.device).index_add(
            0, position[mine], values[mine]
        )

    def reads(self) -> list[Slot]:
        """Slots where the units are read: the columns that a gate multiplies."""
        return [slot for slot in self.slots if slot.role == "in"]

    def makes(self) -> list[Slot]:
        """Weight slots where the units are made."""
        return [slot for slot in self.slots if slot.role == "out" and "bias" not in slot.parameter]


@dataclass(frozen=True)
class Structure:
    """What can be cut from a network."""

    groups: tuple[Group, ...]
    slots: tuple[Slot, ...]  # all, those of no group too
    residual_blocks: tuple[str, ...]  # modules whose output is their input plus something
    left_alone: tuple[str, ...]  # reasons, for people: operations that nobody knows, layers without units to cut

    def group(self, name: str) -> Group:
        return next(group for group in self.groups if group.name == name)


class _Slots:
    """Slots met in one forward pass, by parameter and axis: a layer that runs twice, or shared weights, meet again."""

    def __init__(self, labels: Labels, model: nn.Module) -> None:
        self.labels = labels
        self.paths = {module: path for path, module in model.named_modules()}
        self.found: dict[tuple[int, int], tuple[nn.Module, str, str, Tensor]] = {}

    def add(self, module: nn.Module, parameter: str, axis: int, role: str, values: Tensor) -> Tensor:
        key = (id(getattr(module, parameter)), axis)
        if key in self.found:
            known_module, known_name, known_role, known = self.found[key]
            self.labels.forest.join(known, values)
            values = torch.where(known != NONE, known, values)
            module, parameter = known_module, known_name
            role = "in" if "in" in (role, known_role) else known_role
        self.found[key] = (module, parameter, role, values)
        return self.labels.forest.roots(values)

    def bind(self, owners: dict[int, tuple[nn.Module, str]], value: Tensor, merged: Tensor) -> None:
        """A bare parameter meets units element by element (a scale written out): its axis is a slot that they pass."""
        module, name = owners[id(value)]
        merged = self.labels.forest.roots(merged)
        for axis in varies(merged):
            if axis >= -value.dim() and value.shape[axis] > 1:
                rows = merged.movedim(axis, 0).flatten(1)
                self.labels.forest.join(rows, rows.amax(1, keepdim=True).expand_as(rows))
                self.add(module, name, value.dim() + axis, "pass", rows.amax(1))


def example(example_inputs: tuple | Callable[[nn.Module], tuple], model: nn.Module) -> tuple:
    """Example inputs of a model; a callable makes those whose shape depends on its widths (states)."""
    return example_inputs(model) if callable(example_inputs) else example_inputs


def find_groups(model: nn.Module, example_inputs: tuple | Callable[[nn.Module], tuple]) -> Structure:
    """Coupled groups of a network.

    Args:
        model: any network of the layers in `rules.py`, with any reshaping between them.
        example_inputs: arguments of `model.forward` (a short signal will do), or a callable that makes them from the
            model. Tensors at the top level are inputs; those inside a dict, list or tuple are states, which take
            the width of the layers that they belong to. The same holds for what `forward` returns.

    Returns:
        The groups and what is left alone, in the order in which the network runs. Layers that the network names in
        `KEPT_OUTPUTS` keep their outputs.
    """
    owners = {
        id(value): (module, name)
        for module in model.modules()
        if not isinstance(module, LEAVES)
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    }
    labels = Labels(lambda value, merged: slots.bind(owners, value, merged))
    slots = _Slots(labels, model)
    blocks: dict[nn.Module, bool] = {}
    handles = _hooks(model, labels, slots, blocks)
    for module, name in owners.values():
        if getattr(module, name).is_floating_point():
            labels.parameters[getattr(module, name)] = True
    training = model.training
    inputs = example(example_inputs, model)
    try:
        with torch.inference_mode():
            # Tensors made outside keep autograd's view bookkeeping, which copies the Python objects: clone them.
            inputs = tuple(_clone(value) for value in inputs)
            for value in inputs:
                if isinstance(value, Tensor) and value.is_floating_point():
                    labels.put(value, torch.full(value.shape, FIXED, dtype=torch.double))
            model.eval()
            with labels:
                result = model(*inputs)
            for value in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(value, Tensor):
                    found = labels.get(value)
                    labels.forest.join(found, torch.full_like(found, FIXED))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return _structure(model, labels, slots, [m for m, ok in blocks.items() if ok])


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _clone(item) for key, item in value.items()}
    return type(value)(_clone(item) for item in value) if isinstance(value, (tuple, list)) else value


def _hooks(model: nn.Module, labels: Labels, slots: _Slots, blocks: dict[nn.Module, bool]) -> list[Any]:
    """Hooks that let the rule of each layer speak, and that notice residual blocks."""

    def enter(module: nn.Module, inputs: Any) -> None:
        labels.inside.append(slots.paths[module])

    def leave(module: nn.Module, inputs: tuple, output: Any) -> None:
        labels.inside.pop()
        rule(module)(labels, slots.add, module, inputs, output)

    def residual(module: nn.Module, inputs: tuple, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) and output else output
        given = inputs[0] if inputs else None
        same = False
        if isinstance(first, Tensor) and isinstance(given, Tensor) and first.shape == given.shape:
            same = bool(labels.get(given).any()) and torch.equal(labels.get(first), labels.get(given))
        blocks[module] = same and blocks.get(module, True)

    handles: list[Any] = []
    for module in model.modules():
        if isinstance(module, LEAVES):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        elif module is not model and sum(isinstance(m, LEAVES) for m in module.modules()) > 1:
            handles.append(module.register_forward_hook(residual))
    return handles


def _structure(model: nn.Module, labels: Labels, slots: _Slots, blocks: list[nn.Module]) -> Structure:
    """Gathers units with equal slots into groups."""
    found = []
    for (_, axis), (module, name, role, values) in slots.found.items():
        roots = labels.forest.roots(values).long()
        found.append(Slot(slots.paths[module], name, axis, role, torch.where(roots > FIXED, roots - 2, -1)))
    where: dict[int, list[int]] = defaultdict(list)
    for index, slot in enumerate(found):
        for unit in slot.units.unique().tolist():
            where[unit].append(index)
    where.pop(-1, None)
    gathered: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for unit, indices in sorted(where.items()):
        if any(found[i].role == "in" for i in indices) and any(found[i].role == "out" for i in indices):
            gathered[tuple(indices)].append(unit)
    kept = set(getattr(model, "KEPT_OUTPUTS", ()))  # what a network says of itself
    groups = []
    for key, units in gathered.items():
        mine = tuple(found[i] for i in key)
        makers = dict.fromkeys(slot.module for slot in mine if slot.role == "out")
        if len(units) > 1 and not kept.intersection(makers):
            groups.append(Group("+".join(makers), torch.tensor(units), mine))
    return Structure(
        tuple(groups),
        tuple(found),
        tuple(slots.paths[m] for m in blocks if not any(m is not other and m in other.modules() for other in blocks)),
        _left_alone(model, labels, slots, groups),
    )


def _left_alone(model: nn.Module, labels: Labels, slots: _Slots, groups: list[Group]) -> tuple[str, ...]:
    """Reasons for people why something is not cut."""
    makers = {slot.module for group in groups for slot in group.slots if slot.role == "out"}
    reasons = [f"units that meet the operation '{name}' are left alone" for name in sorted(labels.unknown)]
    seen = {slots.paths[module] for module, _, _, _ in slots.found.values()}
    for path, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        if path not in seen:
            reasons.append(f"layer '{path}' ({type(module).__name__}) is of a kind that is not cut")
        elif path not in makers and any(s[0] is module and s[2] == "out" for s in slots.found.values()):
            reasons.append(f"the outputs of layer '{path}' are outputs of the network or fixed by its inputs")
    return tuple(reasons)
