"""A compressed network of anybody's class as a file, and back: layers that were exchanged, and all weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from quietmic.compression.checkpoint import state_of
from quietmic.compression.structure.plain import plain_weights
from quietmic.compression.structure.surgery import put_tensor
from quietmic.compression.structure.swap import owners
from quietmic.models.networks.files import load_plain, save_whole
from quietmic.models.networks.structure import apply_changes, describe


def save_network(network: nn.Module, parent: nn.Module, path: Path) -> Path:
    """Writes a compressed network, so that `open_network` makes it again from a network of the parent's class.

    Args:
        network: as `compress` returned it, or trained on since.
        parent: what was compressed; only its layers are looked at.
        path: written whole or not at all; tensors and plain values, no code.
    """
    before = dict(parent.named_modules())
    exchanged: list[str] = []
    for name, module in network.named_modules():
        inside = any(name.startswith(f"{other}.") for other in exchanged)
        if not inside and not _alike(before.get(name), module):
            exchanged.append(name)
    layers = {name: describe(network.get_submodule(name)) for name in exchanged}
    save_whole({"layers": layers, "state": state_of(network), "buffers": _changed_buffers(network, parent)}, path)
    return path


def _changed_buffers(network: nn.Module, parent: nn.Module) -> dict[str, Tensor]:
    """Buffers that no state dictionary holds, where they are not the parent's any more: its class makes those anew."""
    before, held = dict(parent.named_buffers()), network.state_dict()
    return {
        name: value for name, value in network.named_buffers()
        if name not in held and (name not in before or not torch.equal(before[name], value))
    }  # fmt: skip


def _alike(before: nn.Module | None, after: nn.Module) -> bool:
    """Whether one layer is the other, at most of another size."""
    names = [list(dict(m.named_parameters(recurse=False))) for m in (before, after) if m is not None]
    return isinstance(before, type(after)) and (names[0] == names[1] or type(before) is not type(after))


def open_network(path: Path, fresh: nn.Module) -> nn.Module:
    """The network that `save_network` wrote, in evaluation mode.

    Args:
        fresh: any network of the class and sizes of the parent; it is not changed.

    Raises:
        QuietmicError: no such file, or a network of another kind.
    """
    stored = load_plain(path)
    network = apply_changes(plain_weights(fresh), stored["layers"])
    holders = owners(network)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            holders[id(buffer)] = [(module, name)]
    paths = {module: name for name, module in network.named_modules()}
    for held in holders.values():
        module, short = held[0]
        name = f"{paths[module]}.{short}".lstrip(".")
        if name in stored["state"] and stored["state"][name].shape != getattr(module, short).shape:
            put_tensor(held, stored["state"][name])
    for name, value in stored.get("buffers", {}).items():  # files of before have none
        module_path, _, short = name.rpartition(".")
        put_tensor([(network.get_submodule(module_path), short)], value)
    network.load_state_dict(stored["state"])
    return network.eval()
