"""The networks by family name, and checkpoints that hold what it takes to build one again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from enhance.errors import UserError
from models.bandtcn import BandTcn, BandTcnConfig
from models.fullsubnet import FullSubNet, FullSubNetConfig
from models.structure import apply_changes, changes
from models.tcn import Tcn, TcnConfig

FAMILIES: dict[str, tuple[type[nn.Module], type]] = {
    "tcn": (Tcn, TcnConfig),
    "tcn-bands": (BandTcn, BandTcnConfig),
    "fullsubnet": (FullSubNet, FullSubNetConfig),
}


def check_family(family: str) -> None:
    """Raises UserError where no network is called so."""
    if family not in FAMILIES:
        raise UserError(f"There is no network '{family}'. Choose one of: {', '.join(FAMILIES)}.", exit_code=2)


def build(family: str, **sizes: Any) -> nn.Module:
    """A network with fresh weights; `sizes` are fields of its configuration.

    Raises:
        UserError: unknown family or size.
    """
    check_family(family)
    network, config = FAMILIES[family]
    try:
        return network(config(**{k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()}))
    except TypeError as error:
        raise UserError(f"{family}: {error}", exit_code=2) from None


def save_network(network: nn.Module, path: Path, facts: dict[str, Any] | None = None, half: bool = False) -> None:
    """Weights (those that train in half precision, if `half`), sizes and facts of a network in one file.

    A compressed network is the fresh one of its sizes with some layers exchanged; the file names them.
    """
    trained = {name for name, _ in network.named_parameters()} if half else set()
    weights = {n: (v.half() if n in trained else v).detach().cpu() for n, v in network.state_dict().items()}
    content = {
        "family": network.family,
        "sizes": asdict(network.config),
        "changes": changes(build(str(network.family), **asdict(network.config)), network),
        "weights": weights,
        "facts": facts or {},
    }
    save_whole(content, path)


def save_whole(content: Any, path: Path) -> None:
    """torch.save to a temporary name, then renamed."""
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def load_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network written by save_network, in evaluation mode, and its facts. Nothing is unpickled but tensors."""
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint.", exit_code=2)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError) as error:
        raise UserError(f"{path}: no checkpoint: {error}", exit_code=2) from error
    if not isinstance(content, dict) or "family" not in content:
        raise UserError(f"{path} holds no network: give a run's network.pt, or the .pt beside a model.", exit_code=2)
    network = apply_changes(build(content["family"], **content["sizes"]), content.get("changes", {}))
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in content["weights"].items()})
    return network.eval(), content["facts"]
