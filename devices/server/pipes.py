"""Sound from and to the server through the pipes of its tools `parec` and `pacat`.

The pipe in the kernel is the buffer; no thread of ours waits for the server, no library of the server is loaded, and
when the server dies, the tool ends and the pipe with it. Measured against ALSA's plugin in PortAudio: as steady at
20 ms on a machine of load 14 without any priority, at 0.005 instead of 0.28 of a core.
"""

import contextlib
import os
import re
import subprocess
import time
from abc import ABC, abstractmethod
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from quietmic.devices.server.pactl import check_system, environment
from quietmic.enhance.errors import QuietmicError

fcntl: ModuleType | None
termios: ModuleType | None
try:
    import fcntl
    import termios
except ImportError:  # Windows, where a live run has no pipe, but this module among its own
    fcntl = termios = None

_SAMPLE_BYTES = 2
_PIPE_BYTES = 1 << 20  # 32 s of one channel at 16 kHz; the worker drops what is too late long before
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux
_CONNECT_S = 5.0


class Pipe(ABC):
    """One of the tools with its pipe, in the shape of both a stream of PortAudio and a ring of the worker.

    Attributes:
        n_channels: of every block.
        last_time: when the tool last took or gave samples, monotonic seconds.
        pid: process of the tool, by which the server knows the stream.
    """

    _program = ""

    def __init__(self, node: str, sample_rate: int, n_channels: int, channel_map: str, latency_s: float) -> None:
        """Starts the tool; `start` waits until the server has taken it.

        Args:
            node: name of the source or sink.
            sample_rate: Hz; the server resamples where its device has another.
            n_channels: channels of every block.
            channel_map: their positions.
            latency_s: buffering asked of the server.

        Raises:
            NoServer: this is not Linux.
        """
        check_system()
        self.n_channels = n_channels
        self._sample_rate, self._asked_s = sample_rate, latency_s
        self._n_moved = 0  # samples that went through our hands
        self._n_last = 0
        self._latency_s = latency_s
        self._n_gaps = 0
        self.last_time = time.monotonic()
        command = [
            self._program,
            "--raw",
            "--verbose",
            "--format=s16le",
            f"--rate={sample_rate}",
            f"--channels={n_channels}",
            f"--channel-map={channel_map}",
            f"--device={node}",
            f"--latency-msec={round(1e3 * latency_s)}",
            "--client-name=quietmic",
            f"--stream-name=quietmic {self._program}",
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if self._program == "pacat" else subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._program == "parec" else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        self.pid = self._process.pid
        pipe = self._process.stdin or self._process.stdout
        assert pipe is not None and self._process.stderr is not None
        self._pipe, self._errors = pipe.fileno(), self._process.stderr.fileno()
        os.set_blocking(self._errors, False)
        os.set_blocking(self._pipe, False)
        assert fcntl
        with contextlib.suppress(OSError):  # a limit on pipes: it stays at 64 KiB
            fcntl.fcntl(self._pipe, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._said = ""

    def start(self) -> None:
        """Waits until the server has taken the stream.

        Raises:
            QuietmicError: it does not.
        """
        end = time.monotonic() + _CONNECT_S
        while "Connected to device" not in self._listen():
            if self._process.poll() is not None or time.monotonic() > end:
                raise QuietmicError(f"the sound server does not let {self._program} in: {self._last_words()}")
            time.sleep(0.005)

    def _listen(self) -> str:
        """All that the tool has told since it started, but the times, of which the latency is kept."""
        with contextlib.suppress(OSError):  # nothing there, or closed
            while said := os.read(self._errors, 65536).decode(errors="replace"):
                self._n_gaps += said.count("Stream underrun") + said.count("Stream overrun")
                if latencies := re.findall(r"Latency: (-?\d+) usec", said):
                    self._latency_s = max(0.0, int(latencies[-1]) / 1e6)
                self._said = (self._said + re.sub(r"\r?Time: [^\r\n]*", "", said))[-4096:]
        return self._said

    def _last_words(self) -> str:
        lines = [line.strip() for line in re.split(r"[\r\n]", self._listen()) if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def take_gaps(self) -> int:
        """Gaps that the server has told of since this was last asked."""
        n, self._n_gaps = self._n_gaps, 0
        return n

    @property
    def active(self) -> bool:
        """Whether the tool runs."""
        self._listen()  # also so that it never waits for us to read what it tells
        return self._process.poll() is None

    @property
    def fill(self) -> int:
        """Samples in the pipe."""
        fill = self._waiting() // (_SAMPLE_BYTES * self.n_channels)
        n = self._n_by_tool(fill)
        if n != self._n_last:
            self._n_last, self.last_time = n, time.monotonic()
        return fill

    def _waiting(self) -> int:
        assert fcntl and termios
        buffer = bytearray(4)
        try:
            fcntl.ioctl(self._pipe, termios.FIONREAD, buffer)
        except (OSError, ValueError):  # closed
            return 0
        return int.from_bytes(buffer, "little")

    @abstractmethod
    def _n_by_tool(self, fill: int) -> int:
        """Samples that the tool has given or taken since the start."""

    @property
    def latency(self) -> float:
        """Seconds that the server itself takes, as it last said."""
        return self._latency_s

    def close(self, ignore_errors: bool = True) -> None:
        """Ends the tool and closes its pipes."""
        self._process.kill()  # it has nothing to tidy up
        self._process.wait()
        self._pipe = self._errors = -1  # their numbers are soon another file's
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


class Capture(Pipe):
    """Records from a source."""

    _program = "parec"

    def _n_by_tool(self, fill: int) -> int:
        return self._n_moved + fill

    def read_into(self, block: NDArray[np.int16]) -> int:
        """Takes what is there into a block, as Ring.read_into does."""
        n = min(len(block), self.fill)
        got = os.read(self._pipe, n * _SAMPLE_BYTES * self.n_channels) if n else b""
        block[:n] = np.frombuffer(got, "<i2").reshape(n, self.n_channels)
        self._n_moved += n
        return n

    def skip(self, n_samples: int) -> None:
        """Throws away what waits, as Ring.skip does."""
        self.read_into(np.empty((min(n_samples, self.fill), self.n_channels), np.int16))


class Playback(Pipe):
    """Plays to a sink.

    The server begins to play when its own buffer is full, so as much silence goes ahead of the first block: what waits
    in the pipe is what the worker keeps there.
    """

    _program = "pacat"
    _n_ahead = 0

    def hold_back(self, n_samples: int) -> None:
        """Puts silence ahead of the first block to come: the jitter buffer, which nothing drains before."""
        self._n_ahead = n_samples

    def _n_by_tool(self, fill: int) -> int:
        return self._n_moved - fill

    def write(self, block: NDArray[np.int16]) -> int:
        """Hands over a block, as Ring.write does."""
        if not self._n_moved:
            n_ahead = self._n_ahead + round(self._asked_s * self._sample_rate)
            block = np.concatenate((np.zeros((n_ahead, self.n_channels), np.int16), block))
        n = 0
        with contextlib.suppress(OSError):  # full, the tool has ended, or closed
            n = os.write(self._pipe, block.astype("<i2").tobytes()) // (_SAMPLE_BYTES * self.n_channels)
        self._n_moved += n
        return n
