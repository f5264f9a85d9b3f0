"""Cut or not cut: after every cut the narrower network is compared with the gated one, and what differs is undone.

Labels see how data move; they do not see a width that is written into a forward, or an arithmetic that depends on a
width. Running both networks shows it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from quietmic.compression.structure.groups import Structure
from quietmic.compression.structure.surgery import Gates, Kept, cut, gated
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.run import Example, copied, evaluating, example, outputs_of, run, training


@dataclass(frozen=True)
class Cut:
    """A cut that was compared with its gates.

    Attributes:
        model: the narrower network.
        kept: what was cut, without the groups that were undone.
        undone: groups that could not be cut, each with the reason.
    """

    model: nn.Module
    kept: Kept
    undone: dict[str, str]


def checked_cut(
    model: nn.Module, structure: Structure, kept: Kept, example_inputs: Example, gates: Gates | None = None
) -> Cut:
    """Cuts, compares the network with the gated one on the example inputs, and undoes the groups that differ.

    Args:
        model: the network that `structure` was found in; it is not changed.
        kept: group -> [n_units] bool.
        example_inputs: as for `find_groups`.
        gates: group -> [n_units] factors folded into the columns that read the units.
    """
    check = _Check(model, structure, example_inputs, gates or {})
    undone = check.unfit(kept)
    kept = {name: mask for name, mask in kept.items() if name not in undone}
    factors = {name: gate for name, gate in check.gates.items() if name not in undone}
    return Cut(cut(model, structure, kept, factors), kept, undone)


def fit_groups(model: nn.Module, structure: Structure, example_inputs: Example) -> Structure:
    """The structure without the groups that cannot be cut, as a cut of half of each shows; they are named."""
    kept: Kept = {}
    for index, group in enumerate(structure.groups):
        order = torch.randperm(group.n_units, generator=torch.Generator().manual_seed(index))
        kept[group.name] = order < (group.n_units + 1) // 2
    return structure.without(_Check(_shaken(model), structure, example_inputs, {}).unfit(kept))


def _shaken(model: nn.Module) -> nn.Module:
    """A copy without parameters that are zero everywhere: they hide what they multiply."""
    model = copied(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            if value.is_floating_point() and not bool(value.any()):
                value.copy_(0.02 * torch.randn(value.shape, generator=generator))
    return model


class _Check:
    """Comparisons of one network with itself after cuts."""

    def __init__(self, model: nn.Module, structure: Structure, example_inputs: Example, gates: Gates) -> None:
        self.model, self.structure, self.example_inputs, self.gates = model, structure, example_inputs, gates
        self.trains = self._why_not_trained(copied(model)) is None

    def unfit(self, kept: Kept) -> dict[str, str]:
        """Groups that must stay whole, each with the reason."""
        if self.reason(kept) is None:
            return {}
        found = {name: why for name, mask in kept.items() if (why := self.reason({name: mask}))}
        rest = {name: mask for name, mask in kept.items() if name not in found}
        if self.reason(rest) is None:
            return found
        good: Kept = {}
        for name, mask in rest.items():  # some fit alone, and not together
            if why := self.reason(good | {name: mask}):
                found[name] = why
            else:
                good[name] = mask
        return found

    def reason(self, kept: Kept) -> str | None:
        """Why the cut network is not the gated one; None where it is."""
        factors = {name: mask * self.gates.get(name, torch.ones(len(mask))) for name, mask in kept.items()}
        with gated(self.model, self.structure, factors):
            expected = self._outputs(self.model)
        folded = {name: gate for name, gate in self.gates.items() if name in kept}
        smaller = cut(self.model, self.structure, kept, folded)
        try:
            actual = self._outputs(smaller)
        except Exception as error:  # whatever a forward may raise at other widths
            states = "" if callable(self.example_inputs) else " or into the example inputs (then give a callable)"
            return (
                f"the network does not run without its units ({_first_line(error)}); a width is written into a forward"
                f"{states}"
            )
        if difference := _difference(expected, actual):
            return difference
        if self.trains and (why := self._why_not_trained(smaller)):
            return f"in training the network does not run without its units ({why})"
        return None

    def _why_not_trained(self, model: nn.Module) -> str | None:
        """Why a forward in training mode fails, which may do more than the one that is compared; changes `model`."""
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), training(model):
                run(model, example(self.example_inputs, model))
        except Exception as error:  # what a forward may want in training, and the example does not have
            return _first_line(error)
        return None

    def _outputs(self, model: nn.Module) -> list[Tensor]:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), evaluating(model):
            torch.manual_seed(0)  # inputs that are drawn, and networks that draw, draw the same
            result = run(model, example(self.example_inputs, model))
        values = outputs_of(result) or [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        if not values:
            raise QuietmicError(
                f"what the network returns ({type(result).__name__}) has no tensor that could be compared: return "
                "tensors, or a tuple, a mapping or an object of them",
                exit_code=2,
            )
        signals = [value for value in values if value.is_floating_point() or value.is_complex()]
        return signals or [value.double() for value in values]  # classes or codes alone


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160]


def _difference(expected: list[Tensor], actual: list[Tensor]) -> str | None:
    for before, after in zip(expected, actual, strict=True):
        if before.shape != after.shape:
            return f"an output would become {list(after.shape)} in place of {list(before.shape)}"
        tolerance = min(0.1, max(1e-9, 1000 * torch.finfo(before.dtype).eps))
        scale = before.abs().nan_to_num(0, 0, 0).max() if before.numel() else torch.zeros(())
        error = (after - before).abs()
        error = error[~(before.isnan() & after.isnan())]
        if error.numel() and not bool(error.max() <= tolerance * scale + 1e-30):
            return (
                f"outputs with its units cut and with its units gated differ by {error.max() / scale:.2g} of their size"
            )
    return None
