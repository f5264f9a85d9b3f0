"""Fixed sets of noisy scenes with their clean references: what every quoted figure is measured on."""

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import run_on_cluster
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.processes import WorkerDied, run_in_processes
from quietmic.enhance.progress import Progress, silent
from quietmic.models.mixtures.mixing import mix, stack_scenes
from quietmic.models.mixtures.pack import find_manifest, pack_folder
from quietmic.models.mixtures.rooms import SAMPLE_RATE, RoomCache, RoomRange, build_rooms
from quietmic.models.mixtures.scene import MixConfig, no_augmentation
from quietmic.models.mixtures.source import SceneSource, choose_classes

logger = logging.getLogger(__name__)

COLUMNS = ("name", "speaker", "noise", "snr_db", "rt60_s", "n_mics")
N_MICS = 4
ROOMS = RoomRange(
    rt60_s=(0.15, 0.6),
    talker_m=(0.5, 2.5),
    noise_m=(1.0, 4.0),
    n_mics=(N_MICS,),
    square_side_m=(0.04, 0.07),
    random_radius_m=(0.02, 0.10),
)
MIX = no_augmentation(MixConfig(segment_s=6.0, snr_db=(-5.0, 15.0), level_db=(-36.0, -24.0)))


@dataclass(frozen=True)
class SceneSet:
    """A fixed set of scenes; equal seeds and data give equal files.

    Attributes:
        speech: folder of clean speech, with a manifest.csv or plain.
        noise: folder of noise, with a manifest.csv or plain.
        folder: where the set goes: noisy/, clean/, reverberant/, manifest.csv.
        count: number of scenes; each has its own room.
        seed: decides everything drawn.
        split: which rows of the manifests to use.
        classes: of noise to take, those of the manifest alone; () = all.
        sample_rate: Hz; above 16000 speech and noise should hold what is above 8 kHz.
    """

    speech: Path
    noise: Path
    folder: Path
    count: int = 60
    seed: int = 1
    split: str = "valid"
    classes: tuple[str, ...] = ()
    sample_rate: int = SAMPLE_RATE

    @property
    def cache(self) -> Path:
        """Folder of the packed data and the rooms."""
        return self.folder / ".cache"

    @property
    def config(self) -> MixConfig:
        """What its scenes look like."""
        return replace(MIX, classes=self.classes)


@dataclass(frozen=True)
class SceneJob:
    """What it takes to make scene `index` of a set, anywhere: the packed data lies in the set's cache."""

    scenes: SceneSet
    index: int


Row = dict[str, str | float | int]


def make_scene(job: SceneJob) -> Row:
    """Write one scene (noisy/NAME.flac with all microphones, clean/, reverberant/) and return its manifest row."""
    torch.set_num_threads(1)
    wanted = job.scenes
    scene = _open_source(wanted).draw_scene(np.random.default_rng((wanted.seed, job.index)), N_MICS, room=job.index)
    batch = mix(stack_scenes([scene]), torch.device("cpu"), job.index, sample_rate=wanted.sample_rate)
    name = f"scene-{job.index:03d}"
    audio.write(wanted.folder / "noisy" / f"{name}.flac", batch.noisy[0].numpy(), wanted.sample_rate)
    audio.write(wanted.folder / "clean" / f"{name}.flac", batch.target.numpy(), wanted.sample_rate)
    audio.write(wanted.folder / "reverberant" / f"{name}.flac", batch.reverberant.numpy(), wanted.sample_rate)
    facts = {k: round(v, 3) if isinstance(v, float) else v for k, v in scene.facts.items()}
    return {"name": name, **facts, "n_mics": N_MICS}


@lru_cache(maxsize=1)
def _open_source(wanted: SceneSet) -> SceneSource:
    """What the scenes of a set are drawn from, opened once by each process."""
    speech = pack_folder(wanted.speech, wanted.split, wanted.cache, sample_rate=wanted.sample_rate)
    noise = pack_folder(wanted.noise, wanted.split, wanted.cache, sample_rate=wanted.sample_rate)
    rooms = RoomCache(
        build_rooms(wanted.cache, wanted.count, wanted.seed, ROOMS, sample_rate=wanted.sample_rate), wanted.sample_rate
    )
    return SceneSource(speech, noise, rooms, wanted.config)


def make_scenes(
    wanted: SceneSet, jobs: int = 1, cluster: Cluster | None = None, progress: Progress = silent
) -> Path:  # fmt: skip
    """Make a set of scenes.

    Args:
        wanted: the set.
        jobs: processes.
        cluster: workers that mix instead of processes; they see the folders at the same paths.
        progress: hears of each file, room and scene.

    Returns:
        The manifest's path.

    Raises:
        QuietmicError: the set's folder is one of the inputs, data that cannot be read, or a worker that died.
    """
    if cluster:
        speech, noise, folder = wanted.speech.absolute(), wanted.noise.absolute(), wanted.folder.absolute()
        wanted = replace(wanted, speech=speech, noise=noise, folder=folder)
    for data in (wanted.speech, wanted.noise):
        if wanted.folder.resolve() == data.resolve():
            message = f"{wanted.folder} is where the sound comes from: scenes would replace its manifest.csv"
            raise QuietmicError(message, exit_code=2)
    for data in (wanted.speech, wanted.noise):
        if not find_manifest(data):
            logger.warning("%s has no manifest.csv: all its files may be in scenes, so train on others", data)
        pack = pack_folder(data, wanted.split, wanted.cache, jobs, progress, wanted.sample_rate)
    choose_classes(pack, wanted.config)  # the noise's: says what is wrong before the work begins
    build_rooms(wanted.cache, wanted.count, wanted.seed, ROOMS, jobs, progress, wanted.sample_rate)
    for part in ("noisy", "clean", "reverberant"):
        (wanted.folder / part).mkdir(parents=True, exist_ok=True)
    work = [SceneJob(wanted, i) for i in range(wanted.count)]
    rows: dict[int, Row] = {}
    for job, row in _make_all(work, jobs, cluster):
        rows[job.index] = row
        progress("mixing scenes", len(rows), len(work))
    manifest = wanted.folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[job.index] for job in work)
    return manifest


def _make_all(work: list[SceneJob], jobs: int, cluster: Cluster | None) -> Iterator[tuple[SceneJob, Row]]:
    made = run_on_cluster(make_scene, work, cluster) if cluster else run_in_processes(make_scene, work, jobs)
    for job, row in made:
        if isinstance(row, WorkerDied):
            raise QuietmicError(f"scene {job.index}: {row.reason}")
        yield job, row
