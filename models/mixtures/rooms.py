"""Simulated rooms and microphone arrays: impulse responses made once with the image method and cached in one file.

A cache is a folder with `rooms.npy` (float16, all responses one after the other) and `rooms.json` (one entry a room).
Each room has one talker, N_NOISES point noises and an array of 1 to 8 microphones. Microphone 0 is the reference.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from quietmic.enhance.processes import worker_pool
from quietmic.enhance.progress import Progress, describe_minutes, silent
from quietmic.models.mixtures.pack import SAMPLE_RATE, rate_suffix, written_whole

logger = logging.getLogger(__name__)

N_NOISES = 3
MAX_TAPS = 8192  # of a response at SAMPLE_RATE
N_TRIED = 2  # rooms by which the cost of all is told
EARLY_S = 0.050
SPEED_OF_SOUND = 343.0
FRACTIONAL_DELAY = 40  # samples by which pyroomacoustics delays every response (half of its fractional-delay filter)


@dataclass(frozen=True)
class RoomRange:
    """Ranges that rooms are drawn from; distances in metres from the array's centre, times in seconds."""

    rt60_s: tuple[float, float] = (0.1, 0.7)
    talker_m: tuple[float, float] = (0.3, 3.0)
    noise_m: tuple[float, float] = (0.5, 5.0)
    n_mics: tuple[int, ...] = (2, 3, 4, 4, 4, 6, 8)
    square_side_m: tuple[float, float] = (0.02, 0.12)
    random_radius_m: tuple[float, float] = (0.02, 0.15)


@dataclass(frozen=True)
class Room:
    """One simulated room: where its responses lie in the cache, and the facts of it.

    `responses` are [1 + N_NOISES, n_mics, n_taps] float32, talker first; the largest value of each source is 1.
    `direct` [n_mics] is the sample at which the talker's direct sound arrives.
    """

    responses: np.ndarray
    direct: np.ndarray
    mics_m: np.ndarray
    rt60_s: float

    @property
    def n_mics(self) -> int:
        """Number of microphones in the room."""
        return int(self.responses.shape[1])


def draw_array(rng: np.random.Generator, ranges: RoomRange) -> np.ndarray:
    """Microphone positions [n_mics, 3] in metres around the origin: half squares or circles, half random."""
    n_mics = int(rng.choice(ranges.n_mics))
    if rng.random() < 0.5:
        radius = rng.uniform(*ranges.square_side_m) / np.sqrt(2)
        angle = 2 * np.pi * (np.arange(n_mics) / n_mics) + rng.uniform(0, 2 * np.pi)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(n_mics)], axis=1)
    radius = rng.uniform(*ranges.random_radius_m)
    points = rng.normal(size=(n_mics, 3))
    points *= radius * rng.uniform(0.2, 1.0, size=(n_mics, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _place(rng: np.random.Generator, size: np.ndarray, centre: np.ndarray, distance: tuple[float, float]) -> np.ndarray:
    """A point at a drawn distance from `centre` that lies inside the room (walls kept 0.2 m away)."""
    for _ in range(200):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(*distance)
        height = np.clip(centre[2] + rng.uniform(-0.5, 0.7), 0.4, size[2] - 0.2)
        flat = np.sqrt(max(radius**2 - (height - centre[2]) ** 2, 0.04))
        point = np.array([centre[0] + flat * np.cos(angle), centre[1] + flat * np.sin(angle), height])
        if np.all(point > 0.2) and np.all(point < size - 0.2):
            return point
    return np.clip(centre + rng.normal(size=3), 0.3, size - 0.3)


def simulate_room(seed: int, ranges: RoomRange, sample_rate: int = SAMPLE_RATE) -> Room:
    """One room by the image method (pyroomacoustics), reproducible from its seed."""
    import pyroomacoustics

    rng = np.random.default_rng(seed)
    while True:
        size = np.array([rng.uniform(3, 9), rng.uniform(3, 7), rng.uniform(2.3, 3.8)])
        rt60 = rng.uniform(*ranges.rt60_s)
        try:
            absorption, order = pyroomacoustics.inverse_sabine(rt60, size)
            break
        except ValueError:  # a large room cannot be that dry
            continue
    shape = draw_array(rng, ranges)
    centre = np.array([rng.uniform(0.8, size[0] - 0.8), rng.uniform(0.8, size[1] - 0.8), rng.uniform(0.6, 1.7)])
    mics = np.clip(centre + shape, 0.05, size - 0.05)
    room = pyroomacoustics.ShoeBox(
        size, fs=sample_rate, materials=pyroomacoustics.Material(absorption), max_order=min(order, 60)
    )
    sources = [_place(rng, size, centre, ranges.talker_m)]
    sources += [_place(rng, size, centre, ranges.noise_m) for _ in range(N_NOISES)]
    for source in sources:
        room.add_source(source)
    room.add_microphone_array(mics.T)
    room.compute_rir()
    distance = np.linalg.norm(np.stack(sources)[:, None] - mics[None], axis=2)
    arrival = np.round(distance / SPEED_OF_SOUND * sample_rate).astype(int) + FRACTIONAL_DELAY
    return _trim(room.rir, arrival, mics - centre, rt60, sample_rate)


def max_taps(sample_rate: int) -> int:
    """Samples of the longest response."""
    return MAX_TAPS * sample_rate // SAMPLE_RATE


def _trim(rir: list[list[np.ndarray]], arrival: np.ndarray, mics_m: np.ndarray, rt60: float, sample_rate: int) -> Room:
    """Cut the common delay before each source's first arrival ([n_sources, n_mics]), and the tail below -60 dB."""
    n_taps = min(max_taps(sample_rate), int(rt60 * sample_rate) + 512)
    responses = np.zeros((1 + N_NOISES, len(rir), n_taps), np.float32)
    for source in range(1 + N_NOISES):
        start = max(int(arrival[source].min()) - FRACTIONAL_DELAY, 0)
        for m, mic in enumerate(rir):
            piece = mic[source][start : start + n_taps]
            responses[source, m, : len(piece)] = piece
        responses[source] /= np.max(np.abs(responses[source]))
    direct = arrival[0] - max(int(arrival[0].min()) - FRACTIONAL_DELAY, 0)
    return Room(responses, direct, mics_m, rt60)


def early_part(response: np.ndarray, direct: int, sample_rate: int = SAMPLE_RATE, early_s: float = EARLY_S) -> np.ndarray:
    """The direct sound and the first 50 ms of reflections of one response [n_taps]: what the target is made with."""
    early = response.copy()
    early[direct + int(early_s * sample_rate) :] = 0
    return early


def _seed_of(seed: int, i: int) -> int:
    return seed * 1_000_003 + i


def _tell_cost(simulate: Callable[[int], Room], count: int, seed: int, target: Path, jobs: int) -> None:
    """Says what the simulation will take, by what a few of the rooms take."""
    n_tried = min(N_TRIED, count)
    begin = time.perf_counter()
    n_values = sum(simulate(_seed_of(seed, i)).responses.size for i in range(n_tried))
    minutes = (time.perf_counter() - begin) / 60 * count / n_tried / jobs
    logger.info(
        "%d rooms are simulated once, into %s: about %s and %.2f GB",
        count, target, describe_minutes(minutes), 2 * n_values * count / n_tried / 1e9,
    )  # fmt: skip


def build_rooms(
    folder: Path, count: int, seed: int, ranges: RoomRange | None = None, jobs: int = 1, progress: Progress = silent,
    sample_rate: int = SAMPLE_RATE,
) -> Path:  # fmt: skip
    """Simulate `count` rooms into a cache folder, unless it already holds rooms of this count, seed and ranges.

    Returns:
        The cache folder, named after what it holds.
    """
    ranges = ranges or RoomRange()
    target = folder / f"rooms-{count}-seed{seed}{rate_suffix(sample_rate)}"
    facts = {"count": count, "seed": seed, "ranges": asdict(ranges)}
    if _holds(target, facts):
        return target
    simulate = partial(simulate_room, ranges=ranges, sample_rate=sample_rate)
    _tell_cost(simulate, count, seed, target, jobs)
    entries, flat, offset = [], [], 0
    with worker_pool(jobs) as pool:
        for room in pool.map(simulate, [_seed_of(seed, i) for i in range(count)], chunksize=4):
            data = room.responses.astype(np.float16)
            flat.append(data.ravel())
            entries.append(
                {
                    "offset": offset,
                    "shape": data.shape,
                    "direct": room.direct.tolist(),
                    "mics_m": np.round(room.mics_m, 4).tolist(),
                    "rt60_s": round(room.rt60_s, 4),
                }
            )
            offset += data.size
            progress("simulating rooms", len(entries), count)
    with written_whole(target) as part:
        np.save(part / "rooms.npy", np.concatenate(flat))
        (part / "rooms.json").write_text(json.dumps({"facts": facts, "rooms": entries}))
    return target


def _holds(target: Path, facts: dict[str, Any]) -> bool:
    """Whether rooms of these facts are there, and none of their files was cut off by a crash of the machine."""
    try:
        np.load(target / "rooms.npy", mmap_mode="r")
        return bool(json.loads((target / "rooms.json").read_text())["facts"] == json.loads(json.dumps(facts)))
    except (OSError, ValueError, EOFError):
        return False


class RoomCache:
    """The rooms of a cache folder, read as they are needed.

    Attributes:
        sample_rate: Hz, of the responses.
    """

    def __init__(self, folder: Path, sample_rate: int = SAMPLE_RATE) -> None:
        self.sample_rate = sample_rate
        self._entries = json.loads((folder / "rooms.json").read_text())["rooms"]
        self._flat = np.load(folder / "rooms.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self._entries)

    def n_mics(self, i: int) -> int:
        """Number of microphones in room i, without reading its responses."""
        return int(self._entries[i]["shape"][1])

    def __getitem__(self, i: int) -> Room:
        entry = self._entries[i]
        shape = tuple(entry["shape"])
        data = np.asarray(self._flat[entry["offset"] : entry["offset"] + int(np.prod(shape))], np.float32)
        return Room(data.reshape(shape), np.array(entry["direct"]), np.array(entry["mics_m"]), entry["rt60_s"])
