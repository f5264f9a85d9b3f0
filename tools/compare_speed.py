"""Compares the speed of two checkouts, live or in files, in turns: python tools/compare_speed.py OLD.

OLD is another checkout of this repository, as `git worktree add OLD REVISION` makes it, with the weights of its time.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from quietmic.enhance.files.audio import read  # noqa: E402
from quietmic.enhance.measure.metrics import si_sdr  # noqa: E402
from quietmic.enhance.measure.recordings import Recording, find_recordings  # noqa: E402
from quietmic.enhance.measure.statistics import summarise  # noqa: E402

WORKER = """
import json, sys, time
import numpy as np
import quietmic
from quietmic import denoise, open_stream
from quietmic.enhance.files.audio import read

assert quietmic.__file__.startswith(sys.argv[1] + "/"), quietmic.__file__
stream = open_stream(sys.argv[2], n_mics=int(sys.argv[3]))
seconds = 0.1 * np.random.default_rng(0).standard_normal((stream.n_mics, 160000)).astype(np.float32)
hops = 0.1 * np.random.default_rng(0).standard_normal((100, stream.n_mics, 256)).astype(np.float32)
for line in sys.stdin:
    if line.startswith("["):
        source, target = json.loads(line)
        stream.reset()
        noisy = read(source)[0][:stream.n_mics]
        parts = [stream.process(noisy[:, s:s + 256]) for s in range(0, noisy.shape[1], 256)]
        np.save(target, np.concatenate([*parts, stream.flush()])[stream.delay:])
        print(0, flush=True)
        continue
    begin = time.process_time()
    if line == "file\\n":
        denoise(seconds, 16000, sys.argv[2])
    else:
        for hop in hops:
            stream.process(hop)
    print(time.process_time() - begin, flush=True)
"""


class Worker:
    """A process that runs streams of one checkout when it is told to."""

    def __init__(self, checkout: Path, model: str, n_mics: int) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", WORKER, str(checkout), model, str(n_mics)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, cwd=checkout)

    def ask(self, line: str) -> float:
        """The number that it gives back."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """Ends it."""
        self.process.communicate()


def compare(old: Path, model: str, n_mics: int, rounds: int, scenes: Path | None, work: str) -> dict[str, Any]:
    """Processor time of a hop or of a second in a file, old and new, and their ratio; what outputs differ by."""
    workers = [Worker(checkout, model, n_mics) for checkout in (old, ROOT)]
    for worker in workers:
        worker.ask(work)  # the first time warms up
    each = 1e3 / {"hop": 100, "file": 10}[work]  # s -> ms of one hop, or of a second
    times = [[each * worker.ask(work) for worker in workers] for _ in range(rounds)]
    figures: dict[str, Any] = {
        "model": model,
        "mics": n_mics,
        "best_ms": [min(column) for column in zip(*times, strict=True)],
        "ratio": summarise([new / before for before, new in times]),
    }
    if scenes:
        pairs = [enhance_twice(workers, recording) for recording in find_recordings(scenes) if recording.clean]
        figures["si_sdr_difference_db"], figures["relative_difference"] = map(max, zip(*pairs, strict=True))
    for worker in workers:
        worker.close()
    return figures


def enhance_twice(workers: list[Worker], recording: Recording) -> tuple[float, float]:
    """What the outputs of both checkouts differ by: in SI-SDR, dB, and in root mean square relative to the old one."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("old.npy", "new.npy")]
        for worker, path in zip(workers, paths, strict=True):
            worker.ask(json.dumps([str(recording.noisy), path]))
        before, new = (np.load(path) for path in paths)
    clean = read(str(recording.clean))[0][0]
    difference = abs(si_sdr(clean, new) - si_sdr(clean, before))
    return difference, float(np.linalg.norm(new - before) / np.linalg.norm(before))


@click.command()
@click.argument("old", type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True))
@click.option("--model", "models", multiple=True, default=("tcn-small", "tcn-tiny"), help="May be given several times.")
@click.option("--mics", "n_mics", type=int, default=1, help="Microphones of the stream; default: 1.")
@click.option("--rounds", type=int, default=30, help="In which the checkouts take turns; default: 30.")
@click.option("--files", is_flag=True, help="Time files of ten seconds in place of 100 hops.")
@click.option("--scenes", type=click.Path(path_type=Path, exists=True), help="Also compare outputs on these pairs.")
def main(old: Path, models: tuple[str, ...], n_mics: int, rounds: int, files: bool, scenes: Path | None) -> None:
    """Processor time of a live hop here over that in OLD, as a Markdown table; with --files, of a second in a file."""
    click.echo("|  | old ms | new ms | new / old [95% interval] | largest SI-SDR difference dB | relative difference |")
    click.echo("| --- | ---: | ---: | ---: | ---: | ---: |")
    for model in models:
        figures = compare(old, model, n_mics, rounds, scenes, "file" if files else "hop")
        before, new = figures["best_ms"]
        ratio, told = figures["ratio"], "not measured | not measured"
        if scenes:
            told = f"{figures['si_sdr_difference_db']:.5f} | {figures['relative_difference']:.1e}"
        interval = f"{ratio['mean']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        click.echo(f"| {model}, {n_mics} mic{'s' * (n_mics > 1)} | {before:.3f} | {new:.3f} | {interval} | {told} |")


if __name__ == "__main__":
    main()
