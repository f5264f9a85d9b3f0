"""A sound card in files, for the real PortAudio: no hardware, no server, every sample kept.

An ALSA configuration of our own defines `testmic`, which reads 16-bit samples from a named pipe, and `testspk`,
which writes them to a file. A feeder writes one block into the pipe each block's time, so the card runs in real
time, and like a real microphone it waits for nobody: what finds no room in the pipe is dropped and counted.
"""

import ctypes.util
import fcntl
import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array

ROOT = Path(__file__).resolve().parent.parent
FEEDER = Path(__file__).with_name("feeder.py")
ALSA_CONFIG = Path("/usr/share/alsa/alsa.conf")
SAMPLE_RATE = 16000
BLOCK = 256
PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux

needs_card = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not ALSA_CONFIG.is_file() or not ctypes.util.find_library("portaudio"),
    reason="needs Linux with ALSA and PortAudio (apt-get install libportaudio2)",
)


class VirtualCard:
    """The card, and the application run on it; all files lie in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._microphone, self._speaker = folder / "microphone", folder / "speaker.raw"
        os.mkfifo(self._microphone)
        # PortAudio opens every device while it lists them: reading and writing, this never blocks.
        self._pipe = os.open(self._microphone, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._pipe, _SET_PIPE_SIZE, PIPE_BYTES)
        self._feeder: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[str]] = []
        system = [
            line
            for line in ALSA_CONFIG.read_text().splitlines()
            if not any(place in line for place in ("alsa.conf.d", "/etc/asound.conf", "asoundrc"))
        ]
        devices = (
            f'pcm.testmic {{ type file slave.pcm "null" file "/dev/null" infile "{self._microphone}" format "raw" '
            'hint { show on description "file microphone" } }\n'
            f'pcm.testspk {{ type file slave.pcm "null" file "{self._speaker}" format "raw" '
            'hint { show on description "file speaker" } }\n'
        )
        (folder / "alsa.conf").write_text("\n".join([*system, devices]))
        self.environment = dict(
            os.environ,
            ALSA_CONFIG_PATH=str(folder / "alsa.conf"),
            XDG_CACHE_HOME=str(folder / "cache"),
            OMP_NUM_THREADS="1",
        )

    def feed(self, samples: Array, sample_rate: int = SAMPLE_RATE, block_length: int = BLOCK) -> None:
        """Starts to play [n_channels, n_samples] into the microphone, silence afterwards."""
        path = self.folder / "fed.raw"
        np.ascontiguousarray(to_pcm(samples).T).tofile(path)
        block_bytes, block_s = 2 * block_length * len(samples), block_length / sample_rate
        self._feeder = subprocess.Popen(
            [sys.executable, "-S", str(FEEDER), str(self._microphone), str(path), str(block_bytes), str(block_s)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def feed_through(self, samples: Array) -> None:
        """Plays [n_channels, n_samples] into the microphone and waits until the speaker has had time to give all."""
        n_before = len(self.played())
        self.feed(samples)
        self.wait_for_played(n_before + samples.shape[1] + SAMPLE_RATE)

    def wait_for_played(self, n_samples: int) -> None:
        """Waits until so many came out of the speaker."""
        end = time.monotonic() + 60
        while len(self.played()) < n_samples:
            assert time.monotonic() < end, len(self.played())
            time.sleep(0.02)

    def stop(self) -> int:
        """Stops to feed; the blocks that the application did not take in time."""
        if self._feeder is None:
            return 0
        self._feeder.terminate()
        output, _ = self._feeder.communicate()
        self._feeder = None
        return int(output)

    def start(self, *arguments: str, program: list[str] | None = None) -> "Application":
        """Starts `live` on the card; feed it once it says that it runs."""
        command = program or [sys.executable, str(ROOT / "app.py"), "live"]
        report = self.folder / "report.json"
        # The files have one rate, whatever is asked of them: that of the models.
        devices = ("--input", "testmic", "--output", "testspk", "--band", "narrow")
        arguments = (*devices, "--no-ui", "--json", str(report), *arguments)
        keyboard, terminal = pty.openpty()
        process = subprocess.Popen(
            [*command, *arguments], env=self.environment, cwd=ROOT, stdin=terminal, stderr=subprocess.PIPE, text=True
        )
        os.close(terminal)
        self._started.append(process)
        return Application(process, report, keyboard)

    def played(self) -> Array:
        """[n_samples] of what came out of the speaker so far."""
        if not self._speaker.exists():
            return np.zeros(0, np.float32)
        return np.fromfile(self._speaker, "<i2").astype(np.float32) / 32768

    def close(self) -> None:
        for process in self._started:  # those that a test that failed has left
            process.kill()
            process.wait()
        self.stop()
        os.close(self._pipe)


class Application:
    """A running `live`; its messages are read as they come."""

    def __init__(self, process: "subprocess.Popen[str]", report: Path, keyboard: int | None = None) -> None:
        self.process, self._report, self._keyboard = process, report, keyboard
        self.messages: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.messages.append(line.rstrip())

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        """Waits until a message holds a text."""
        end = time.monotonic() + timeout_s
        while not any(text in message for message in self.messages):
            assert self.process.poll() is None, f"ended early: {self.messages}"
            assert time.monotonic() < end, f"no {text!r} among {self.messages}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Presses a key in the application's terminal."""
        assert self._keyboard is not None
        os.write(self._keyboard, key.encode())

    def finish(self, timeout_s: float = 120.0) -> dict[str, Any]:
        """Waits for the end and gives the figures."""
        code = self.process.wait(timeout_s)
        self._thread.join()
        if self._keyboard is not None:
            os.close(self._keyboard)
        assert code == 0, self.messages
        figures: dict[str, Any] = json.loads(self._report.read_text())
        return figures


def to_pcm(samples: Array) -> NDArray[np.int16]:
    """Samples as a 16-bit card knows them."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")


def aligned_si_sdr_db(reference: Array, estimate: Array) -> tuple[float, int]:
    """(SI-SDR in dB, lag in samples) of the reference at the place where it fits best inside a longer estimate."""
    n = 1 << (len(estimate) + len(reference)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(estimate, n) * np.conj(np.fft.rfft(reference, n)), n)
    lag = int(np.argmax(correlation[: len(estimate) - len(reference) + 1]))
    part = estimate[lag : lag + len(reference)].astype(np.float64)
    scaled = reference * (part @ reference) / (reference @ reference)
    error = part - scaled
    return float(10 * np.log10((scaled @ scaled) / max(error @ error, 1e-20))), lag


@pytest.fixture
def card(tmp_path: Path) -> Any:
    """A virtual card of the test's own."""
    virtual = VirtualCard(tmp_path)
    yield virtual
    virtual.close()
