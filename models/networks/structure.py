"""Layers as plain values, so that a checkpoint can hold a network whose layers were narrowed, factored or folded.

A compressed network is the network of its sizes with some layers exchanged. `changes` names these, `apply_changes`
makes them again on a fresh network; weights come from the state dict. A checkpoint may come from anyone: what it names
is compared with closed lists before anything is imported or called. Classes of other packages (the factored layers of
the compression) stand there by their path, so that this file need not import them.
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
    "Conv1d": (*_CONVOLUTION, "dilation", "groups", "padding_mode"),
    "Conv2d": (*_CONVOLUTION, "dilation", "groups", "padding_mode"),
    "ConvTranspose1d": (*_CONVOLUTION, "output_padding", "groups"),
    "ConvTranspose2d": (*_CONVOLUTION, "output_padding", "groups"),
    "BatchNorm1d": ("num_features",),
    "BatchNorm2d": ("num_features",),
    "LayerNorm": ("normalized_shape",),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": (*_RECURRENT, "nonlinearity"),
    "Identity": (),
}
HAS_BIAS = ("Linear", "Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "LSTM", "GRU", "RNN")
CLASSES: dict[str, tuple[str, ...]] = {  # the other layers that a checkpoint may name, by their modules
    "torch.nn.modules.activation": ("LeakyReLU",),
    "torch.nn.modules.container": ("ModuleDict", "ModuleList", "ParameterList", "Sequential"),
    "quietmic.models.networks.blocks": ("BandMemory", "CausalConv2d", "DilatedBlock", "RunningLevel", "UpConv2d"),
    "quietmic.models.networks.fullsubnet": ("Band",),
    "quietmic.models.networks.spatial": ("ArrayFeatures",),
    "quietmic.compression.criteria.blocks": ("Skip",),
    "quietmic.compression.factor.factored": ("FactoredLstm", "ReducedInputRnn"),
    "quietmic.compression.factor.lowrank_conv": ("FactoredConv",),
    "quietmic.compression.structure.rnn": ("StackedRnn",),
}
MOVED = {  # modules by the names that older checkpoints know them by
    "compression.blocks": "quietmic.compression.criteria.blocks",
    "compression.factored": "quietmic.compression.factor.factored",
    "compression.lowrank_conv": "quietmic.compression.factor.lowrank_conv",
    "compression.rnn": "quietmic.compression.structure.rnn",
    "models.blocks": "quietmic.models.networks.blocks",
    "models.fullsubnet": "quietmic.models.networks.fullsubnet",
    "models.spatial": "quietmic.models.networks.spatial",
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
        QuietmicError: a class or a setting that is not in the lists above; nothing was called.
    """
    _check(plain)
    return _make(plain)


def _split(name: str) -> tuple[str, str]:
    """Module and name of a class, by the module's name of today."""
    module, _, kind = name.rpartition(".")
    return MOVED.get(module, module), kind


def _check(plain: Plain) -> None:
    """A description is refused unless it and its children are made of what the lists name."""
    name = plain.get("class") if isinstance(plain, dict) else None
    module, kind = _split(name) if isinstance(name, str) else ("", "")
    if module == "torch.nn" and kind in SETTINGS:
        settings = plain.get("settings")
        known = {*SETTINGS[kind], "bias"} if kind in HAS_BIAS else {*SETTINGS[kind]}
        if not isinstance(settings, dict) or not known.issuperset(settings) or not _is_plain(tuple(settings.values())):
            raise QuietmicError(f"the checkpoint gives a layer '{name}' settings that it does not have", exit_code=2)
        return
    if kind not in CLASSES.get(module, ()):
        raise QuietmicError(f"the checkpoint names a layer '{name}' that is none of ours", exit_code=2)
    values, shapes, children = (plain.get(part) for part in ("values", "parameters", "children"))
    if not (isinstance(values, dict) and isinstance(shapes, dict) and isinstance(children, dict)):
        raise QuietmicError(f"the checkpoint does not describe its layer '{name}' in full", exit_code=2)
    if _OF_EVERY_MODULE & {*values} or not _is_plain(tuple(values.values())):
        raise QuietmicError(f"the checkpoint gives a layer '{name}' values that it does not have", exit_code=2)
    for child in children.values():
        _check(child)


def _make(plain: Plain) -> nn.Module:
    """The module of a description that was checked."""
    module_name, name = _split(plain["class"])
    kind = getattr(import_module(module_name), name)
    if "settings" in plain:
        return kind(**plain["settings"])
    if shadowed := [key for key in plain["values"] if hasattr(kind, key)]:
        raise ValueError(f"{name} cannot hold {', '.join(shadowed)}")
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    vars(module).update(plain["values"])
    for key, shape in plain["parameters"].items():
        module.register_parameter(key, nn.Parameter(torch.empty(shape)))
    for key, child in plain["children"].items():
        module.add_module(key, _make(child))
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
        QuietmicError: the network itself would have to be exchanged, it has no such module, or a layer is none
            of ours; nothing was exchanged.
    """
    paths = {path for path, _ in network.named_modules()} - {""}
    if not paths.issuperset(found):
        raise QuietmicError("the checkpoint holds a network of another kind than its family", exit_code=2)
    for path, module in {path: make(plain) for path, plain in found.items()}.items():
        network.set_submodule(path, module)
    return network
