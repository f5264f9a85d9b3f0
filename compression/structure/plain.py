"""Weights that are computed anew at each use (weight norm, spectral norm), made plain."""

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.run import copied


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


def refuse_compiled(model: nn.Module) -> None:
    """A network whose layers cannot be seen, or have no weights yet, is refused."""
    for path, module in model.named_modules():
        what = f"layer '{path}'" if path else "the network"
        if isinstance(module, torch.jit.ScriptModule) or "_orig_mod" in module._modules:
            raise QuietmicError(
                f"{what} is compiled, so that what it does cannot be seen: give the network as it was before",
                exit_code=2,
            )
        if any(isinstance(value, UninitializedParameter) for value in module.parameters(recurse=False)):
            raise QuietmicError(f"{what} has no weights yet: run the network once", exit_code=2)


def refuse_parametrized(model: nn.Module) -> None:
    """A weight that is computed anew at each use is refused: it can be read, but not cut."""
    for path, name in parametrized(model).items():
        raise QuietmicError(
            f"the {name} of layer '{path}' is computed anew at each use (weight norm, spectral norm or another "
            "parametrization): make it plain first, quietmic.compression.plain_weights(model)",
            exit_code=2,
        )


def plain_weights(model: nn.Module) -> nn.Module:
    """A copy whose weights are plain parameters: norms of weights are multiplied out, the output is the same.

    Spectral norm is taken as it is in evaluation mode.
    """
    refuse_compiled(model)
    model = copied(model)
    modes = [(module, module.training) for module in model.modules()]
    for path in parametrized(model.eval()):
        module: Any = model.get_submodule(path)
        if parametrize.is_parametrized(module):
            _bake(module)
            continue
        for key, hook in list(module._forward_pre_hooks.items()):
            if type(hook).__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm"):
                hook.remove(module)
                del module._forward_pre_hooks[key]
    for module, training in modes:
        module.training = training
    return model


def _bake(module: Any) -> None:
    """Plain parameters in place of parametrizations.

    (PyTorch's own removal changes the class of the layer, which the network that was copied shares.)
    """
    values = {name: (getattr(module, name).detach().clone(), parts) for name, parts in module.parametrizations.items()}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, (value, parts) in values.items():
        trains = any(p.requires_grad for p in parts.parameters())
        module.register_parameter(name, nn.Parameter(value, requires_grad=trains))


def check_finite(model: nn.Module) -> None:
    """A weight that is NaN or infinite is refused: scores of it would order units at random."""
    for name, value in model.named_parameters():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise QuietmicError(
                f"the weights of layer '{name.rpartition('.')[0]}' ({name}) are not finite: train it anew"
            )
