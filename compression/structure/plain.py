"""Weights that are computed anew at each use (weight norm, spectral norm), made plain."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from quietmic.enhance.errors import QuietmicError


def parametrized(model: nn.Module) -> dict[str, str]:
    """Layers whose weights are computed from others: path -> name of the weight."""
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        parts: Any = module
        if parametrize.is_parametrized(module):
            found |= {path: ", ".join(parts.parametrizations)}
        else:
            for hook in module._forward_pre_hooks.values():  # the older form of both norms
                if type(hook).__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm"):
                    found[path] = str(getattr(hook, "name", "weight"))
    return found


def refuse_parametrized(model: nn.Module) -> None:
    """Raises a QuietmicError where a weight is computed anew at each use: it can be read, but not cut."""
    for path, name in parametrized(model).items():
        raise QuietmicError(
            f"the {name} of layer '{path}' is computed anew at each use (weight norm, spectral norm or another "
            "parametrization): make it plain first, quietmic.compression.plain_weights(model)",
            2,
        )


def plain_weights(model: nn.Module) -> nn.Module:
    """A copy whose weights are plain parameters: norms of weights are multiplied out, the output is the same.

    Spectral norm is taken as it is in evaluation mode.
    """
    model = copy.deepcopy(model)
    modes = [(module, module.training) for module in model.modules()]
    for path in parametrized(model.eval()):
        module: Any = model.get_submodule(path)
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
            continue
        for key, hook in list(module._forward_pre_hooks.items()):
            if type(hook).__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm"):
                hook.remove(module)
                del module._forward_pre_hooks[key]
    for module, training in modes:
        module.training = training
    return model
