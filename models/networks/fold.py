"""Batch norms of any network folded into the convolutions in front of them, found by what flows where."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from quietmic.models.networks.count import CONVOLUTIONS, TRANSPOSED
from quietmic.models.networks.run import Example, evaluating, example, run

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d)


def norm_pairs(model: nn.Module, inputs: Example) -> dict[str, str]:
    """Convolution -> batch norm that takes its output, by path."""
    paths = {module: path for path, module in model.named_modules()}
    made: dict[int, str] = {}
    alive: list[Tensor] = []  # keeps ids from being used again
    pairs: dict[str, str] = {}

    def output(module: nn.Module, args: tuple, value: Tensor) -> None:
        made[id(value)] = paths[module]
        alive.append(value)

    def taken(module: nn.Module, args: tuple) -> None:
        if id(args[0]) in made:
            pairs[made[id(args[0])]] = paths[module]

    handles: list[Any] = []
    for module in model.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
            handles.append(module.register_forward_hook(output))
        elif isinstance(module, BATCH_NORMS) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(taken))
    with torch.no_grad(), evaluating(model):
        run(model, example(inputs, model))
    for handle in handles:
        handle.remove()
    return pairs


def fold_norms(model: nn.Module, inputs: Example, convolutions: set[str] | None = None) -> nn.Module:
    """A copy with batch norms folded into the convolutions before them; its output in evaluation mode is the same.

    Args:
        model: any network; left as it is.
        inputs: arguments of `model.forward`, in any form of `run.example`.
        convolutions: paths of those into which to fold; None = all.
    """
    model = copy.deepcopy(model)
    for conv, norm in norm_pairs(model, inputs).items():
        if convolutions is None or conv in convolutions:
            module = model.get_submodule(conv)
            training, before = module.training, model.get_submodule(norm).eval()
            fused = fuse_conv_bn_eval(module.eval(), before, transpose=isinstance(module, TRANSPOSED))
            model.set_submodule(conv, fused.train(training))
            model.set_submodule(norm, nn.Identity())
    return model
