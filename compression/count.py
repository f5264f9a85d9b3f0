"""Counts of parameters and multiply-accumulates (MACs), layer by layer, by hooks on one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
RECURRENT = (nn.LSTM, nn.GRU)


@dataclass(frozen=True)
class LayerCount:
    """Figures of one layer in one forward pass."""

    name: str  # path of the module
    kind: str  # class name
    parameters: int
    macs: int  # multiply-accumulates of the matrix products, all calls together
    outputs: int  # output elements, all calls together
    calls: int  # how often the layer ran; a recurrent layer counts once per step


@dataclass(frozen=True)
class Count:
    """Figures of a network in one forward pass."""

    parameters: int
    macs: int
    layers: tuple[LayerCount, ...]

    @property
    def macs_with_bias_and_norm(self) -> int:
        """MACs plus three operations for each output element of a convolution (bias 1, batch norm 2).

        Some papers count so: VGG-16 on CIFAR-10 has 313.20M MACs and 314.03M operations.
        """
        return self.macs + sum(3 * layer.outputs for layer in self.layers if layer.kind.startswith("Conv"))


def layer_macs(module: Any, inputs: tuple[Any, ...], output: Tensor) -> tuple[int, int]:
    """MACs and number of calls of one run of a layer with weights; (0, 1) for a layer without a matrix product.

    A convolution spends one MAC per output element and input of its window, a transposed one per input element and
    element of its window; biases, norms and element-wise gates are not counted. Groups are in the weight's shape.
    """
    if isinstance(module, CONVOLUTIONS):
        return output.numel() * module.weight[0].numel(), 1
    if isinstance(module, TRANSPOSED):
        return inputs[0].numel() * module.weight[0].numel(), 1
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features, 1
    if isinstance(module, RECURRENT):
        rows = inputs[0].numel() // module.input_size  # sequences times steps
        weights = sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
        steps = inputs[0].shape[1 if module.batch_first and inputs[0].dim() == 3 else 0]
        return rows * weights, int(steps)
    if hasattr(module, "output_macs"):  # written out as products with a few rows of weights
        return output.numel() * module.output_macs, 1
    if hasattr(module, "step_macs"):  # a recurrent cell that is written out: what one step of one sequence takes
        steps = inputs[0].shape[1 if module.batch_first else 0]
        return inputs[0].shape[0] * inputs[0].shape[1] * module.step_macs, int(steps)
    return 0, 1


def count(model: nn.Module, inputs: tuple[Any, ...]) -> Count:
    """Parameters and MACs of one forward pass.

    Args:
        model: any network; its mode (training or not) is left as it was.
        inputs: arguments of `model.forward`.

    Returns:
        The sums and one row per layer that has parameters of its own. Shared parameters count once in the sum.
    """
    macs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    calls: dict[str, int] = {}
    leaves = {name: m for name, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def add(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            spent, steps = layer_macs(module, args, first)
            macs[name] = macs.get(name, 0) + spent
            outputs[name] = outputs.get(name, 0) + first.numel()
            calls[name] = calls.get(name, 0) + steps

        return add

    handles = [module.register_forward_hook(hook(name)) for name, module in leaves.items()]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(*inputs)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    layers = tuple(
        LayerCount(
            name,
            type(m).__name__,
            sum(p.numel() for p in m.parameters(recurse=False)),
            macs[name],
            outputs[name],
            calls[name],
        )
        for name, m in leaves.items()
        if name in macs
    )
    return Count(sum(p.numel() for p in model.parameters()), sum(macs.values()), layers)
