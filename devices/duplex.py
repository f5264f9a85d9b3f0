"""Sound in and out through PortAudio: callbacks that only copy between the cards and two rings."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.devices.plan import SAMPLE_TYPE, DuplexPlan
from quietmic.devices.ring import Ring
from quietmic.devices.tally import Tally
from quietmic.enhance.errors import QuietmicError

_RING_S = 4.0
_FIRST_BLOCK_S = 6.0  # sound servers may take more than a second until the first block
SILENT_S = 2.0  # without a block, after which a device counts as lost
CLOSING_S = 3.0  # until a stream that does not close is left behind


class Duplex:
    """Open streams of one plan: one duplex stream, or two where the devices do not go together.

    PortAudio's frames are samples here, and its [frames, channels] stays as it is as far as the rings.

    Attributes:
        plan: devices, rates and channels.
        input_ring: what the microphones gave, filled by the callback.
        output_ring: what is to be played, emptied by the callback.
        tally: counts losses.
        one_clock: whether a single stream carries both directions.
    """

    def __init__(
        self,
        backend: Any,
        plan: DuplexPlan,
        block_s: float,
        tally: Tally,
        latency: float | str = "low",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the devices; nothing runs before `start`.

        Args:
            backend: the sounddevice module.
            plan: what to open.
            block_s: length of a callback's block, seconds.
            tally: counts overruns and underruns.
            latency: asked of PortAudio: "low", "high" or seconds.
            clock: seconds; for tests.

        Raises:
            QuietmicError: a device refuses.
        """
        self._backend, self._clock = backend, clock
        self.plan, self.tally = plan, tally
        self.input_block = round(block_s * plan.input_rate)
        self.output_block = round(block_s * plan.output_rate)
        self.input_ring = Ring(plan.n_input_channels, round(_RING_S * plan.input_rate))
        self.output_ring = Ring(plan.n_output_channels, round(_RING_S * plan.output_rate))
        self.one_clock = False
        self._streams: list[Any] = []
        self._closing: threading.Thread | None = None
        self._input_time = self._output_time = 0.0
        self._starts = 0.0
        try:
            self._open(latency)
        except (backend.PortAudioError, ValueError) as error:
            self.close()
            raise QuietmicError(f"cannot open {plan.input.name} and {plan.output.name}: {error}") from error

    def _open(self, latency: float | str) -> None:
        plan = self.plan
        common = {"dtype": SAMPLE_TYPE, "latency": latency}
        if plan.shared_clock:
            try:
                stream = self._backend.Stream(
                    samplerate=plan.input_rate,
                    blocksize=self.input_block,
                    device=(plan.input.index, plan.output.index),
                    channels=(plan.n_input_channels, plan.n_output_channels),
                    callback=self._on_duplex,
                    **common,
                )
            except self._backend.PortAudioError:
                pass  # devices that do not go together open one by one
            else:
                self._streams, self.one_clock = [stream], True
                return
        self._streams.append(
            self._backend.InputStream(
                samplerate=plan.input_rate,
                blocksize=self.input_block,
                device=plan.input.index,
                channels=plan.n_input_channels,
                callback=self._on_input,
                **common,
            )
        )
        self._streams.append(
            self._backend.OutputStream(
                samplerate=plan.output_rate,
                blocksize=self.output_block,
                device=plan.output.index,
                channels=plan.n_output_channels,
                callback=self._on_output,
                **common,
            )
        )

    def _on_duplex(
        self, captured: NDArray[np.int16], played: NDArray[np.int16], n_samples: int, times: Any, status: Any
    ) -> None:
        self._capture(captured, status)
        self._play(played, status)

    def _on_input(self, captured: NDArray[np.int16], n_samples: int, times: Any, status: Any) -> None:
        self._capture(captured, status)

    def _on_output(self, played: NDArray[np.int16], n_samples: int, times: Any, status: Any) -> None:
        self._play(played, status)

    def _capture(self, captured: NDArray[np.int16], status: Any) -> None:
        lost = self.input_ring.write(captured) < len(captured)
        self._input_time = self._clock()
        if lost or status.input_overflow:
            self.tally.overruns += 1

    def _play(self, played: NDArray[np.int16], status: Any) -> None:
        n = self.output_ring.read_into(played)
        self._output_time = self._clock()
        if n < len(played):
            played[n:] = 0
        if n < len(played) or status.output_underflow:
            self.tally.underruns += 1

    def start(self, n_silent: int) -> None:
        """Starts the streams.

        Args:
            n_silent: samples of silence put into the output ring first: the jitter buffer.

        Raises:
            QuietmicError: a device refuses.
        """
        self.output_ring.write(np.zeros((n_silent, self.plan.n_output_channels), np.int16))
        self._starts = self._input_time = self._output_time = self._clock()
        try:
            for stream in self._streams:
                stream.start()
        except self._backend.PortAudioError as error:
            self.close()
            raise QuietmicError(f"cannot start {self.plan.input.name} and {self.plan.output.name}: {error}") from error

    def failure(self) -> str | None:
        """Why the devices no longer work, None while they do."""
        try:
            if not all(stream.active for stream in self._streams):
                return "the stream was stopped by the system"
        except self._backend.PortAudioError as error:
            return str(error)
        now = self._clock()
        for name, last in ((self.plan.input.name, self._input_time), (self.plan.output.name, self._output_time)):
            patience_s = _FIRST_BLOCK_S if last == self._starts else SILENT_S
            if now - last > patience_s:
                return f"{name} has been silent for {now - last:.0f} s"
        return None

    def buffered_s(self) -> float:
        """Seconds of audio between the two cards' clocks, as if these ran continuously and not in blocks."""
        now = self._clock()
        waiting_in = self.input_ring.fill / self.plan.input_rate + (now - self._input_time)
        return waiting_in + self.output_ring.fill / self.plan.output_rate - (now - self._output_time)

    def device_latency_s(self) -> float:
        """Seconds that the cards themselves take, as PortAudio states them."""
        if self.one_clock:
            return float(sum(self._streams[0].latency))
        return float(sum(stream.latency for stream in self._streams))

    def close(self) -> bool:
        """Closes the streams; harmless when called again, and with the same answer.

        Returns:
            Whether they closed. ALSA's plugin for PulseAudio sometimes never comes back when the server died: then what
            waits for it is left behind.
        """
        streams, self._streams = self._streams, []
        if sys.platform != "linux":  # where a stream may have to be closed by the thread that opened it
            self._close(streams)
            return True
        if streams:
            self._closing = threading.Thread(target=self._close, args=(streams,), name="closing", daemon=True)
            self._closing.start()
            self._closing.join(CLOSING_S)
        return self._closing is None or not self._closing.is_alive()

    def _close(self, streams: list[Any]) -> None:
        for stream in streams:
            # A device that is gone cannot be closed properly.
            with contextlib.suppress(self._backend.PortAudioError):
                stream.close(ignore_errors=True)
