"""What a network costs at given widths: parameters, multiply-accumulates, real-time factor; and budgets on these."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.structure.groups import Structure
from quietmic.compression.structure.surgery import Kept
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.count import LayerCount, count
from quietmic.models.networks.run import Example

RtfModel = Callable[[Sequence[LayerCount], float], float]  # layers of one forward pass, its seconds of signal -> RTF
KINDS = ("params", "macs", "rtf", "units")
NO_BOARD = "a budget of RTF needs a cost model of the machine: name a board"


@dataclass(frozen=True)
class Budget:
    """What the compressed network may cost."""

    kind: (
        str  # "params", "macs" (per second of signal), "rtf", or "units" (fraction that stays, the same in each group)
    )
    value: float
    also: "Budget | None" = None  # a second one that must hold too: parameters and time are two budgets

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise QuietmicError(f"unknown budget '{self.kind}': one of {', '.join(KINDS)}", exit_code=2)
        if not self.value > 0 or (self.kind == "units" and self.value > 1):
            raise QuietmicError(
                f"a budget of {self.value} {self.kind} cannot be met: give a positive number", exit_code=2
            )
        if self.also is not None and "units" in (self.kind, self.also.kind):
            raise QuietmicError("a fraction of units is no budget beside another one", exit_code=2)

    def parts(self) -> tuple["Budget", ...]:
        """The budgets that must hold together, each by itself."""
        return (replace(self, also=None), *(self.also.parts() if self.also else ()))

    def times(self, factor: float) -> "Budget":
        """The same budgets, each multiplied by a factor."""
        return Budget(self.kind, self.value * factor, self.also.times(factor) if self.also else None)

    def __str__(self) -> str:
        text = {
            "params": f"{_amount(self.value)} parameters",
            "macs": f"{_amount(self.value, 2)} MACs per second",
            "rtf": f"RTF {self.value:.3f}",
            "units": f"{self.value:.0%} of the units",
        }[self.kind]
        return f"{text} and {self.also}" if self.also else text


def _amount(value: float, digits: int = 3) -> str:
    """A count for people: 1,500 or 0.812M."""
    return f"{value / 1e6:.{digits}f}M" if value >= 1e5 else f"{value:,.0f}"


@dataclass(frozen=True)
class _Axis:
    group: str
    position: Tensor  # [size] position of the unit at each index in the group, -1 for strangers


@dataclass(frozen=True)
class _Parameter:
    module: str  # layer that holds it
    user: str  # layer whose matrix products it is part of
    is_first: bool  # False where other layers share it, so that it counts once in the sum
    shape: tuple[int, ...]
    axes: dict[int, list[_Axis]]

    def numel(self, kept: Mapping[str, Tensor]) -> Tensor:
        """How many elements of the parameter stay with the units that stay; a gate counts as far as it is open."""
        n = torch.ones((), dtype=torch.double)
        for axis, size in enumerate(self.shape):
            stays = n.new_ones(size)
            for part in self.axes.get(axis, []):
                if part.group in kept:
                    stays = stays * torch.cat([kept[part.group].to(n), n.new_ones(1)])[part.position]
            n = n * stays.sum()
        return n


def _parameters(model: nn.Module, structure: Structure, layers: set[str]) -> list[_Parameter]:
    """All parameters under every name that they have, with the units that lie along their axes."""
    names = dict(model.named_parameters(remove_duplicate=False))
    axes: dict[int, dict[int, list[_Axis]]] = {}
    for group in structure.groups:
        for slot in group.slots:
            if slot.name in names:
                mine = axes.setdefault(id(names[slot.name]), {})
                mine.setdefault(slot.axis, []).append(_Axis(group.name, group.position(slot)))
    found = []
    first = {name for name, _ in model.named_parameters()}
    for name, parameter in names.items():
        module = user = name.rpartition(".")[0]
        while user and user not in layers:  # a list of matrices is no layer: whoever holds the list multiplies
            user = user.rpartition(".")[0]
        found.append(_Parameter(module, user, name in first, tuple(parameter.shape), axes.get(id(parameter), {})))
    return found


class CostModel:
    """Cost of a network as a function of which units stay; exact for parameters and MACs, nothing is built.

    A layer's MACs are its matrix elements times how often each is used, and the use does not change with the widths.
    """

    def __init__(
        self, model: nn.Module, structure: Structure, inputs: Example, seconds: float = 1.0, rtf: RtfModel | None = None
    ) -> None:
        """Measures the whole network once, from which every width is reckoned.

        Args:
            inputs: arguments of `model.forward`, in any form of `run.example`.
            seconds: signal time that they stand for; MACs are given per second.
            rtf: real-time factor of a list of layers on some machine, for budgets of that kind.
        """
        self.structure, self.inputs, self.seconds, self._rtf = structure, inputs, seconds, rtf
        self.count = count(model, inputs)
        self._parameters = _parameters(model, structure, {layer.name for layer in self.count.layers})
        _, self._matrix = self._sizes({})

    def _sizes(self, kept: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters of each layer, and the elements of the matrices that it multiplies with."""
        total: dict[str, Any] = defaultdict(int)
        matrix: dict[str, Any] = defaultdict(int)
        for entry in self._parameters:
            n = entry.numel(kept)
            total[entry.module] += n
            matrix[entry.user] += n if len(entry.shape) > 1 else 0
        return total, matrix

    def layers(self, kept: Kept) -> tuple[LayerCount, ...]:
        """Figures of each layer at the widths that stay."""
        return tuple(
            replace(layer, parameters=int(layer.parameters), macs=round(float(layer.macs)))
            for layer in self._open_layers(kept)
        )

    def _open_layers(self, gates: Mapping[str, Tensor]) -> tuple[LayerCount, ...]:
        """Figures of each layer as they depend on gates, through which gradients go."""
        total, matrix = self._sizes(gates)
        return tuple(
            replace(layer, parameters=total[layer.name], macs=self._macs(layer, matrix[layer.name]))
            for layer in self.count.layers
        )

    def _macs(self, layer: LayerCount, matrix: Any) -> Any:
        """Products of activations alone (attention) have no matrix, and do not change: their units are left alone."""
        whole = self._matrix[layer.name]
        return layer.macs * matrix / whole if whole else layer.macs

    def cost(self, kind: str, kept: Kept) -> float:
        """Cost in the unit of a budget."""
        return float(self._cost(kind, kept, self.layers))

    def _cost(self, kind: str, kept: Mapping[str, Tensor], layers: Callable[[Any], Sequence[LayerCount]]) -> Any:
        if kind == "params":
            return sum(entry.numel(kept) for entry in self._parameters if entry.is_first)
        if kind == "macs":
            return sum(layer.macs for layer in layers(kept)) / self.seconds
        if kind == "rtf":
            if self._rtf is None:
                raise QuietmicError(NO_BOARD, exit_code=2)
            return self._rtf(layers(kept), self.seconds)
        n = sum(len(mask) for mask in kept.values())
        return sum(mask.sum() for mask in kept.values()) / n if n else 1.0

    def open_spent(self, budget: Budget, gates: Mapping[str, Tensor]) -> Tensor:
        """Cost over budget of a network whose units count as far as their gates are open, for gradients on the gates.

        Args:
            budget: of several, the one that is closest to its limit counts; an RTF must be plain arithmetic on the
                figures of the layers.
            gates: group -> [n_units], 0 to 1.

        Returns:
            [], double.
        """
        parts = [self._cost(part.kind, gates, self._open_layers) / part.value for part in budget.parts()]
        return torch.stack([torch.as_tensor(part, dtype=torch.double) for part in parts]).max()

    def spent(self, budget: Budget, kept: Kept) -> float:
        """Cost over budget; of several, of the one that is closest to its limit."""
        return max(self.cost(part.kind, kept) / part.value for part in budget.parts())

    def everything(self) -> Kept:
        """All units of all groups."""
        return {group.name: torch.ones(group.n_units, dtype=torch.bool) for group in self.structure.groups}

    def unit_costs(self, budget: Budget) -> dict[str, float]:
        """What one unit of each group costs, as a share of the budget (of several, summed).

        The saving of half of the group, divided by the units of that half. A budget of units counts parameters.
        """
        everything = self.everything()
        parts = (Budget("params", 1.0),) if budget.kind == "units" else budget.parts()
        whole = [self.cost(part.kind, everything) for part in parts]
        result = {}
        for group in self.structure.groups:
            half = everything | {group.name: torch.arange(group.n_units) < (group.n_units + 1) // 2}
            saved = sum((w - self.cost(p.kind, half)) / p.value for w, p in zip(whole, parts, strict=True))
            result[group.name] = max(saved, 1e-12) / max(group.n_units // 2, 1)
        return result


@dataclass(frozen=True)
class Meter:
    """Costs of any network, counted on example inputs that stand for so many seconds of signal."""

    example_inputs: Example
    seconds: float = 1.0
    rtf: RtfModel | None = None

    def costs(self, model: nn.Module, budget: Budget) -> list[Budget]:
        """What a network costs, in the units of each part of a budget."""
        figures = count(model, self.example_inputs)
        costs = {"params": float(figures.parameters), "macs": figures.macs / self.seconds}
        if self.rtf is not None:
            costs["rtf"] = self.rtf(figures.layers, self.seconds)
        return [replace(part, value=costs[part.kind]) for part in budget.parts()]

    def spent(self, model: nn.Module, budget: Budget) -> float:
        """Cost over budget; of several, of the one that is closest to its limit."""
        costs = self.costs(model, budget)
        return max(cost.value / part.value for cost, part in zip(costs, budget.parts(), strict=True))
