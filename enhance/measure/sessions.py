"""How many callers one core carries at once: each a stream of its own, all of one network."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.measure.probe import probe
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.stream import Stream

FRAME_MS = 20  # what telephony and browsers send at a time
MAX_SESSIONS = 4096
_WARM_UP_FRAMES = 4  # after which a hop of 16 ms lies as it did before: sessions begin at different ones


def count_sessions(path: Path, n_mics: int, seconds: float) -> dict[str, Any]:
    """The most sessions whose frames are ready in time on one core.

    They are whenever less is computed in a second than a second holds, and 99 of 100 frames are ready before the next
    frame of their caller comes.

    Args:
        path: the model's ONNX file.
        n_mics: of each session.
        seconds: of audio that each session gets in a trial.

    Returns:
        {"n_sessions", "frame_ms", "load", "p50_ms", "p99_ms" of the time from a frame's arrival to its result,
        "memory_bytes" of a further session}; where not even one is carried, load and times are those of one.
    """
    network = OnnxNetwork(path)
    trials: dict[int, dict[str, float]] = {}

    def carries(n: int) -> bool:
        trials[n] = try_sessions(network, n, n_mics, seconds)
        return trials[n]["load"] < 1 and trials[n]["p99_ms"] < FRAME_MS

    low, high = 0, 1
    while high <= MAX_SESSIONS and carries(high):
        low, high = high, max(high + 1, min(2 * high, int(high / trials[high]["load"])))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if carries(middle) else (low, middle)
    memory = probe("sessions", str(path), n_mics)
    return {"n_sessions": low, "frame_ms": FRAME_MS, **trials[max(low, 1)], "memory_bytes": memory}


def try_sessions(network: OnnxNetwork, n_sessions: int, n_mics: int, seconds: float) -> dict[str, float]:
    """Serves callers one after the other, as their frames come, and tells how long frames take.

    The computing is real and timed, the waiting for callers is not: a clock is set forward to the next arrival, so
    that a second takes no longer than its computing.

    Returns:
        {"load": seconds computed in a second of arrivals, "p50_ms", "p99_ms"}.
    """
    rate = network.card.stft.sample_rate
    n_frame = rate * FRAME_MS // 1000
    signal = 0.1 * np.random.default_rng(0).standard_normal((n_mics, rate), dtype=np.float32)
    streams = [Stream(network, n_mics, rate) for _ in range(n_sessions)]
    for index, stream in enumerate(streams):
        stream.process(signal[:, : (1 + index % _WARM_UP_FRAMES) * n_frame])
    n_frames = max(1, round(1e3 * seconds / FRAME_MS))
    frames = np.split(signal, range(n_frame, rate, n_frame), axis=1)
    services = np.empty((n_frames, n_sessions))
    for turn in range(n_frames):
        for index, stream in enumerate(streams):
            services[turn, index] = _timed(stream, frames[turn % len(frames)])
    latencies = latency_ms(services)
    p50, p99 = (float(value) for value in np.percentile(latencies, [50, 99]))
    return {"load": float(1e3 * services.sum() / (n_frames * FRAME_MS)), "p50_ms": p50, "p99_ms": p99}


def latency_ms(services: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time from each frame's arrival to its result, where one core serves frames in the order of their arrival.

    Callers have nothing to do with each other: their frames come at even distances within the 20 ms.

    Args:
        services: [n_frames, n_sessions] seconds that each frame is computed for.

    Returns:
        [n_frames * n_sessions] in ms.
    """
    spacing = 1e-3 * FRAME_MS / services.shape[1]
    free, latencies = 0.0, []
    for index, service in enumerate(services.flat):
        free = max(free, index * spacing) + service
        latencies.append(1e3 * (free - index * spacing))
    return np.array(latencies)


def _timed(stream: Stream, frame: Array) -> float:
    begin = time.perf_counter()
    stream.process(frame)
    return time.perf_counter() - begin
