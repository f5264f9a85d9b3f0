"""Training scenes from folders of speech and noise, and what is told of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quietmic.models.mixtures.pack import Pack, pack_folder
from quietmic.models.mixtures.rooms import RoomCache, build_rooms
from quietmic.models.mixtures.source import SceneSource, read_measured
from quietmic.models.training.config import TrainConfig

ROOMS_SEED = 0  # the same rooms for every run's seed: they take minutes


def open_source(
    speech: Path, noise: Path, measured: Path | None, n_rooms: int, config: TrainConfig, cache: Path, jobs: int
) -> tuple[SceneSource, dict[str, Any]]:
    """Training scenes from folders, packed and simulated into `cache` on first use, and the facts of the data."""
    packs = {"speech": pack_folder(speech, "train", cache, jobs), "noise": pack_folder(noise, "train", cache, jobs)}
    rooms = RoomCache(build_rooms(cache, n_rooms, ROOMS_SEED, jobs=jobs))
    responses = read_measured(measured, cache) if measured else []
    source = SceneSource(packs["speech"], packs["noise"], rooms, config.mix, responses)
    facts = {name: describe_pack(pack) for name, pack in packs.items()}
    return source, facts | {"simulated_rooms": n_rooms, "measured_rooms": len(responses)}


def describe_pack(pack: Pack) -> dict[str, Any]:
    """Hours, hash, and each source with its licences: what a card says of the training data."""
    licences: dict[str, set[str]] = {}
    for source, licence in zip(pack.column("source", "unnamed"), pack.column("licence", "unknown"), strict=True):
        licences.setdefault(source, set()).add(licence)
    hours = float(pack.lengths.sum() / 16000 / 3600)
    return {"hours": hours, "sha256": pack.sha256, "sources": {s: sorted(v) for s, v in sorted(licences.items())}}
