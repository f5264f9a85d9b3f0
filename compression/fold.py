"""Batch norms folded into the convolutions and linear layers in front of them, found by what flows where."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from compression.count import CONVOLUTIONS, TRANSPOSED
from compression.rnn import replace
from compression.rules import BATCH_NORMS


def norm_pairs(model: nn.Module, inputs: tuple) -> dict[str, str]:
    """Convolution or linear layer on rows -> batch norm that takes its output and nothing else does, by path."""
    paths = {module: path for path, module in model.named_modules()}
    made: dict[int, str] = {}
    alive: list[Tensor] = []  # keeps ids from being used again
    pairs: dict[str, str] = {}

    def output(module: nn.Module, args: tuple, value: Tensor) -> None:
        if not isinstance(module, nn.Linear) or value.dim() == 2:  # else the norm's channels are not the layer's
            made[id(value)] = paths[module]
            alive.append(value)

    def taken(module: nn.Module, args: tuple) -> None:
        if id(args[0]) in made:
            pairs[made[id(args[0])]] = paths[module]

    handles: list[Any] = []
    for module in model.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
            handles.append(module.register_forward_hook(output))
        elif isinstance(module, BATCH_NORMS) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(taken))
    with torch.no_grad():
        model.eval()(*inputs)
    for handle in handles:
        handle.remove()
    return pairs


def fold_norms(model: nn.Module, inputs: tuple, layers: set[str]) -> nn.Module:
    """A copy in which the batch norms behind some layers are folded into them; its output is the same."""
    model = copy.deepcopy(model).eval()
    for layer, norm in norm_pairs(model, inputs).items():
        if layer in layers:
            fused = fuse(model.get_submodule(layer), model.get_submodule(norm))
            replace(replace(model, layer, fused), norm, nn.Identity())
    return model


def fuse(layer: Any, norm: Any) -> nn.Module:
    """A layer with the batch norm behind it."""
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, TRANSPOSED))
