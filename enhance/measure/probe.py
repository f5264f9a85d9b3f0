"""Measurements in a process of their own: `python -m quietmic.enhance.measure.probe WHAT ...` prints JSON.

WHAT is memory, sessions or rates.

Memory is only a model's when nothing else was loaded before; matrix products are only of one thread when the
libraries were told so before they were loaded.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import quietmic

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def probe(what: str, *arguments: str | int) -> Any:
    """Runs a measurement of this module in a fresh process of one thread and returns what it prints."""
    command = [sys.executable, "-m", "quietmic.enhance.measure.probe", what, *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def environment() -> dict[str, str]:
    """Variables of a process that finds this quietmic and works in one thread."""
    root = str(Path(quietmic.__file__).resolve().parent.parent)
    return os.environ | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def measure_memory(path: str, n_mics: int) -> dict[str, float | int | None]:
    """Time to load a model, and peak resident memory of a stream of two seconds, before and after loading."""
    import numpy as np

    from quietmic.enhance.network import OnnxNetwork
    from quietmic.enhance.stream import Stream

    before = peak_memory_bytes()
    begin = time.perf_counter()
    network = OnnxNetwork(path)
    rate, hop = network.card.stft.sample_rate, network.card.stft.hop_length
    stream = Stream(network, n_mics, rate)
    stream.warm_up()
    load_ms = 1e3 * (time.perf_counter() - begin)
    for _ in range(2 * rate // hop):
        stream.process(np.zeros((n_mics, hop), np.float32))
    return {"load_ms": load_ms, "memory_before_bytes": before, "peak_memory_bytes": peak_memory_bytes()}


def measure_session_memory(path: str, n_mics: int, n_sessions: int = 100) -> float | None:
    """Resident bytes that each further stream of one network takes, once it has heard half a second."""
    import numpy as np

    from quietmic.enhance.network import OnnxNetwork
    from quietmic.enhance.stream import Stream

    network = OnnxNetwork(path)
    rate = network.card.stft.sample_rate

    def begin() -> Stream:
        stream = Stream(network, n_mics, rate)
        for _ in range(25):
            stream.process(np.zeros((n_mics, rate // 50), np.float32))
        return stream

    first = begin()
    before = _resident_bytes("VmRSS")
    others = [begin() for _ in range(n_sessions)]
    after = _resident_bytes("VmRSS")
    assert first not in others  # so that all of them still live here
    return None if before is None or after is None else (after - before) / n_sessions


def measure_rates(sizes: list[int]) -> dict[str, Any]:
    """What one thread of this machine reaches: float32 matrix products, and reading weights of each size.

    Args:
        sizes: bytes of weights; each is read as a matrix times a vector, over and over, from whatever cache holds it.

    Returns:
        {"macs_per_second", "read_bytes_per_second": {size: rate}}, the best of several repetitions.
    """
    import numpy as np

    n = 768
    left = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    macs_per_second = n**3 / _best_time(lambda: left @ left)
    rates = {}
    for size in sizes:
        n_columns = 512
        weights = np.ones((max(1, size // 4 // n_columns), n_columns), np.float32)
        vector = np.ones(n_columns, np.float32)
        rates[str(size)] = weights.nbytes / _best_time(lambda w=weights, v=vector: w @ v)
    return {"macs_per_second": macs_per_second, "read_bytes_per_second": rates}


def _best_time(work: Any, seconds: float = 0.5) -> float:
    """Shortest time of one call, over half a second of calls."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def peak_memory_bytes() -> int | None:
    """Most resident memory of this process so far; None where it is not told. (`ru_maxrss` begins at the parent's.)"""
    return _resident_bytes("VmHWM")


def _resident_bytes(name: str) -> int | None:
    """What Linux tells of this process under a name: VmRSS for now, VmHWM for the most so far."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(name))
    except (OSError, StopIteration):  # not Linux
        return None


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        print(json.dumps(measure_memory(sys.argv[2], int(sys.argv[3]))))
    elif sys.argv[1] == "sessions":
        print(json.dumps(measure_session_memory(sys.argv[2], int(sys.argv[3]))))
    else:
        print(json.dumps(measure_rates([int(size) for size in sys.argv[2:]])))
