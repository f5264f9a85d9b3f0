"""Measures what a cluster costs against processes: python tools/measure_scale.py OUT.json; on an idle machine.

The cluster is a real one of two workers on loopback. A client's time and memory are the operating system's own account
of the finished process. Half an hour with the defaults.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # the cluster is that of the tests

from cluster_jobs import Number, double
from cluster_processes import ROOT, DaskProcesses

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import run_on_cluster
from quietmic.enhance.files.audio import write
from quietmic.enhance.measure.machine import describe_machine
from quietmic.enhance.measure.probe import peak_memory_bytes

Usage = dict[str, float]


def make_files(folder: Path, n_files: int, seconds: float) -> Path:
    """A folder of equal files of faint noise."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((1, int(16000 * seconds)))
    for i in range(n_files):
        write(folder / f"{i:05d}.wav", samples, 16000)
    return folder


def denoise(source: Path, *options: str) -> Usage:
    """Wall clock, processor time and peak memory of the client process of one batch; its outputs are removed."""
    out = source.with_name(f"{source.name}-out")
    command = [sys.executable, str(ROOT / "app.py"), "denoise", str(source), "-o", str(out), *options]
    begin = time.perf_counter()
    pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)])
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - begin
    if status or len(list(out.iterdir())) != len(list(source.iterdir())):
        raise RuntimeError(f"{' '.join(command)} failed")
    shutil.rmtree(out)
    return {"wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def measure_trivial(address: str, n_jobs: int) -> Usage:
    """A trivial job n_jobs times: this process's peak memory after a tenth and after all, and milliseconds a job."""
    begin, early_mb = time.perf_counter(), 0.0
    for done, _ in enumerate(run_on_cluster(double, map(Number, range(n_jobs)), Cluster(address)), start=1):
        if done == n_jobs // 10:
            early_mb = _peak_mb()
    elapsed_s = time.perf_counter() - begin
    return {"jobs": n_jobs, "ms_per_job": 1e3 * elapsed_s / n_jobs, "early_mb": early_mb, "late_mb": _peak_mb()}


def _peak_mb() -> float:
    return (peak_memory_bytes() or 0) / 2**20


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--files", default=500, show_default=True, help="Of ten seconds, for the throughput.")
@click.option("--repeats", default=1, show_default=True, help="Of the throughput, processes and cluster in turn.")
@click.option("--few", default=500, show_default=True, help="Files of one second, for memory and overhead.")
@click.option("--many", default=2000, show_default=True, help="The same.")
@click.option("--trivial", default=100_000, show_default=True, help="Trivial jobs.")
def main(out: Path, files: int, repeats: int, few: int, many: int, trivial: int) -> None:
    """Throughput, memory and overhead of a cluster of two workers against two processes; OUT is a JSON file."""
    out = out.absolute()
    with tempfile.TemporaryDirectory() as name, DaskProcesses(Path(name)) as cluster:
        folder = Path(name)
        os.chdir(folder)  # the client keeps its journal there
        on_cluster = ("--cluster", cluster.address)
        small = [make_files(folder / f"short-{n}", n, 1.0) for n in (few, many)]
        denoise(make_files(folder / "first", 8, 1.0), *on_cluster)  # workers load the model once
        clients = [denoise(source, *on_cluster) for source in small]
        long = make_files(folder / "long", files, 10.0)
        turns = [(denoise(long, "--jobs", "2"), denoise(long, *on_cluster)) for _ in range(repeats)]
        figures = {
            "machine": describe_machine(),
            "throughput_over_processes": [pool["wall_s"] / dask["wall_s"] for pool, dask in turns],
            "turns": turns,
            "clients": dict(zip((few, many), clients, strict=True)),
            "memory_growth_mb": clients[1]["peak_mb"] - clients[0]["peak_mb"],
            "client_ms_per_file": 1e3 * (clients[1]["cpu_s"] - clients[0]["cpu_s"]) / (many - few),
            "trivial": measure_trivial(cluster.address, trivial),
        }
    out.write_text(json.dumps(figures, indent=2) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
