"""What an archive of recordings would cost: core hours and bandwidth, from the throughput measured here."""

import time
from functools import partial
from typing import Any

import numpy as np

from quietmic.enhance.cluster.cores import usable_cores
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.processes import map_in_processes
from quietmic.enhance.signals import cut_blocks, enhance_signal
from quietmic.enhance.stream import Stream

SAMPLE_BYTES = 2  # 16-bit PCM, mono, in and out


def plan(target: str, hours: float, cores: int, link_mbit: float, seconds: float = 30.0) -> dict[str, Any]:
    """Cost of enhancing `hours` of mono audio with one model.

    Throughput is measured with every core of this machine busy, one thread each, as in the real run; files are
    taken to be 16-bit WAV at the model's rate, read and written over the link.

    Args:
        target: the model's ONNX file.
        hours: of audio.
        cores: of the machines that would do it, each as fast as those here.
        link_mbit: bandwidth between them and the storage, in Mbit/s, all together and for each direction.
        seconds: of audio for each core of the measurement.
    """
    n_workers = usable_cores()
    times = list(map_in_processes(partial(time_file, target), [seconds] * n_workers, n_workers, "spawn"))
    throughput = seconds / float(np.mean(times))
    rate = read_card(target).stft.sample_rate
    core_hours = hours / throughput
    bytes_each_way = hours * 3600 * rate * SAMPLE_BYTES
    compute_hours = core_hours / cores
    transfer_hours = bytes_each_way * 8 / (link_mbit * 1e6) / 3600
    return {
        "hours": hours, "cores": cores, "link_mbit": link_mbit,
        "audio_seconds_per_core_second": throughput, "cores_measured": n_workers,
        "core_hours": core_hours, "compute_hours": compute_hours,
        "bytes_in": bytes_each_way, "bytes_out": bytes_each_way, "transfer_hours": transfer_hours,
        "needed_mbit": bytes_each_way * 8 / (compute_hours * 3600) / 1e6,
        "wall_hours": max(compute_hours, transfer_hours),
        "bound_by": "processors" if compute_hours >= transfer_hours else "link",
    }  # fmt: skip


def time_file(target: str, seconds: float) -> float:
    """Seconds that one file of this length takes, the model already loaded."""
    network = OnnxNetwork(target)
    rate = network.card.stft.sample_rate
    signal = 0.1 * np.random.default_rng(0).standard_normal((1, int(seconds * rate)), dtype=np.float32)
    blocks = list(cut_blocks(signal, rate))
    stream = Stream(network, 1, rate)
    list(enhance_signal([stream], blocks[:1]))
    stream.reset()
    begin = time.perf_counter()
    list(enhance_signal([stream], blocks))
    return time.perf_counter() - begin


def plan_text(figures: dict[str, Any]) -> str:
    """The plan as sentences for a person."""
    return (
        f"{figures['hours']:,.0f} h of audio at {figures['audio_seconds_per_core_second']:.0f} s of audio per core "
        f"second (measured with {figures['cores_measured']} cores busy):\n"
        f"  {figures['core_hours']:,.1f} core hours, {figures['compute_hours']:,.2f} h on {figures['cores']} cores\n"
        f"  {figures['bytes_in'] / 1e9:,.1f} GB in and {figures['bytes_out'] / 1e9:,.1f} GB out (16-bit WAV), "
        f"{figures['transfer_hours']:,.2f} h at {figures['link_mbit']:g} Mbit/s each way; "
        f"{figures['needed_mbit']:,.0f} Mbit/s would keep the cores busy\n"
        f"  {figures['wall_hours']:,.2f} h in all, bound by the {figures['bound_by']}"
    )
