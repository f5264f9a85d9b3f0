"""Compares the speed of two checkouts, live, in turns: python tools/compare_speed.py OLD.

OLD is another checkout of this repository, as `git worktree add OLD REVISION` makes it, with the weights of its time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from quietmic.enhance.measure.recordings import find_recordings  # noqa: E402
from quietmic.enhance.measure.statistics import summarise  # noqa: E402

WORKER = """
import json, sys, time
import numpy as np
import quietmic
from quietmic.enhance.stream import open_stream
from quietmic.enhance.files.audio import read

assert quietmic.__file__.startswith(sys.argv[1] + "/"), quietmic.__file__
stream = open_stream(sys.argv[2], n_mics=int(sys.argv[3]))
hops = 0.1 * np.random.default_rng(0).standard_normal((100, stream.n_mics, 256)).astype(np.float32)
for line in sys.stdin:
    if line.startswith("/"):
        stream.reset()
        clean, noisy = (read(path)[0] for path in json.loads("[%s]" % line.split(" ", 1)[1]))
        parts = [stream.process(noisy[:stream.n_mics, s:s + 256]) for s in range(0, noisy.shape[1], 256)]
        out, wanted = np.concatenate([*parts, stream.flush()])[stream.delay:].astype(float), clean[0].astype(float)
        scale = out @ wanted / (wanted @ wanted)
        print(10 * np.log10(np.sum((scale * wanted) ** 2) / np.sum((out - scale * wanted) ** 2)), flush=True)
        continue
    begin = time.process_time()
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


def compare(old: Path, model: str, n_mics: int, rounds: int, scenes: Path | None) -> dict[str, Any]:
    """Processor time of a hop, old and new, and their ratio; what SI-SDR differs by on scenes."""
    workers = [Worker(checkout, model, n_mics) for checkout in (old, ROOT)]
    for worker in workers:
        worker.ask("warm up")
    times = [[10 * worker.ask("go on") for worker in workers] for _ in range(rounds)]  # of 100 hops, s -> ms a hop
    figures: dict[str, Any] = {
        "model": model,
        "mics": n_mics,
        "best_ms": [min(column) for column in zip(*times, strict=True)],
        "ratio": summarise([new / before for before, new in times]),
    }
    if scenes:
        lines = [
            f"/ {json.dumps(str(r.clean))}, {json.dumps(str(r.noisy))}" for r in find_recordings(scenes) if r.clean
        ]
        figures["si_sdr_difference_db"] = max(abs(workers[1].ask(x) - workers[0].ask(x)) for x in lines)
    for worker in workers:
        worker.close()
    return figures


@click.command()
@click.argument("old", type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True))
@click.option("--model", "models", multiple=True, default=("tcn-small", "tcn-tiny"), help="May be given several times.")
@click.option("--mics", "n_mics", type=int, default=1, help="Microphones of the stream; default: 1.")
@click.option("--rounds", type=int, default=30, help="Of 100 hops for each checkout in turn; default: 30.")
@click.option("--scenes", type=click.Path(path_type=Path, exists=True), help="Also compare SI-SDR on these pairs.")
def main(old: Path, models: tuple[str, ...], n_mics: int, rounds: int, scenes: Path | None) -> None:
    """Processor time of a live hop here over that in OLD, as a Markdown table."""
    click.echo("|  | old ms | new ms | new / old [95% interval] | largest SI-SDR difference dB |")
    click.echo("| --- | ---: | ---: | ---: | ---: |")
    for model in models:
        figures = compare(old, model, n_mics, rounds, scenes)
        before, new = figures["best_ms"]
        ratio, difference = figures["ratio"], figures.get("si_sdr_difference_db")
        told = "not measured" if difference is None else f"{difference:.5f}"
        interval = f"{ratio['mean']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        click.echo(f"| {model}, {n_mics} mic{'s' * (n_mics > 1)} | {before:.3f} | {new:.3f} | {interval} | {told} |")


if __name__ == "__main__":
    main()
