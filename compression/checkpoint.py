"""Resuming: what each step of a recipe decided, and the weights after it, in a folder."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.recipe import Recipe
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.jsonfile import json_text, write_json
from quietmic.models.networks.files import load_plain, save_whole


def weights_sha256(model: nn.Module) -> str:
    """Hash of all weights of a network, to tell parents apart."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        if isinstance(value, Tensor):  # else a layer's own extra state
            value = value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
        digest.update(value if isinstance(value, bytes) else repr(value).encode())
    return digest.hexdigest()


class Checkpoints:
    """Tensors by step name in a folder; without a folder nothing is kept. Files hold tensors and plain values only."""

    def __init__(
        self, folder: Path | None, recipe: Recipe, parent: nn.Module, data: Mapping[str, Any] | None = None
    ) -> None:
        """Opens the folder of a run, or makes it.

        Args:
            data: what the batches depend on, as plain values.

        Raises:
            QuietmicError: the folder belongs to another recipe, another parent or other data, or is damaged.
        """
        self.folder = folder
        if folder is None:
            return
        identity = {"recipe": recipe.to_dict(), "parent": weights_sha256(parent), "data": data}
        marker = folder / "run.json"
        if not marker.exists():
            write_json(identity, marker)
        elif _read(marker) != json.loads(json_text(identity)):
            raise QuietmicError(
                f"{folder} holds another recipe, parent or data: remove it, or write somewhere else", exit_code=2
            )

    def step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a step gave: read from the folder if it was done before, else done now and written whole."""
        if self.folder is None:
            return work()
        path = self.folder / f"{name}.pt"
        if path.exists():
            return load_plain(path)
        values = work()
        save_whole(values, path)
        return values


def _read(marker: Path) -> Any:
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except ValueError as error:
        raise QuietmicError(f"{marker} is damaged: remove {marker.parent} to begin anew", exit_code=2) from error


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights and buffers of a network, with the versions of its layers and what else they keep there."""
    state = copy.copy(model.state_dict())
    for name, value in state.items():
        state[name] = value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
    return state
