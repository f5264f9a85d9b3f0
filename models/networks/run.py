"""How any network is run: its example inputs in every form people give them, and its modes left as they were."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Inputs: TypeAlias = tuple[Any, ...] | dict[str, Any]  # arguments of a forward, by position or by keyword
Example: TypeAlias = Tensor | tuple[Any, ...] | Mapping[str, Any] | Callable[[nn.Module], Any]


def example(given: Example, model: nn.Module) -> Inputs:
    """Arguments for a network's forward.

    Args:
        given: a tuple of arguments, a mapping of keyword arguments, one bare tensor, or a callable that makes one of
            these from the model (states whose shape depends on its widths).
    """
    if callable(given) and not isinstance(given, Tensor):
        given = given(model)
    if isinstance(given, Mapping):
        return dict(given)
    return tuple(given) if isinstance(given, (tuple, list)) else (given,)


def run(model: nn.Module, inputs: Inputs) -> Any:
    """What a forward pass gives."""
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def outputs_of(result: Any) -> list[Tensor]:
    """The tensors at the top level of what a network returns; what lies deeper are states."""
    if isinstance(result, Mapping):
        result = tuple(result.values())
    values = result if isinstance(result, (tuple, list)) else (result,)
    return [value for value in values if isinstance(value, Tensor)]


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Each module is in the mode (training or not) afterwards in which it was before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Training mode for a while; where a network is in training already, layers that rest in it go on resting."""
    with modes_kept(model):
        if not model.training:
            model.train()
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, without the fused attention that runs past its layers and their hooks."""
    fused = torch.backends.mha.get_fastpath_enabled()
    with modes_kept(model):
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
