"""How any network is run: its example inputs in every form people give them, and its modes left as they were."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

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
    """The tensors at the top level of what a network returns; what lies deeper are states.

    Of an object (a data class, a distribution) its attributes are the top level.
    """
    if isinstance(result, Mapping):
        result = tuple(result.values())
    elif not isinstance(result, (tuple, list, Tensor)):
        result = tuple(getattr(result, "__dict__", {}).values())
    values = result if isinstance(result, (tuple, list)) else (result,)
    return [value for value in values if isinstance(value, Tensor)]


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; tensors that a forward left in attributes (the attention of the last batch) lose their history."""
    memo = {
        id(value): value.detach().clone() for module in model.modules() for value in tree_leaves(vars(module))
        if isinstance(value, Tensor) and not value.is_leaf
    }  # fmt: skip
    return copy.deepcopy(model, memo)


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Each module is in the mode (training or not) afterwards in which it was before, and so are tensors it keeps."""
    before = [(module, dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            module.training = attributes["training"]
            for name, value in list(vars(module).items()):
                if isinstance(value, Tensor):
                    vars(module).pop(name)
                    vars(module).update({name: attributes[name]} if name in attributes else {})


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Buffers are afterwards what they were before: of a network that keeps its state there, or counts its calls."""
    before = [(module._buffers, name, value, value.clone()) for module in model.modules()
              for name, value in module._buffers.items() if value is not None]  # fmt: skip
    try:
        yield
    finally:
        for buffers, name, value, content in before:
            buffers[name] = value
            if not torch.equal(value, content):
                with torch.no_grad():
                    value.copy_(content)


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Training mode for a while; where a network is in training already, layers that rest in it go on resting."""
    with modes_kept(model):
        if not model.training:
            model.train()
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, without the fused attention that runs past its layers and their hooks.

    What the network keeps from one call to the next is as before afterwards.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    with modes_kept(model), buffers_kept(model):
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
