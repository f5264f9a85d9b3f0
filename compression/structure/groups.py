"""Coupled groups of units, found from the network itself by a forward pass with labels (`labels.py`).

A group is a set of units that lie in the same slots: the channels of a convolution with its norm and all that read
them, every layer of a residual stream, the hidden units of an LSTM with its four gates and its consumers. A unit goes
or stays as a whole.
"""

from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quietmic.compression.structure.forest import FIXED
from quietmic.compression.structure.plain import refuse_compiled, refuse_parametrized
from quietmic.compression.structure.trace import Trace
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.run import Example

WIDTHS = (  # of layers of all kinds
    "in_features", "out_features", "in_channels", "out_channels", "num_features", "num_channels", "num_parameters",
    "input_size", "hidden_size", "embedding_dim",
)  # fmt: skip


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

    def __str__(self) -> str:
        readers = ", ".join(dict.fromkeys(slot.module for slot in self.reads()))
        return f"{self.name}: {self.n_units} units, read by {readers}"


@dataclass(frozen=True)
class Structure:
    """What can be cut from a network."""

    groups: tuple[Group, ...]
    slots: tuple[Slot, ...]  # all, those of no group too
    residual_blocks: tuple[str, ...]  # modules whose output is their input plus something
    left_alone: tuple[str, ...]  # reasons, for people: operations that nobody knows, layers without units to cut

    def group(self, name: str) -> Group:
        """The group of a name.

        Raises:
            QuietmicError: there is none; the message lists the names.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise QuietmicError(f"no group '{name}'; groups: {', '.join(group.name for group in self.groups)}", exit_code=2)

    def without(self, reasons: dict[str, str]) -> "Structure":
        """The structure without some groups, each with the reason why it is left alone."""
        said = tuple(f"group '{name}' is left alone: {reason}" for name, reason in reasons.items())
        groups = tuple(group for group in self.groups if group.name not in reasons)
        return replace(self, groups=groups, left_alone=(*self.left_alone, *said))

    def __str__(self) -> str:
        return "\n".join([*map(str, self.groups), *self.left_alone])


def find_groups(model: nn.Module, example_inputs: Example) -> "Structure":
    """Coupled groups of a network: what can be cut from it.

    Args:
        model: any network of the layers in `rules.py`, with any reshaping between them; its modes are left as they are.
        example_inputs: arguments of its forward (a short signal will do): a tuple, a mapping of keyword arguments, one
            bare tensor, or a callable that makes them from the model. Tensors at the top level are inputs; those inside
            a dict, list or tuple are states, which take the width of the layers that they belong to. The same holds for
            what `forward` returns, where an object's attributes are the top level.

    Returns:
        The groups and what is left alone, in the order in which the network runs. Whether a group can really go is
        known once `check.fit_groups` has tried it: a width written into a forward shows only then.

    Raises:
        QuietmicError: a layer's weight is computed anew at each use (weight norm), or the network is compiled, or its
            layers have no weights yet.
    """
    refuse_compiled(model)
    refuse_parametrized(model)
    trace = Trace(model, example_inputs)
    slots = [
        Slot(trace.paths[module], name, axis, role, _units(trace.labels.forest.roots(values)))
        for (_, axis), (module, name, role, values) in trace.found.items()
    ]
    groups = _gather(slots)
    found = Structure(groups, tuple(slots), trace.blocks, _left_alone(trace, groups))
    return found.without(_unsure(trace, groups))


def _units(roots: Tensor) -> Tensor:
    roots = roots.long()
    return torch.where(roots > FIXED, roots - FIXED - 1, -1)


def _gather(slots: list[Slot]) -> tuple[Group, ...]:
    """Units with equal slots, in groups; those that are made and read somewhere, and are no unit alone."""
    n = max((int(slot.units.max()) + 1 for slot in slots), default=0)
    present = torch.zeros(len(slots), n, dtype=torch.bool)
    kind = torch.zeros(n, dtype=torch.long)  # units of one kind lie in the same of the slots seen so far
    n_kinds = 1
    for row, slot in zip(present, slots, strict=True):
        row[slot.units[slot.units >= 0]] = True
        split, finer = torch.unique(kind[row], return_inverse=True)
        kind[row] = n_kinds + finer
        n_kinds += len(split)
    kind = torch.unique(kind, return_inverse=True)[1]
    groups: list[Group] = []
    names: Counter[str] = Counter()
    order = torch.argsort(kind, stable=True)
    for units in sorted(order.split(torch.bincount(kind).tolist()), key=lambda units: int(units[0])):
        mine = tuple(slots[i] for i in present[:, units[0]].nonzero().flatten().tolist())
        if len(units) > 1 and {"in", "out"} <= {slot.role for slot in mine}:
            name = "+".join(dict.fromkeys(slot.module for slot in mine if slot.role == "out"))
            names[name] += 1
            number = f" {names[name]}" if names[name] > 1 else ""  # one layer may make units of several groups
            groups.append(Group(name + number, units, mine))
    return tuple(groups)


def _unsure(trace: Trace, groups: tuple[Group, ...]) -> dict[str, str]:
    """Groups as wide as a layer that did not run, each with that layer: cut, the network would fail where it runs."""
    unsure: dict[str, str] = {}
    for module in trace.unrun:
        widths = {value for name in WIDTHS if isinstance(value := getattr(module, name, None), int)}
        reason = (
            f"layer '{trace.paths[module]}', which the example inputs do not run, may have to do with its units: give "
            "example inputs that run it, or take it out of the network"
        )
        unsure |= {group.name: reason for group in groups if group.n_units in widths}
    return unsure


def _left_alone(trace: Trace, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Reasons for people why something is not cut."""
    makers = {slot.module for group in groups for slot in group.slots if slot.role == "out"}
    reasons = [f"units that meet the operation '{name}' are left alone" for name in sorted(trace.labels.unknown)]
    forest = trace.labels.forest
    seen = {
        trace.paths[module] for module, _, role, values in trace.found.values()
        if role != "pass" or bool((forest.roots(values) > FIXED).any())
    }  # fmt: skip
    outputs = {trace.paths[module] for module, _, role, _ in trace.found.values() if role == "out"}
    unrun = set(trace.unrun)
    for path, module in trace.model.named_modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        if module in unrun:
            reasons.append(f"layer '{path}' ({type(module).__name__}) is not run by the example inputs")
        elif path not in seen:
            reasons.append(f"layer '{path}' ({type(module).__name__}) is of a kind that is not cut")
        elif path not in makers and path in outputs:
            reasons.append(f"the outputs of layer '{path}' are outputs of the network or fixed by its inputs")
    return tuple(reasons)
