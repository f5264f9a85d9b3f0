"""Models by name: the index of the shipped weights, each file checked against its SHA-256."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietmic.enhance.card import ModelCard
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.network import OnnxNetwork

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"
"""Folder of the shipped weights and their index.json."""


@dataclass(frozen=True)
class ModelEntry:
    """One model of the catalogue.

    Attributes:
        name: as in its card.
        path: of the ONNX file.
        sha256: that the file must have.
        card: read from the file.
        is_default: what "default" stands for.
    """

    name: str
    path: Path
    sha256: str
    card: ModelCard
    is_default: bool


def list_models(weights: Path = WEIGHTS) -> list[ModelEntry]:
    """All models of the index, in its order; empty where there is no index.

    Raises:
        QuietmicError: a broken index, or a file that is missing or not the one of the index.
    """
    index = _read_index(weights)
    entries = []
    for model in index["models"]:
        path = _checked_path(weights, model)
        card = OnnxNetwork(path).card
        entries.append(ModelEntry(model["name"], path, model["sha256"], card, model["name"] == index["default"]))
    return entries


def find_model(name_or_path: str | Path = "default", weights: Path = WEIGHTS) -> Path:
    """Path of a model's ONNX file.

    Args:
        name_or_path: a name of the index, "default", or the path of an .onnx file, which is taken as it is.
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
    for model in index["models"]:
        if model["name"] == wanted:
            return _checked_path(weights, model)
    known = ", ".join(model["name"] for model in index["models"]) or "none"
    raise QuietmicError(f"no model named {name!r}; there are: {known} (or give the path of an .onnx file)", exit_code=2)


def _read_index(weights: Path) -> dict[str, Any]:
    path = weights / "index.json"
    if not path.is_file():
        return {"default": None, "models": []}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        for model in index["models"]:
            model["name"], model["file"], model["sha256"]
        return {"default": index["default"], "models": index["models"]}
    except (ValueError, KeyError, TypeError) as error:
        raise QuietmicError(f"{path} is no index of models: {error!r}") from error


def _checked_path(weights: Path, model: dict[str, str]) -> Path:
    path = weights / model["file"]
    if not path.is_file():
        raise QuietmicError(f"{path} is missing: restore it with `git checkout {path.name}` or install quietmic again")
    if hash_file(path) != model["sha256"]:
        raise QuietmicError(f"{path} is not the file that the index lists (its SHA-256 differs): restore it")
    return path
