"""Layers as plain values, so that a checkpoint can hold a network whose layers were narrowed, factored or folded.

A compressed network is the network of its sizes with some layers exchanged. `changes` names these, `apply_changes`
makes them again on a fresh network; weights come from the state dict. Classes of other packages (the factored layers
of the compression) are named by their path, so that this file need not know them.
"""

from importlib import import_module
from typing import Any

import torch
from torch import nn

from quietmic.enhance.errors import QuietmicError

Plain = dict[str, Any]

_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
_RECURRENT = ("input_size", "hidden_size", "batch_first")
SETTINGS: dict[str, tuple[str, ...]] = {  # layers of torch.nn and the arguments that make them
    "Linear": ("in_features", "out_features"),
    "Conv1d": (*_CONVOLUTION, "dilation", "groups"),
    "Conv2d": (*_CONVOLUTION, "dilation", "groups"),
    "ConvTranspose1d": (*_CONVOLUTION, "output_padding", "groups"),
    "ConvTranspose2d": (*_CONVOLUTION, "output_padding", "groups"),
    "BatchNorm1d": ("num_features",),
    "BatchNorm2d": ("num_features",),
    "LayerNorm": ("normalized_shape",),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "Identity": (),
}
HAS_BIAS = ("Linear", "Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "LSTM", "GRU")
PACKAGES = ("torch.nn.", "quietmic.models.", "quietmic.compression.")  # where a checkpoint may take classes from
MOVED = {  # modules by the names that older checkpoints know them by
    "compression.blocks": "quietmic.compression.criteria.blocks",
    "compression.factored": "quietmic.compression.factor.factored",
    "compression.lowrank_conv": "quietmic.compression.factor.lowrank_conv",
    "compression.rnn": "quietmic.compression.structure.rnn",
    "models.blocks": "quietmic.models.networks.blocks",
    "models.fullsubnet": "quietmic.models.networks.fullsubnet",
    "models.spatial": "quietmic.models.networks.spatial",
    "models.tcn": "quietmic.models.networks.tcn",
}
_OF_EVERY_MODULE = set(vars(nn.Module()))


def describe(module: nn.Module) -> Plain:
    """Class, settings, shapes of own parameters and children of a module, as plain values."""
    name = type(module).__name__
    if type(module) is getattr(nn, name, None) and name in SETTINGS:
        settings = {key: getattr(module, key) for key in SETTINGS[name]}
        if name in HAS_BIAS:
            bias = module.bias
            settings["bias"] = bias if isinstance(bias, bool) else bias is not None
        return {"class": f"torch.nn.{name}", "settings": settings}
    values = {key: value for key, value in vars(module).items() if key not in _OF_EVERY_MODULE and _is_plain(value)}
    return {
        "class": f"{type(module).__module__}.{name}",
        "values": values,
        "parameters": {key: list(p.shape) for key, p in module.named_parameters(recurse=False)},
        "children": {key: describe(child) for key, child in module.named_children()},
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def make(plain: Plain) -> nn.Module:
    """A module from its description, weights undefined.

    Raises:
        QuietmicError: a class from elsewhere.
    """
    package, _, name = plain["class"].rpartition(".")
    package = MOVED.get(package, package)
    if not f"{package}.".startswith(PACKAGES):
        raise QuietmicError(f"the checkpoint names a layer '{plain['class']}' that is none of ours", exit_code=2)
    kind = getattr(import_module(package), name)
    if "settings" in plain:
        return kind(**plain["settings"])
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    vars(module).update(plain["values"])
    for key, shape in plain["parameters"].items():
        module.register_parameter(key, nn.Parameter(torch.empty(shape)))
    for key, child in plain["children"].items():
        module.add_module(key, make(child))
    return module


def changes(fresh: nn.Module, network: nn.Module) -> dict[str, Plain]:
    """Path -> description of the modules in which a network differs from a fresh one of its sizes."""
    return _changes("", describe(fresh), describe(network))


def _changes(path: str, old: Plain, new: Plain) -> dict[str, Plain]:
    if old == new:
        return {}
    same_shell = all(old.get(key) == new.get(key) for key in ("class", "settings", "values", "parameters"))
    if "children" not in new or not same_shell or list(old["children"]) != list(new["children"]):
        return {path: new}
    found: dict[str, Plain] = {}
    for name, child in new["children"].items():
        found |= _changes(f"{path}.{name}".lstrip("."), old["children"][name], child)
    return found


def apply_changes(network: nn.Module, found: dict[str, Plain]) -> nn.Module:
    """Exchanges the named modules of a fresh network, in place.

    Raises:
        QuietmicError: the network itself would have to be exchanged.
    """
    for path, plain in found.items():
        if not path:
            raise QuietmicError("the checkpoint holds a network of another kind than its family", exit_code=2)
        parent, _, name = path.rpartition(".")
        network.get_submodule(parent).add_module(name, make(plain))
    return network
