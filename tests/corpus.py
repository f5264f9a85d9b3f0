"""A small corpus of speech-like bursts and of noise, with rooms, to train on."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from quietmic.models.mixtures.pack import pack_folder
from quietmic.models.mixtures.rooms import RoomCache, RoomRange, build_rooms
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.mixtures.source import SceneSource

SMALL_ROOMS = RoomRange(rt60_s=(0.1, 0.15), n_mics=(4,))


def write_corpus(folder: Path, n_files: int, seed: int) -> Path:
    """Bursts of noise of several speakers, with a manifest."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_files):
        name = f"{i}.wav"
        wave = rng.normal(0, 0.05, 20000) * (np.sin(np.arange(20000) / 2000) > 0)
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / name, wave, 16000)
        rows.append({"path": name, "split": "train", "speaker": f"s{i % 2}", "source": "test", "class": "burst"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def make_data(folder: Path) -> dict[str, Path]:
    """Speech, noise, rooms and cache below a folder."""
    speech, noise = write_corpus(folder / "speech", 4, 0), write_corpus(folder / "noise", 3, 1)
    rooms = build_rooms(folder / "cache", 3, 0, SMALL_ROOMS)
    return {"speech": speech, "noise": noise, "rooms": rooms, "cache": folder / "cache"}


def make_source(data: dict[str, Path], config: MixConfig) -> SceneSource:
    packs = [pack_folder(data[name], "train", data["cache"]) for name in ("speech", "noise")]
    return SceneSource(packs[0], packs[1], RoomCache(data["rooms"]), config)
