"""A PortAudio of our own, for what no real device does on command: drift, overflows, odd blocks, unplugging."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array


class PortAudioError(Exception):
    """Stands for sounddevice.PortAudioError."""


def flags(**raised: bool) -> SimpleNamespace:
    """Callback flags with those named raised."""
    names = ("input_underflow", "input_overflow", "output_underflow", "output_overflow")
    return SimpleNamespace(**{name: raised.get(name, False) for name in names})


def no_callback(*arguments: object) -> None:
    """Of a stream that is read and written."""


class FakeStream:
    """A stream whose callbacks are called by the test."""

    def __init__(self, backend: "FakePortAudio", kind: str, settings: dict[str, Any]) -> None:
        self.backend, self.kind, self.settings = backend, kind, settings
        self.callback: Callable[..., None] = settings.get("callback", no_callback)
        self.channels = settings["channels"]
        self.latency = (0.01, 0.02) if kind == "duplex" else 0.01
        self.active = False
        self.closed = False
        self.written: list[Array] = []

    def start(self) -> None:
        if self.backend.unplugged:
            raise PortAudioError("Device unavailable")
        self.active = True

    def close(self, ignore_errors: bool = True) -> None:
        self.active, self.closed = False, True

    def __enter__(self) -> "FakeStream":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self, n_samples: int) -> tuple[Array, bool]:
        """What a stream without a callback hears, as fast as it comes: noise, and whether some was lost."""
        time.sleep(n_samples / self.settings["samplerate"])
        noise = 0.1 * np.random.default_rng(len(self.written)).standard_normal((n_samples, self.channels))
        return noise.astype(np.float32), False

    def write(self, block: Array) -> None:
        """What a stream without a callback plays, [n_samples, n_channels]."""
        self.written.append(block)

    def tick(self, captured: NDArray[np.int16], raised: SimpleNamespace | None = None) -> NDArray[np.int16]:
        """One duplex callback: [n_samples, n_inputs] in, [n_samples, n_outputs] out."""
        played = np.full((len(captured), self.channels[1]), -1, np.int16)
        self.callback(captured, played, len(captured), None, raised or flags())
        return played

    def capture(self, captured: NDArray[np.int16], raised: SimpleNamespace | None = None) -> None:
        """One callback of an input stream."""
        self.callback(captured, len(captured), None, raised or flags())

    def play(self, n_samples: int, raised: SimpleNamespace | None = None) -> NDArray[np.int16]:
        """One callback of an output stream."""
        played = np.full((n_samples, self.channels), -1, np.int16)
        self.callback(played, n_samples, None, raised or flags())
        return played


class FakePortAudio:
    """Behaves like the module sounddevice for the parts that devices/ uses.

    Attributes:
        unplugged: no device is there while this is true.
        streams: all streams opened so far.
        n_restarts: how often the library was ended to be started anew.
        n_failing_starts: so many of the next starts fail.
    """

    PortAudioError = PortAudioError

    def __init__(self, rates: tuple[int, ...] = (16000,), n_inputs: int = 4, n_outputs: int = 2) -> None:
        self.rates, self.unplugged, self.n_restarts = rates, False, 0
        self.refuses_duplex = False
        self.n_failing_starts = 0
        self.runs = True
        self.least_outputs = 1
        self.streams: list[FakeStream] = []
        self.default = SimpleNamespace(device=(0, 1))
        self.names = ["Mic Array (hw:1,0)", "Speaker (hw:1,1)", "USB Speaker (hw:2,0)"]
        self._channels = [(n_inputs, 0), (0, n_outputs), (0, n_outputs)]

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "ALSA"}]

    def query_devices(self) -> list[dict[str, Any]]:
        if self.unplugged:
            return []
        return [
            {
                "name": name,
                "hostapi": 0,
                "max_input_channels": n_inputs,
                "max_output_channels": n_outputs,
                "default_samplerate": float(self.rates[0]),
            }
            for name, (n_inputs, n_outputs) in zip(self.names, self._channels, strict=True)
        ]

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates or channels > self._channels[device][0]:
            raise PortAudioError("Invalid sample rate or number of channels")

    def check_output_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates or not self.least_outputs <= channels <= self._channels[device][1]:
            raise PortAudioError("Invalid sample rate or number of channels")

    def _open(self, kind: str, settings: dict[str, Any]) -> FakeStream:
        if self.unplugged or (kind == "duplex" and self.refuses_duplex):
            raise PortAudioError("Illegal combination of I/O devices")
        self.streams.append(FakeStream(self, kind, settings))
        return self.streams[-1]

    def Stream(self, **settings: Any) -> FakeStream:
        return self._open("duplex", settings)

    def InputStream(self, **settings: Any) -> FakeStream:
        return self._open("input", settings)

    def OutputStream(self, **settings: Any) -> FakeStream:
        return self._open("output", settings)

    def _exit_handler(self) -> None:
        """What sounddevice calls at the end of the process."""

    def _terminate(self) -> None:
        if not self.runs:
            raise PortAudioError("PortAudio not initialized")
        self.runs = False
        self.n_restarts += 1

    def _initialize(self) -> None:
        if self.n_failing_starts:
            self.n_failing_starts -= 1
            raise PortAudioError("Error initializing PortAudio")
        self.runs = True
