"""Training scenes from folders of speech and noise, and what is told of the data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent
from quietmic.models.mixtures.pack import SAMPLE_RATE, Pack, pack_folder
from quietmic.models.mixtures.rooms import RoomCache, build_rooms
from quietmic.models.mixtures.source import SceneSource, read_measured
from quietmic.models.training.config import TrainConfig

ROOMS_SEED = 0  # the same rooms for every run's seed: they take minutes


@dataclass(frozen=True)
class Sources:
    """Where training scenes come from.

    Attributes:
        speech: folder of clean speech; None where nothing is to be trained.
        noise: folder of noise; None where nothing is to be trained.
        measured: folder of measured room responses.
        n_rooms: rooms to simulate, once.
        config: TOML file of the training, which says how scenes are mixed; None for the defaults.
        cache: folder of what is packed and simulated.
        jobs: processes that do that, and threads that train.
    """

    speech: Path | None
    noise: Path | None
    measured: Path | None = None
    n_rooms: int = 1600
    config: Path | None = None
    cache: Path = Path("runs/cache")
    jobs: int = 1


def open_source(
    where: Sources, config: TrainConfig, progress: Progress = silent
) -> tuple[SceneSource, dict[str, Any]]:  # fmt: skip
    """Training scenes from folders, packed and simulated on first use, and the facts of the data.

    Raises:
        QuietmicError: no folders of speech and noise.
    """
    if where.speech is None or where.noise is None:
        message = "training needs folders of speech and noise, and there are none"
        raise QuietmicError(message, exit_code=2, argument="speech")
    speech = pack_folder(where.speech, "train", where.cache, where.jobs, progress)
    noise = pack_folder(where.noise, "train", where.cache, where.jobs, progress)
    rooms = RoomCache(build_rooms(where.cache, where.n_rooms, ROOMS_SEED, None, where.jobs, progress))
    responses = read_measured(where.measured, where.cache, progress) if where.measured else []
    source = SceneSource(speech, noise, rooms, config.mix, responses)
    facts = {"speech": describe_pack(speech), "noise": describe_pack(noise)}
    return source, facts | {"simulated_rooms": where.n_rooms, "measured_rooms": len(responses)}


def describe_pack(pack: Pack) -> dict[str, Any]:
    """Hours, hash of contents, and each source with its licences: what a card says of the training data."""
    licences: dict[str, set[str]] = {}
    for source, licence in zip(pack.column("source", "unnamed"), pack.column("licence", "unknown"), strict=True):
        licences.setdefault(source, set()).add(licence)
    hours = float(pack.lengths.sum() / SAMPLE_RATE / 3600)
    name = "sha256_sampled" if pack.is_sampled else "sha256"
    return {"hours": hours, name: pack.sha256, "sources": {s: sorted(v) for s, v in sorted(licences.items())}}
