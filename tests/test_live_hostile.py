"""Two instances, two busy loops and a server that is killed again and again: nothing else may stand still. Minutes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sound_server import SoundServer, needs_pulseaudio, wait_until
from test_live_server import start, stop

pytestmark = [pytest.mark.slow, needs_pulseaudio]

N_KILLS = 10
LIMIT_S = 240
TIMER = """
import sys, time
worst, end = 0.0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    begin = time.monotonic()
    time.sleep(0.01)
    late = time.monotonic() - begin - 0.01
    if late > worst:
        worst = late
        print(f"{1e3 * worst:.1f}", flush=True)
"""


def test_a_dying_server_starves_nobody(tmp_path: Path) -> None:
    """Threads that polled for the dead server at real-time priority kept both cores for minutes."""
    server = SoundServer(tmp_path)
    others = [subprocess.Popen(["timeout", str(LIMIT_S), "sh", "-c", "while :; do :; done"]) for _ in range(2)]
    timer = subprocess.Popen([sys.executable, "-c", TIMER, str(LIMIT_S)], stdout=subprocess.PIPE, text=True)
    try:
        microphone = start(server, "--virtual-mic", "--always-on")
        microphone.wait_for("->")
        plain = start(server, "--input", "mic.monitor", "--output", "speaker", name="plain")
        apps = (microphone, plain)
        plain.wait_for("->")
        time.sleep(2)

        def count() -> list[int]:
            return [
                len(list(Path(f"/proc/{app.process.pid}/{kind}").iterdir())) for app in apps for kind in ("task", "fd")
            ]

        before = count()
        for n in range(1, N_KILLS + 1):
            server.kill()
            wait_until(lambda n=n: all(lost(app) >= n for app in apps), 30)
            server.start()
            wait_until(lambda n=n: all(back(app) >= n for app in apps), 30)
        time.sleep(2)
        assert count() == before
        for app in apps:
            stop(app)
            assert app.finish()["reconnects"] >= N_KILLS
    finally:
        for process in (*others, timer):
            process.terminate()
            process.wait()
        server.close()
    worst_ms = float(timer.communicate()[0].split()[-1])
    print("a 10 ms timer of another program was late by", worst_ms, "ms at worst")
    assert worst_ms < 300


def lost(app: object) -> int:
    return sum("lost the sound devices" in message for message in app.messages)  # type: ignore[attr-defined]


def back(app: object) -> int:
    return sum("devices are back" in message for message in app.messages)  # type: ignore[attr-defined]
