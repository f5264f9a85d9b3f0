"""Speed of models and peers on this machine, and how far each is from what the machine could do.

Systems take turns: in every round each one works on its share, so that a machine that slows down slows all of them,
and ratios come from the same moments.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.cluster.cores import usable_cores
from quietmic.enhance.measure.energy import POWERCAP, energy_of
from quietmic.enhance.measure.machine import describe_machine, package_versions
from quietmic.enhance.measure.peers import find_peer, run_peer
from quietmic.enhance.measure.probe import probe
from quietmic.enhance.measure.records import DEFAULT_FOLDER, write_record
from quietmic.enhance.measure.sessions import count_sessions
from quietmic.enhance.measure.start import measure_start
from quietmic.enhance.measure.statistics import summarise
from quietmic.enhance.measure.systems import System, describe_system, model_system
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.progress import Progress, silent
from quietmic.enhance.served import FULL_BAND_RATE, Band
from quietmic.enhance.signals import cut_blocks, enhance_signal
from quietmic.enhance.stream import Stream

N_ROUNDS = 5
WEIGHT_BYTES = 4  # of a float32 parameter


def bench(
    systems: list[System],
    seconds: float = 20.0,
    max_threads: int | None = None,
    sessions: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """How fast every system is, live and on files, and how near a model comes to what the machine can do.

    Args:
        systems: models and peers.
        seconds: of audio that each one gets in each mode, spread over the rounds.
        max_threads: threads are measured from 1 to here; all usable cores by default.
        sessions: also count how many sessions of a model one core carries.
        progress: hears of each system, once all were timed in turns.

    Returns:
        {"systems": [...], "ratios": [...], "rates", "load_average"}: plain data for JSON; "not measured" is None.
    """
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    live, files = _interleave([_live_run(s) for s in systems], [_file_run(s) for s in systems], seconds)
    models = [system for system in systems if system.kind == "model"]
    rates = probe("rates", *sorted({_weight_bytes(system) for system in models}))
    results = []
    for system, hops, chunks in zip(systems, live, files, strict=True):
        result = describe_system(system) | _times(system, hops, chunks, seconds)
        if system.kind == "model":
            result |= _model_figures(system, seconds, max_threads or usable_cores(), rates)
            if sessions:
                result["sessions"] = count_sessions(Path(system.target), system.n_mics, seconds / N_ROUNDS)
        results.append(result)
        progress("timing", len(results), len(systems), system.label)
    return {"systems": results, "ratios": _ratios(systems, live), "rates": rates, "load_average": load_average}


def hop_times(models: Sequence[Path], seconds: float) -> list[float]:
    """Median processor time of a live hop of each model in s, one microphone and one thread; they take turns.

    On an idle machine that is what `bench` times; on a busy one the waiting does not count.

    Args:
        models: ONNX files.
        seconds: of audio that each one gets.
    """
    live, _ = _interleave([_live_run(model_system(str(path)), clock=time.process_time) for path in models], [], seconds)
    return [median(t for part in hops for t in part) for hops in live]


def hop_energies(models: Sequence[Path], seconds: float, powercap: Path = POWERCAP) -> list[float] | None:
    """Energy in J that this machine takes for so much audio live with each model; None where it may not be read.

    They take turns as in `hop_times`; see `energy_of`.
    """
    if energy_of(lambda: None, powercap) is None:
        return None
    runs = [run for path in models if (run := _live_run(model_system(str(path))))]
    for run in runs:
        run(0.5)
    rounds = [[energy_of(partial(run, seconds / N_ROUNDS), powercap) for run in runs] for _ in range(N_ROUNDS)]
    return [sum(joules or 0.0 for joules in own) for own in zip(*rounds, strict=True)]


def _interleave(
    live: list[Callable[[float], list[float]] | None], files: list[Callable[[float], list[float]]], seconds: float
) -> tuple[list[list[list[float]]], list[list[list[float]]]]:
    """Times [system][round][call] in seconds, live and in files; the round before the first warms up."""
    live_times: list[list[list[float]]] = [[] for _ in live]
    file_times: list[list[list[float]]] = [[] for _ in files]
    for run in [*live, *files]:
        if run:
            run(0.5)
    for _ in range(N_ROUNDS):
        for index, run in enumerate(live):
            if run:
                live_times[index].append(run(seconds / N_ROUNDS))
        for index, run in enumerate(files):
            file_times[index].append(run(seconds / N_ROUNDS))
    return live_times, file_times


def _live_run(
    system: System, threads: int = 1, clock: Callable[[], float] = time.perf_counter
) -> Callable[[float], list[float]] | None:
    """Function of a length of audio in seconds -> time of each hop; None for what has no live use here."""
    if system.kind != "model":
        return None
    network = OnnxNetwork(system.target, threads)
    rate, hop = network.card.stft.sample_rate, network.card.stft.hop_length
    stream = Stream(network, system.n_mics, rate)

    def run(seconds: float) -> list[float]:
        signal = _signal(system.n_mics, max(1, round(seconds * rate / hop)) * hop)
        return [_time(stream.process, signal[:, s : s + hop], clock=clock) for s in range(0, signal.shape[1], hop)]

    return run


def _file_run(system: System) -> Callable[[float], list[float]]:
    """Function of a length of audio in seconds -> [time of a whole file of that length]."""
    rate = dict(system.facts)["sample_rate"]
    if system.kind == "peer":
        peer = find_peer(system.target, system.weights)
        return lambda seconds: [_time(run_peer, peer, _signal(1, int(seconds * rate))[0], rate)]
    network = OnnxNetwork(system.target)

    def run(seconds: float) -> list[float]:
        signal = _signal(system.n_mics, int(seconds * rate))
        blocks = cut_blocks(signal, rate)
        stream = Stream(network, system.n_mics, rate)
        return [_time(lambda: list(enhance_signal([stream], blocks)))]

    return run


def _times(system: System, hops: list[list[float]], files: list[list[float]], seconds: float) -> dict[str, Any]:
    """Real-time factors, and percentiles of the hop for models."""
    rtf_files = median(sum(part) for part in files) / (seconds / N_ROUNDS)
    if not hops:
        # A peer that works frame by frame costs live what it costs in files.
        live = rtf_files if dict(system.facts).get("frame_by_frame") else None
        return {"rtf_live": live, "rtf_files": rtf_files, "hop_ms": None}
    stft = read_card(system.target).stft
    hop_s = stft.hop_length / stft.sample_rate
    times = [t for part in hops for t in part]
    return {"rtf_live": float(np.mean(times)) / hop_s, "rtf_files": rtf_files, "hop_ms": _percentiles(times)}


def _percentiles(times: list[float]) -> dict[str, float]:
    p50, p95, p99 = (float(1e3 * value) for value in np.percentile(times, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99, "max": 1e3 * max(times), "mean": 1e3 * float(np.mean(times))}


def _model_figures(system: System, seconds: float, max_threads: int, rates: dict[str, Any]) -> dict[str, Any]:
    stft = read_card(system.target).stft
    stream = Stream(OnnxNetwork(system.target), system.n_mics, stft.sample_rate)
    probes = [probe("memory", system.target, system.n_mics) for _ in range(3)]
    network_ms = _network_ms(system)
    return {
        # A sample waits until its hop is full, then for the overlap of the windows.
        "algorithmic_delay_ms": 1e3 * (stream.delay + stft.hop_length) / stft.sample_rate,
        "hop_duration_ms": 1e3 * stft.hop_length / stft.sample_rate,
        "network_ms": network_ms,
        **_full_band(system),
        "beamformer_ms": _beamformer_ms(system),
        "start": measure_start(system.target),
        "load_ms": median(entry["load_ms"] for entry in probes),
        "memory_before_bytes": probes[0]["memory_before_bytes"],
        "peak_memory_bytes": probes[0]["peak_memory_bytes"],
        "threads": {str(n): _thread_figures(system, n, seconds) for n in range(1, max_threads + 1)},
        "limit": hop_limit(system, network_ms, stft.sample_rate / stft.hop_length, rates),
    }


def _thread_figures(system: System, threads: int, seconds: float) -> dict[str, float]:
    run = _live_run(system, threads)
    assert run is not None
    run(0.5)
    return _percentiles(run(seconds / N_ROUNDS))


def _network_ms(system: System) -> float:
    """Median time of the graph alone for one frame, in ms."""
    network = OnnxNetwork(system.target)
    hop = network.bind(system.n_mics)
    hop.noisy[...] = _signal(system.n_mics, hop.noisy.shape[1])
    hop.beam[...] = hop.noisy[0]
    state, times = network.initial_state(), []
    for _ in range(200):
        begin = time.perf_counter()
        state = hop.run(state)
        times.append(time.perf_counter() - begin)
    return 1e3 * median(times)


def _full_band(system: System) -> dict[str, float]:
    """Median time of a hop at 48 kHz, in ms, and what the upper band is of it: with it and without it, in turns."""
    network = OnnxNetwork(system.target)
    bands: tuple[Band, ...] = ("full", "narrow")
    streams = [Stream(network, system.n_mics, FULL_BAND_RATE, band=band) for band in bands]
    hop = network.card.stft.hop_length * FULL_BAND_RATE // network.card.stft.sample_rate
    block = _signal(system.n_mics, hop)
    times = [[_time(stream.process, block) for stream in streams] for _ in range(300)]
    full, narrow = np.median(times, axis=0)
    return {"full_band_hop_ms": float(1e3 * full), "upper_band_ms": float(1e3 * (full - narrow))}


def _beamformer_ms(system: System) -> float:
    """Median time of the beamformer for one frame, in ms; 0 with one microphone, which has none."""
    stream = Stream(OnnxNetwork(system.target), system.n_mics, read_card(system.target).stft.sample_rate)
    if not stream.beamformer:
        return 0.0
    beamformer = stream.beamformer
    spectra = _signal(system.n_mics, 2 * beamformer.n_freqs).view(np.complex64)
    mask, state = np.full(beamformer.n_freqs, 0.5, np.float32), beamformer.initial_state()
    times = []
    for _ in range(200):
        times.append(_time(beamformer.apply, spectra, 0, state) + _time(beamformer.update, spectra, mask, state))
    return 1e3 * median(times)


def hop_limit(system: System, network_ms: float, hops_per_second: float, rates: dict[str, Any]) -> dict[str, Any]:
    """Roofline (Williams et al. 2009) of one hop: the longer of its multiplications and of reading its weights."""
    facts = dict(system.facts)
    if not facts["macs_per_second"] or not facts["parameters"]:
        return {"compute_ms": None, "memory_ms": None, "limit_ms": None, "distance": None}
    weight_bytes = _weight_bytes(system)
    compute_ms = 1e3 * facts["macs_per_second"] / hops_per_second / rates["macs_per_second"]
    memory_ms = 1e3 * weight_bytes / rates["read_bytes_per_second"][str(weight_bytes)]
    limit_ms = max(compute_ms, memory_ms)
    return {
        "compute_ms": compute_ms, "memory_ms": memory_ms, "limit_ms": limit_ms, "distance": network_ms / limit_ms,
    }  # fmt: skip


def _weight_bytes(system: System) -> int:
    return WEIGHT_BYTES * (dict(system.facts)["parameters"] or 0)


def _ratios(systems: list[System], live: list[list[list[float]]]) -> list[dict[str, Any]]:
    """Time of one model over another's, round by round, with the interval over rounds."""
    timed = [(s.label, [float(np.mean(part)) for part in rounds]) for s, rounds in zip(systems, live, strict=True)]
    timed = [(label, means) for label, means in timed if means]
    return [
        {"first": a, "second": b, "live": summarise([x / y for x, y in zip(first, second, strict=True)])}
        for i, (a, first) in enumerate(timed)
        for b, second in timed[i + 1 :]
    ]


def _signal(n_channels: int, n_samples: int) -> Array:
    return 0.1 * np.random.default_rng(0).standard_normal((n_channels, n_samples), dtype=np.float32)


def _time(work: Callable[..., Any], *arguments: Any, clock: Callable[[], float] = time.perf_counter) -> float:
    begin = clock()
    work(*arguments)
    return clock() - begin


def run_bench(
    systems: list[System],
    seconds: float,
    max_threads: int | None,
    records: Path = DEFAULT_FOLDER,
    sessions: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Times the systems and leaves a record, which is returned with its path."""
    result = bench(systems, seconds, max_threads, sessions, progress)
    path = write_record("bench", result, records, seconds=seconds)
    machine, versions = describe_machine(), package_versions()
    return {"kind": "bench", "machine": machine, "versions": versions, "figures": result, "path": str(path)}
