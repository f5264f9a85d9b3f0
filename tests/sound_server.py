"""A PulseAudio server of the test's own, with a null sink as microphone and one as loudspeaker."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietmic.enhance.arrays import Array

PROGRAMS = ("pulseaudio", "pactl", "pacat", "parecord")
SAMPLE_RATE = 16000

needs_server = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or any(shutil.which(program) is None for program in PROGRAMS)
    or not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")),
    reason="needs Linux with PulseAudio (apt-get install pulseaudio pulseaudio-utils libasound2-plugins)",
)


class SoundServer:
    """The server, and programs that play to it and record from it; all of them end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.chmod(0o700)
        self._socket = folder / "native"
        self.environment = dict(
            os.environ,
            XDG_RUNTIME_DIR=str(folder),
            XDG_CACHE_HOME=str(folder / "cache"),
            XDG_CONFIG_HOME=str(folder / "config"),
            PULSE_SERVER=f"unix:{self._socket}",
            PULSE_SINK="speaker",
            PULSE_SOURCE="mic.monitor",
            OMP_NUM_THREADS="1",
        )
        for name in ("ALSA_CONFIG_PATH", "DBUS_SESSION_BUS_ADDRESS"):
            self.environment.pop(name, None)
        self._server: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        sink = "module-null-sink rate=16000 channels=1 format=s16le channel_map=mono sink_name"
        modules = (  # the socket last: who finds it finds the devices too
            f"{sink}=mic",
            f"{sink}=speaker",
            f"module-native-protocol-unix socket={self._socket} auth-anonymous=1",
        )
        loads = [part for module in modules for part in ("-L", module)]
        self._server = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", *loads],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _hurry(self._server)  # as desktops do
        end = time.monotonic() + 20
        while self.pactl("info", check=False).returncode:
            assert time.monotonic() < end and self._server.poll() is None, "the server does not start"
            time.sleep(0.1)

    def kill(self) -> None:
        """Ends the server without warning."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        self._socket.unlink(missing_ok=True)

    def pactl(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """One command to the server."""
        return subprocess.run(
            ["pactl", *arguments], env=self.environment, capture_output=True, text=True, check=check, timeout=20
        )

    def names(self, kind: str) -> list[str]:
        """Names of its "sources", "sinks" or "modules"."""
        return [line.split("\t")[1] for line in self.pactl("list", "short", kind).stdout.splitlines()]

    def play(self, samples: Array, sink: str = "mic") -> None:
        """Starts to play [n_samples] into a sink."""
        path = self.folder / "play.raw"
        np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tofile(path)
        self._start("pacat", "--playback", f"--device={sink}", "--latency-msec=200", str(path))

    def record(self, source: str) -> Path:
        """Starts to record a source into a raw file at 16 kHz."""
        path = self.folder / f"record-{len(self._started)}.raw"
        self._start("parecord", "--raw", f"--device={source}", "--latency-msec=200", str(path))
        return path

    def _start(self, program: str, *arguments: str) -> None:
        sample_type = ("--rate=16000", "--channels=1", "--format=s16le")
        self._started.append(subprocess.Popen([program, *sample_type, *arguments], env=self.environment))
        _hurry(self._started[-1])

    def close(self) -> None:
        for process in self._started:
            process.terminate()
            process.wait()
        if self._server and self._server.poll() is None:
            self._server.terminate()
            self._server.wait()


def _hurry(process: "subprocess.Popen[bytes]") -> None:
    """Real-time scheduling for a program that has just started, where the system allows it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(process.pid, os.SCHED_RR, os.sched_param(5))


def read_raw(path: Path) -> Array:
    """[n_samples] of a raw file."""
    return np.fromfile(path, "<i2").astype(np.float32) / 32768


@pytest.fixture
def server(tmp_path: Path) -> Any:
    """A sound server of the test's own."""
    sound_server = SoundServer(tmp_path)
    yield sound_server
    sound_server.close()
