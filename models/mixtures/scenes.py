"""Fixed sets of noisy scenes with their clean references: what every quoted figure is measured on."""

from __future__ import annotations

import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import WorkerDied, run_on_cluster
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.models.mixtures.mixing import mix, stack_scenes
from quietmic.models.mixtures.pack import pack_folder
from quietmic.models.mixtures.rooms import SAMPLE_RATE, RoomCache, RoomRange, build_rooms
from quietmic.models.mixtures.scene import MixConfig, no_augmentation
from quietmic.models.mixtures.source import SceneSource

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
class SceneJob:
    """What it takes to make scene `index` of a set, anywhere: the packed data lies in `cache`."""

    speech: Path
    noise: Path
    split: str
    cache: Path
    folder: Path
    seed: int
    count: int
    index: int


def make_scene(job: SceneJob) -> dict[str, str | float | int]:
    """Write one scene (noisy/NAME.flac with all microphones, clean/NAME.flac) and return its manifest row."""
    torch.set_num_threads(1)
    speech = pack_folder(job.speech, job.split, job.cache)
    noise = pack_folder(job.noise, job.split, job.cache)
    rooms = RoomCache(build_rooms(job.cache, job.count, job.seed, ROOMS))
    source = SceneSource(speech, noise, rooms, MIX)
    scene = source.draw_scene(np.random.default_rng((job.seed, job.index)), N_MICS, room=job.index)
    batch = mix(stack_scenes([scene]), torch.device("cpu"), seed=job.index)
    name = f"scene-{job.index:03d}"
    audio.write(job.folder / "noisy" / f"{name}.flac", batch.noisy[0].numpy(), SAMPLE_RATE)
    audio.write(job.folder / "clean" / f"{name}.flac", batch.target.numpy(), SAMPLE_RATE)
    facts = {k: round(v, 3) if isinstance(v, float) else v for k, v in scene.facts.items()}
    return {"name": name, **facts, "n_mics": N_MICS}


def make_scenes(
    speech: Path, noise: Path, folder: Path, count: int, seed: int, split: str, jobs: int,
    cluster: Cluster | None = None,
) -> Path:  # fmt: skip
    """Make `count` scenes; equal seeds and data give equal files.

    Args:
        speech, noise: folders with a manifest.csv, or plain folders of audio files.
        folder: where the set goes: noisy/, clean/, manifest.csv.
        count: number of scenes; each has its own room.
        seed: decides everything drawn.
        split: which rows of the manifests to use.
        jobs: processes.
        cluster: workers that mix instead of processes; they see the folders at the same paths.

    Returns:
        The manifest's path.
    """
    if cluster:
        speech, noise, folder = speech.absolute(), noise.absolute(), folder.absolute()
    cache = folder / ".cache"
    for data in (speech, noise):
        if not (data / "manifest.csv").exists():
            print(f"{data} has no manifest.csv: all its files may be in scenes, so train on others", file=sys.stderr)
        pack_folder(data, split, cache, jobs)
    build_rooms(cache, count, seed, ROOMS, jobs)
    for part in ("noisy", "clean"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    work = [SceneJob(speech, noise, split, cache, folder, seed, count, i) for i in range(count)]
    if cluster:
        rows = _mix_on_cluster(work, cluster)
    else:
        with ProcessPoolExecutor(jobs) as pool:
            rows = list(track(pool.map(make_scene, work), description="mixing scenes", total=count))
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def _mix_on_cluster(work: list[SceneJob], cluster: Cluster) -> list[dict[str, str | float | int]]:
    """Manifest rows in the order of the work."""
    rows: dict[int, dict[str, str | float | int]] = {}
    finished = run_on_cluster(make_scene, work, cluster)
    for job, row in track(finished, description="mixing scenes", total=len(work)):
        if isinstance(row, WorkerDied):
            raise QuietmicError(f"scene {job.index}: {row.reason}")
        rows[job.index] = row
    return [rows[job.index] for job in work]
