"""Parameters exchanged for other tensors for a while, so that gates and masks can stand in the graph."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def owners(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """All (module, name) under which each parameter is known; shared weights have several."""
    found: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            found[id(parameter)].append((module, name))
    return found


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    module._parameters[name] = value  # a product of a parameter and gates
    if isinstance(module, nn.RNNBase):
        module._flat_weights[module._flat_weights_names.index(name)] = value


@contextmanager
def swapped(model: nn.Module, tensors: dict[str, Tensor]) -> Iterator[None]:
    """The network with some parameters replaced.

    Args:
        model: any network.
        tensors: full parameter name -> tensor used in its place (it may carry gradients to gates and weights).
    """
    known = owners(model)
    restore = []
    for name, value in tensors.items():
        parameter = model.get_parameter(name)
        for module, short in known[id(parameter)]:
            restore.append((module, short, parameter))
            _set(module, short, value)
    try:
        yield
    finally:
        for module, short, parameter in restore:
            _set(module, short, parameter)
