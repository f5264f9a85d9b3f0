"""Counts of parameters and multiply-accumulates (MACs), layer by layer, by hooks on one forward pass.

Layers that are known count by their shapes; what else multiplies (attention, cells, matrix products in a forward) is
seen as it is dispatched and counts for the module in whose forward it stands.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from quietmic.models.networks.functional import LayerCalls
from quietmic.models.networks.run import Example, evaluating, example, run

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
RNNS = (nn.LSTM, nn.GRU, nn.RNN)
NO_PRODUCT = (nn.Embedding, nn.EmbeddingBag)  # matrices that are looked up


@dataclass(frozen=True)
class LayerCount:
    """Figures of one layer in one forward pass."""

    name: str  # path of the module
    kind: str  # class name
    parameters: int
    macs: int  # multiply-accumulates of the matrix products, all calls together


@dataclass(frozen=True)
class Count:
    """Figures of a network in one forward pass."""

    parameters: int
    macs: int
    layers: tuple[LayerCount, ...]
    not_counted: tuple[str, ...] = ()  # layers with matrices in which no product was seen


def layer_macs(module: Any, inputs: tuple[Any, ...], output: Tensor) -> int:
    """MACs of one run of a known layer with weights; 0 for others.

    A convolution spends one MAC per output element and input of its window, a transposed one per input element and
    element of its window; biases, norms and element-wise gates are not counted. Groups are in the weight's shape.
    """
    if isinstance(module, CONVOLUTIONS):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, TRANSPOSED):
        return inputs[0].numel() * module.weight[0].numel()
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, RNNS):
        given = inputs[0].data if isinstance(inputs[0], PackedSequence) else inputs[0]
        rows = given.numel() // module.input_size  # sequences times steps
        return rows * sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
    if hasattr(module, "own_macs"):  # one that is written out as other products than a stream would take
        return int(module.own_macs(inputs[0]))
    return 0


KNOWN = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear, *RNNS)


class _Products(TorchDispatchMode):
    """Matrix products outside of known layers, for the innermost module that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[tuple[str, bool]] = []  # path, and whether it counts by its shapes
        self.macs: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the compiler is imported, which takes longer than most networks

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(known for _, known in self.running):
            path = self.running[-1][0] if self.running else ""
            name = func._schema.name.removeprefix("aten::")
            if name.startswith("_scaled_dot_product"):
                query, key, value = args[:3]  # [B, heads, T, d]
                self.macs[path] += (
                    query.numel() * key.shape[-2] + prod(query.shape[:-1]) * key.shape[-2] * value.shape[-1]
                )
            elif (formula := flop_registry.get(func._overloadpacket)) is not None:
                self.macs[path] += formula(*args, **(kwargs or {}), out_val=result) // 2
        return result


def count(model: nn.Module, inputs: Example) -> Count:
    """Parameters and MACs of one forward pass.

    Args:
        model: any network; the modes of its modules (training or not) are left as they were.
        inputs: arguments of `model.forward`, in any form of `run.example`.

    Returns:
        The sums and one row per module that has parameters of its own or multiplies. Shared parameters count once in
        the sum.
    """
    products = _Products()
    macs, ran = products.macs, set[str]()
    modules = dict(model.named_modules())
    own = {name for name, m in modules.items() if next(m.parameters(recurse=False), None) is not None}

    def enter(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def push(module: nn.Module, args: tuple[Any, ...]) -> None:
            products.running.append((name, isinstance(module, KNOWN) or hasattr(module, "own_macs")))

        return push

    def leave(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            products.running.pop()
            first = output[0] if isinstance(output, tuple) else output
            first = first.data if isinstance(first, PackedSequence) else first
            macs[name] += layer_macs(module, args or tuple(kwargs.values()), first)
            ran.add(name)

        return add

    handles: list[Any] = []
    for name, module in modules.items():
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave(name), with_kwargs=True))
    try:
        with torch.no_grad(), evaluating(model), LayerCalls(model), products:
            run(model, example(inputs, model))
    finally:
        for handle in handles:
            handle.remove()
    layers = tuple(
        LayerCount(name, type(m).__name__, sum(p.numel() for p in m.parameters(recurse=False)), macs[name])
        for name, m in modules.items()
        if name in ran and (name in own or macs[name])
    )
    total = sum(macs.values())
    return Count(sum(p.numel() for p in model.parameters()), total, layers, _not_counted(modules, layers))


def _not_counted(modules: dict[str, Any], layers: tuple[LayerCount, ...]) -> tuple[str, ...]:
    """Layers that hold matrices and ran without a product that was seen."""
    return tuple(
        f"{layer.name} ({layer.kind})" for layer in layers
        if not layer.macs and not isinstance(modules[layer.name], (*NO_PRODUCT, ParametrizationList))
        and any(min(p.shape) > 1 for p in modules[layer.name].parameters(recurse=False) if p.dim() == 2)
    )  # fmt: skip
