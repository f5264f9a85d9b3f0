"""Runs the virtual microphone on a sound server of its own, in real time: python tools/soak.py [MINUTES].

PipeWire if it is there, else PulseAudio (see tests/sound_server.py). A tone goes in, and every gap in what a listener
records is counted. Prints figures as Markdown, for docs/live.md.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import click  # noqa: E402
import numpy as np  # noqa: E402
from sound_server import SAMPLE_RATE, PipeWireServer, SoundServer, has_pipewire, read_raw  # noqa: E402
from test_live_server import start, stop  # noqa: E402

BLOCK = SAMPLE_RATE // 100
MODEL = "tcn-small"


def holdings(process: Path) -> tuple[int, int, int]:
    """Threads, descriptors and MiB of memory that a process of /proc holds."""
    resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    return len(os.listdir(process / "task")), len(os.listdir(process / "fd")), resident


@click.command()
@click.argument("minutes", type=float, default=60.0)
def main(minutes: float) -> None:
    """Run the virtual microphone for MINUTES in real time (an hour by default) and tell what was lost."""
    with tempfile.TemporaryDirectory() as folder:
        server = PipeWireServer(Path(folder)) if has_pipewire() else SoundServer(Path(folder))
        try:
            # A tone is noise to the network, which may take 3 dB of it at most: what is below that is a gap.
            app = start(server, "--virtual-mic", "--always-on", "--model", MODEL, "--attenuation-limit", "3")
            app.wait_for("->")
            seconds = 60 * minutes
            tone = 0.25 * np.sin(0.17 * np.arange(int(SAMPLE_RATE * (seconds + 20))))
            server.play(tone.astype(np.float32))
            time.sleep(5)
            recording = server.record("quietmic")
            task = Path(f"/proc/{app.process.pid}")
            before = holdings(task)
            time.sleep(seconds)
            after = holdings(task)
            heard = read_raw(recording)
            stop(app, signal.SIGINT)
            figures = app.finish()
        finally:
            server.close()
    heard = heard[np.flatnonzero(heard)[0] :]
    blocks = np.abs(heard[: len(heard) // BLOCK * BLOCK]).reshape(-1, BLOCK).max(axis=1)
    print(
        "| server | minutes | processed s | lost s | gaps told | silent blocks of 10 ms heard | load of the machine |"
    )
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {type(server).__name__.removesuffix('Server')} | {minutes:g} | {figures['processed_s']:.0f} "
        f"| {figures['lost_s']:.2f} | {figures['underruns'] + figures['overruns']} "
        f"| {np.count_nonzero(blocks < 0.1)} of {len(blocks)} | {os.getloadavg()[2]:.1f} |"
    )
    print(
        f"threads, descriptors, MiB of memory: {before} before, {after} after; latency {figures['latency_ms']:.0f} ms"
    )


if __name__ == "__main__":
    main()
