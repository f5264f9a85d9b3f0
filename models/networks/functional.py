"""Layers whose weights a forward hands to a function, `F.linear(x, self.a.weight, self.a.bias)`, as calls of them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

KINDS: dict[Any, type[nn.Module]] = {
    F.linear: nn.Linear, F.embedding: nn.Embedding, F.conv1d: nn.Conv1d, F.conv2d: nn.Conv2d, F.conv3d: nn.Conv3d,
    F.conv_transpose1d: nn.ConvTranspose1d, F.conv_transpose2d: nn.ConvTranspose2d,
    F.conv_transpose3d: nn.ConvTranspose3d,
}  # fmt: skip


class LayerCalls(TorchFunctionMode):
    """While it is on, such a function calls the layer whose weights it is given, so that hooks on the layer run.

    Only where the layer does the same with this input: with another stride, or without its bias, the function runs as
    it stands. What functions of PyTorch do inside (`F.multi_head_attention_forward`) is not seen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        kinds = tuple(KINDS.values())
        self._layers: list[nn.Module] = [module for module in model.modules() if isinstance(module, kinds)]
        self._running: set[nn.Module] = set()  # a layer's own forward calls the function, too

    def __enter__(self) -> "LayerCalls":
        def enter(module: nn.Module, args: Any) -> None:
            self._running.add(module)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self._running.discard(module)

        self._handles = [layer.register_forward_pre_hook(enter) for layer in self._layers]
        self._handles += [layer.register_forward_hook(leave) for layer in self._layers]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in KINDS:
            given = args[0] if args else kwargs["input"]
            for layer in self._of(KINDS[func], (*args, *kwargs.values())):
                if _does(layer, given, func, args, kwargs):
                    return layer(given)
        return func(*args, **kwargs)

    def _of(self, kind: type[nn.Module], values: tuple) -> list[nn.Module]:
        """Layers of a kind, none of which runs, whose weight (or what stands in its place now) is among the values."""
        weights = {id(value) for value in values if isinstance(value, Tensor)}
        found = [layer for layer in self._layers if id(layer._parameters.get("weight")) in weights]
        return [layer for layer in found if isinstance(layer, kind)] if self._running.isdisjoint(found) else []


def _does(layer: nn.Module, given: Tensor, func: Any, args: tuple, kwargs: dict) -> bool:
    """Whether a layer's forward gives what a function gives."""
    with torch.no_grad(), _disable_current_modes():
        return torch.equal(layer.forward(given), func(*args, **kwargs))
