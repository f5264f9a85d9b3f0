"""Models by name: the index of the shipped weights, each file checked against its SHA-256.

The index lists the models to choose from. It also knows the parents they were compressed from, larger and no better:
these are not listed, but found by name, to be compared with.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietmic.enhance.card import ModelCard
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_once
from quietmic.enhance.onnxfile import read_card

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"
"""Folder of the shipped weights and their index.json."""

SOURCE = "models/weights/ of quietmic's source repository"
"""Where every model of the index can be had."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelEntry:
    """One model that is installed.

    Attributes:
        name: as in its card.
        path: of the ONNX file.
        sha256: of the file.
        card: read from the file.
        is_default: what "default" stands for.
        has_hop_graph: streams run a graph of their own; without it a live hop costs about twice as much.
    """

    name: str
    path: Path
    sha256: str
    card: ModelCard
    is_default: bool
    has_hop_graph: bool = False

    def facts(self) -> dict[str, Any]:
        """What `quietmic models --json` tells of it."""
        return {
            "name": self.name,
            "parameters": self.card.parameters,
            "macs_per_second": self.card.macs_per_second,
            "bytes": self.path.stat().st_size,
            "max_mics": self.card.max_mics,
            "parent": self.card.parent,
            "recipe": self.card.recipe,
            "metrics": self.card.metrics,
            "default": self.is_default,
            "hop_graph": self.has_hop_graph,
        }


@dataclass(frozen=True)
class MissingModel:
    """One model of the index that cannot be used.

    Attributes:
        name: as in the index.
        reason: what is wrong and what to do.
        is_damaged: its file is there, but not the one that the index lists.
    """

    name: str
    reason: str
    is_damaged: bool


@dataclass(frozen=True)
class Catalogue:
    """What the index lists, in its order; no parents.

    Attributes:
        models: those that are installed.
        missing: the others.
    """

    models: list[ModelEntry]
    missing: list[MissingModel]


def read_catalogue(weights: Path = WEIGHTS) -> Catalogue:
    """All models of the index; none where there is no index. No model is opened, only its card is read.

    Raises:
        QuietmicError: a broken index.
    """
    index = _read_index(weights)
    catalogue = Catalogue([], [])
    for model in index["models"]:
        name, is_default = model["name"], model["name"] == index["default"]
        try:
            path = _checked_path(weights, model)
            entry = ModelEntry(name, path, model["sha256"], read_card(path), is_default, "hop_file" in model)
            catalogue.models.append(entry)
        except QuietmicError as error:
            catalogue.missing.append(MissingModel(name, str(error), (weights / model["file"]).is_file()))
    return catalogue


def list_models(weights: Path = WEIGHTS) -> list[ModelEntry]:
    """The models that are installed, for choosing one: cost, microphones, measured quality, licence, origin.

    Each has a `name` for `open_stream`, a `card` with all that is known of it, and `facts()`, the same as a row of
    `quietmic models --json`. A model whose file is damaged is left out, with a warning in the log.

    Args:
        weights: folder of an index.json and its ONNX files.

    Returns:
        In the order of the index; empty where there is no index.

    Raises:
        QuietmicError: a broken index.

    Example:
        >>> smallest = min(list_models(), key=lambda model: model.card.parameters)
        >>> smallest.name, smallest.card.max_mics
        ('tcn-tiny', 8)
    """
    catalogue = read_catalogue(weights)
    for model in catalogue.missing:
        if model.is_damaged:
            _logger.warning("%s", model.reason)
    return catalogue.models


def find_model(name_or_path: str | Path = "default", weights: Path = WEIGHTS) -> Path:
    """Path of a model's ONNX file.

    Args:
        name_or_path: a name of the index, a parent's too, "default", or the path of an .onnx file, which is taken as it
            is.
        weights: folder of the index.

    Raises:
        QuietmicError: unknown name, or a file that is not the one of the index.
    """
    name = str(name_or_path)
    if name.endswith(".onnx"):
        if not Path(name).is_file():
            raise QuietmicError(f"no model file at {name}", exit_code=2)
        return Path(name)
    index = _read_index(weights)
    wanted = index["default"] if name == "default" else name
    for model in [*index["models"], *index["parents"]]:
        if model["name"] == wanted:
            return _checked_path(weights, model)
    known = ", ".join(model["name"] for model in index["models"]) or "none"
    raise QuietmicError(f"no model named {name!r}; there are: {known} (or give the path of an .onnx file)", exit_code=2)


def _read_index(weights: Path) -> dict[str, Any]:
    path = weights / "index.json"
    if not path.is_file():
        return {"default": None, "models": [], "parents": []}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        known = {"default": index["default"], "models": index["models"], "parents": index.get("parents", [])}
        for model in [*known["models"], *known["parents"]]:
            model["name"], model["file"], model["sha256"]
        return known
    except (ValueError, KeyError, TypeError) as error:
        raise QuietmicError(f"{path} is no index of models: {error!r}") from error


def _checked_path(weights: Path, model: dict[str, str]) -> Path:
    path = _checked_file(weights, model["name"], model["file"], model["sha256"])
    if "hop_file" in model:  # the graph for streams, which is found beside the other
        _checked_file(weights, model["name"], model["hop_file"], model["hop_sha256"])
    return path


def _checked_file(weights: Path, name: str, file: str, sha256: str) -> Path:
    path = weights / file
    if not path.is_file():
        raise QuietmicError(f"{name} is not installed: put {path.name} from {SOURCE} into {weights}, or give its path")
    if hash_once(path) != sha256:
        raise QuietmicError(
            f"{name} is damaged: {path} is not the file that the index lists (its SHA-256 differs); "
            f"replace it by the one from {SOURCE}"
        )
    return path
