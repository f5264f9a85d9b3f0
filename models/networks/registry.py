"""The networks by family name, and checkpoints that hold what it takes to build one again."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.files import load_plain, save_whole
from quietmic.models.networks.fullsubnet import FullSubNet, FullSubNetConfig
from quietmic.models.networks.structure import apply_changes, changes
from quietmic.models.networks.tcn import Tcn, TcnConfig

FAMILIES: dict[str, tuple[type[nn.Module], type]] = {
    "tcn": (Tcn, TcnConfig),
    "fullsubnet": (FullSubNet, FullSubNetConfig),
}


def check_family(family: str) -> None:
    """Refuses the name of a network family that does not exist.

    Raises:
        QuietmicError: no such family; the message names those that there are.
    """
    if family not in FAMILIES:
        raise QuietmicError(f"There is no network '{family}'. Choose one of: {', '.join(FAMILIES)}.", exit_code=2)


def build(family: str, **sizes: Any) -> nn.Module:
    """A network with fresh weights; `sizes` are fields of its configuration.

    Raises:
        QuietmicError: unknown family or size.
    """
    check_family(family)
    network, config = FAMILIES[family]
    try:
        return network(config(**{k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()}))
    except TypeError as error:
        raise QuietmicError(f"{family}: {error}", exit_code=2) from None


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


def load_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network written by save_network, in evaluation mode, and its facts.

    The file may come from anyone: nothing is unpickled but tensors, and no layer is made that is not in a closed list.

    Raises:
        QuietmicError: no checkpoint, a damaged one, or one that names or holds what a network of ours has not.
    """
    content = load_plain(path)
    if not isinstance(content, dict) or "family" not in content:
        raise QuietmicError(
            f"{path} holds no network: give a run's network.pt, or the .pt beside a model.", exit_code=2
        )
    try:
        return _network_of(_of_today(content))
    except QuietmicError as error:
        raise QuietmicError(f"{path}: {error}", exit_code=2) from error
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise QuietmicError(f"{path}: damaged, or of another version: {told}", exit_code=2) from error


def _network_of(content: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    network = apply_changes(build(content["family"], **content["sizes"]), content.get("changes", {}))
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in content["weights"].items()})
    return network.eval(), dict(content["facts"])


def _of_today(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of FullSubNet from before its units had widths: one a frequency, one complex tap, no attention."""
    if content["family"] != "fullsubnet" or "groups" in content["sizes"]:
        return content
    sizes = content["sizes"] | {"groups": ((1, content["sizes"]["n_freqs"]),), "taps": (1,), "attention": False}
    sizes |= {"heard": 0.0, "masked": 0.0}
    parts = {"sub.": "bands.0.sub.", "sub_out": "bands.0.out", "pairs.": "bands.0.array."}

    def today(name: str) -> str:
        return next((new + name[len(old) :] for old, new in parts.items() if name.startswith(old)), name)

    renamed = {part: {today(k): v for k, v in content.get(part, {}).items()} for part in ("changes", "weights")}
    return content | {"sizes": sizes} | renamed
