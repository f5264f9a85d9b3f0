"""Sound servers of the test's own, PulseAudio and PipeWire, with a null sink as microphone and one as loudspeaker."""

import contextlib
import json
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

SAMPLE_RATE = 16000
TOOLS = ("pactl", "pacat", "parec")


def _has(*programs: str) -> bool:
    return sys.platform.startswith("linux") and all(shutil.which(program) for program in (*TOOLS, *programs))


needs_pulseaudio = pytest.mark.skipif(
    not _has("pulseaudio"),
    reason="needs Linux with PulseAudio (apt-get install pulseaudio pulseaudio-utils)",
)


def has_pipewire() -> bool:
    """Whether its programs are there."""
    return _has("pipewire", "pipewire-pulse", "wireplumber", "dbus-daemon")


needs_pipewire = pytest.mark.skipif(
    not has_pipewire(),
    reason="needs Linux with PipeWire (apt-get install pipewire pipewire-pulse wireplumber dbus pulseaudio-utils)",
)


class SoundServer:
    """PulseAudio, and programs that play to it and record from it; all of them end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.chmod(0o700)
        self._socket = self._socket_path()
        self.environment = dict(
            os.environ,
            XDG_RUNTIME_DIR=str(folder),
            XDG_CACHE_HOME=str(folder / "cache"),
            XDG_CONFIG_HOME=str(folder / "config"),
            XDG_STATE_HOME=str(folder / "state"),
            PIPEWIRE_RUNTIME_DIR=str(folder),
            PULSE_SERVER=f"unix:{self._socket}",
            OMP_NUM_THREADS="1",
        )
        for name in ("ALSA_CONFIG_PATH", "DBUS_SESSION_BUS_ADDRESS", "PULSE_SINK", "PULSE_SOURCE"):
            self.environment.pop(name, None)
        self._servers: list[subprocess.Popen[bytes]] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self._kept: list[subprocess.Popen[str]] = []
        self._n_recordings = 0
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def _socket_path(self) -> Path:
        return self.folder / "native"

    def _programs(self) -> list[list[str]]:
        """What makes up the server, in the order of its start."""
        socket = f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"
        return [["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "-L", socket]]

    def start(self) -> None:
        """Starts the server with its two devices and waits until it answers."""
        for command in self._programs():
            self._servers.append(
                subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(0.2)
        end = time.monotonic() + 30
        while self.pactl("info", check=False).returncode:
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.1)
        for server in self._servers:
            _hurry(server)  # as desktops do
        for name in ("mic", "speaker"):
            # 50 ms ahead at most: the microphone of a test shall not have gaps of its own.
            null_sink = ("module-null-sink", f"sink_name={name}", "rate=48000", "channels=1", "channel_map=mono")
            self.pactl("load-module", *null_sink, "norewinds=1")
        self.pactl("set-default-source", "mic.monitor")
        self.pactl("set-default-sink", "speaker")

    def hear_the_speaker(self) -> None:
        """From now on the microphone hears what the loudspeaker plays."""
        self.pactl("load-module", "module-loopback", "source=speaker.monitor", "sink=mic", "latency_msec=30")
        wait_until(lambda: bool(self.listed("sink-inputs")))

    def kill(self) -> None:
        """Ends the server without warning."""
        for server in reversed(self._servers):
            server.kill()
            server.wait()
        self._servers.clear()
        self._socket.unlink(missing_ok=True)

    def pactl(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """One command to the server."""
        return subprocess.run(
            ["pactl", *arguments], env=self.environment, capture_output=True, text=True, check=check, timeout=20
        )

    def names(self, kind: str) -> list[str]:
        """Names of its "sources", "sinks" or "modules"."""
        return [line.split("\t")[1] for line in self.pactl("list", "short", kind).stdout.splitlines()]

    def listed(self, kind: str) -> list[dict[str, Any]]:
        """All that the server knows of its "sources", "sink-inputs" and so on."""
        entries: list[dict[str, Any]] = json.loads(self.pactl("-f", "json", "list", kind).stdout)
        return entries

    def play(self, samples: Array, sink: str = "mic") -> None:
        """Starts to play [n_samples] into a sink."""
        path = self.folder / "play.raw"
        np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tofile(path)
        self._start("pacat", "--playback", "--raw", f"--device={sink}", "--latency-msec=200", str(path))

    def record(self, source: str) -> Path:
        """Starts to record a source into a raw file at 16 kHz."""
        self._n_recordings += 1
        path = self.folder / f"record-{self._n_recordings}.raw"
        self._start("parec", "--raw", f"--device={source}", "--latency-msec=100", str(path))
        return path

    def play_through(self, samples: Array, recording: Path, sink: str = "mic") -> None:
        """Plays [n_samples] and waits until a recording has had the time to hear all of it."""
        n_before = len(read_raw(recording))
        self.play(samples, sink)
        wait_until(lambda: len(read_raw(recording)) > n_before + len(samples) + 0.7 * SAMPLE_RATE, 60)

    def keep(self, process: "subprocess.Popen[str]") -> None:
        """Ends a process of the test with the server at the latest, whatever becomes of the test."""
        self._kept.append(process)

    def _start(self, program: str, *arguments: str) -> None:
        sample_type = ("--rate=16000", "--channels=1", "--format=s16le")
        self._started.append(subprocess.Popen([program, *sample_type, *arguments], env=self.environment))
        _hurry(self._started[-1])

    def stop_last(self) -> None:
        """Ends the program started last."""
        process = self._started.pop()
        process.terminate()
        process.wait()

    def close(self) -> None:
        for process in self._kept:
            process.kill()
            process.wait()
        while self._started:
            self.stop_last()
        for server in reversed(self._servers):
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        self._servers.clear()


class PipeWireServer(SoundServer):
    """PipeWire with WirePlumber and its server for PulseAudio's clients, on a bus of its own."""

    def _socket_path(self) -> Path:
        return self.folder / "pulse" / "native"

    def _programs(self) -> list[list[str]]:
        bus = f"unix:path={self.folder / 'bus'}"
        self.environment["DBUS_SESSION_BUS_ADDRESS"] = bus
        (self.folder / "bus").unlink(missing_ok=True)
        return [
            ["dbus-daemon", "--session", "--nofork", f"--address={bus}"],
            ["pipewire"],
            ["wireplumber"],
            ["pipewire-pulse"],
        ]

    def hear_the_speaker(self) -> None:
        """Without a buffer in between, which would grow with every run that a busy machine misses."""
        ends = ("speaker:monitor_MONO", "mic:playback_MONO")
        subprocess.run(["pw-link", *ends], env=self.environment, check=True, timeout=20)


def _hurry(process: "subprocess.Popen[bytes]") -> None:
    """Real-time scheduling for all threads of a program, where the system allows it."""
    for thread in Path(f"/proc/{process.pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(5))


def read_raw(path: Path) -> Array:
    """[n_samples] of a raw file; none as long as it is not there."""
    if not path.exists():
        return np.zeros(0, np.float32)
    return np.fromfile(path, "<i2").astype(np.float32) / 32768


def wait_for_seconds(recording: Path, seconds: float) -> None:
    """Waits until so much has been recorded."""
    wait_until(lambda: len(read_raw(recording)) > seconds * SAMPLE_RATE, 60)


def wait_until(condition: Any, timeout_s: float = 20.0) -> float:
    """Waits until a condition holds, and gives the seconds it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + timeout_s, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - begin


SERVERS = [
    pytest.param(SoundServer, id="pulseaudio", marks=needs_pulseaudio),
    pytest.param(PipeWireServer, id="pipewire", marks=needs_pipewire),
]


on_pulseaudio = pytest.mark.parametrize("server", SERVERS[:1], indirect=True)
on_pipewire = pytest.mark.parametrize("server", SERVERS[1:], indirect=True)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A sound server of the test's own, of either kind."""
    sound_server = request.param(tmp_path)
    yield sound_server
    sound_server.close()
