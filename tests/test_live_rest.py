"""A virtual microphone that nobody uses: what it costs, how soon the sound is back, what a killed run leaves."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from sound_server import SAMPLE_RATE, SoundServer, read_raw, server, wait_until
from test_live_server import start, stop
from virtual_card import Application

__all__ = ["server"]


def family(process: int) -> set[int]:
    """A process and all that it has started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = {process}
    while more := {child for child, parent in pairs if parent in found} - found:
        found |= more
    return found


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="scheduling as Linux has it")
def test_a_rest_costs_next_to_nothing_and_no_thread_is_at_real_time_priority(server: SoundServer) -> None:
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    check_ordinary(app.process.pid)  # capture runs
    app.wait_for("resting until one does")
    time.sleep(0.5)  # the events of our own streams' end
    shares = [share_of_a_core(app.process.pid, 6) for _ in range(2)]  # it looks every five seconds without an event
    assert 0 < min(shares) < 0.01  # the less disturbed one: other work on the machine makes the same steps dearer
    check_ordinary(app.process.pid)
    kill_all_of(app)


def kill_all_of(app: Application) -> None:
    """Kills a run, and nothing that it started outlives it.

    `pactl subscribe` waited for the next event of the server, which on a quiet one does not come.
    """
    started = family(app.process.pid) - {app.process.pid}
    assert started
    stop(app, signal.SIGKILL)
    app.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in started))


def test_a_run_that_is_killed_while_a_program_listens_is_tidied_up_by_the_next(server: SoundServer) -> None:
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    server.play(0.25 * np.sin(0.17 * np.arange(60 * SAMPLE_RATE)).astype(np.float32))
    recording = server.record("quietmic")
    wait_until(lambda: is_heard(recording))
    kill_all_of(app)
    assert server.names("sources").count("quietmic") == 1
    app = start(server, "--virtual-mic", name="next")
    app.wait_for("->")
    assert server.names("sources").count("quietmic") == 1
    wait_until(lambda: is_enhanced(recording))  # the listener was not left with the microphone as it is
    second = start(server, "--virtual-mic", name="second")
    assert second.process.wait(60) == 1  # one at a time
    wait_until(lambda: is_enhanced(recording))
    stop(app)
    app.finish()
    assert "quietmic" not in server.names("sources")


def cpu_s(process: int) -> float:
    """Of a process and its children, those that have ended among them."""
    ticks = 0
    for member in family(process):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def share_of_a_core(process: int, seconds: float) -> float:
    before_s, began = cpu_s(process), time.monotonic()
    time.sleep(seconds)
    return (cpu_s(process) - before_s) / (time.monotonic() - began)


def check_ordinary(process: int) -> None:
    """No thread of it or of what it started may starve others."""
    threads = [int(path.name) for member in family(process) for path in Path(f"/proc/{member}/task").glob("*")]
    assert len(threads) > 2
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            policy = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
            assert policy == os.SCHED_OTHER, thread


@pytest.mark.slow  # a time that other work on the machine moves
def test_the_sound_is_back_soon_after_a_listener_comes(server: SoundServer) -> None:
    """0.3 s of silence at most; a busy machine may add what a plain `parec` needs there until its first sound."""
    app = start(server, "--virtual-mic")
    app.wait_for("resting until one does")
    server.play(0.25 * np.sin(0.17 * np.arange(60 * SAMPLE_RATE)).astype(np.float32))
    began = time.monotonic()
    plain = server.record("mic.monitor")
    wait_until(lambda: is_heard(plain))
    plain_s = time.monotonic() - began
    recording = server.record("quietmic")
    wait_until(lambda: is_heard(recording))
    silent_s = np.flatnonzero(np.abs(read_raw(recording)) > 0.05)[0] / SAMPLE_RATE
    print(f"silent for {silent_s:.3f} s, plain parec {plain_s:.3f} s")
    stop(app)
    app.finish()
    assert silent_s < 0.3 + plain_s


def is_enhanced(recording: Path) -> bool:
    """Whether the last half second is at half the level of the microphone."""
    loudest = np.abs(read_raw(recording)[-SAMPLE_RATE // 2 :]).max()
    return bool(0.1 < loudest < 0.15)


def is_heard(recording: Path) -> bool:
    return recording.exists() and bool(np.any(np.abs(read_raw(recording)) > 0.05))
