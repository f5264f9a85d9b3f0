"""Sound in and out: callbacks of PortAudio that only copy between the cards and two rings, or pipes of the server."""

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
from quietmic.devices.server.pipes import Capture, Pipe, Playback
from quietmic.devices.sound import Sound
from quietmic.devices.tally import Tally
from quietmic.devices.tuning import server_latency_s
from quietmic.enhance.errors import QuietmicError

_RING_S = 4.0
_FIRST_BLOCK_S = 6.0  # sound servers may take more than a second until the first block
SILENT_S = 2.0  # without a block, after which a device counts as lost
_MOST_CAPTURE_S = 0.05
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
        sound: Sound,
        plan: DuplexPlan,
        block_s: float,
        tally: Tally,
        latency: float | str = "low",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the devices; nothing runs before `start`.

        Args:
            sound: the sound systems.
            plan: what to open.
            block_s: length of a callback's block, seconds.
            tally: counts overruns and underruns.
            latency: asked of PortAudio: "low", "high" or seconds.
            clock: seconds; for tests.

        Raises:
            QuietmicError: a device refuses.
        """
        self._sound, self._clock = sound, clock
        self.plan, self.tally = plan, tally
        self.input_block = round(block_s * plan.input_rate)
        self.output_block = round(block_s * plan.output_rate)
        self._captured = Ring(plan.n_input_channels, round(_RING_S * plan.input_rate))
        self._to_play = Ring(plan.n_output_channels, round(_RING_S * plan.output_rate))
        self.input_ring: Ring | Capture = self._captured
        self.output_ring: Ring | Playback = self._to_play
        self.one_clock = False
        self._streams: list[Any] = []
        self._closing: threading.Thread | None = None
        self._input_time = self._output_time = 0.0
        self._starts = 0.0
        refusals: tuple[type[Exception], ...] = (ValueError, *sound.errors)
        try:
            self._open(latency)
        except refusals as error:
            self.close()
            raise QuietmicError(f"cannot open {plan.input.label} and {plan.output.label}: {error}") from error

    def _open(self, latency: float | str) -> None:
        plan = self.plan
        common = {"dtype": SAMPLE_TYPE, "latency": latency}
        if plan.shared_clock:
            try:
                stream = self._sound.backend.Stream(
                    samplerate=plan.input_rate,
                    blocksize=self.input_block,
                    device=(plan.input.index, plan.output.index),
                    channels=(plan.n_input_channels, plan.n_output_channels),
                    callback=self._on_duplex,
                    **common,
                )
            except self._sound.backend.PortAudioError:
                pass  # devices that do not go together open one by one
            else:
                self._streams, self.one_clock = [stream], True
                return
        self._streams.append(self._open_input(common))
        self._streams.append(self._open_output(common))

    def _open_input(self, common: dict[str, Any]) -> Any:
        plan = self.plan
        if plan.input.is_on_server:
            # A recording that is fetched late loses nothing: the server keeps it.
            latency_s = min(server_latency_s(common["latency"]), _MOST_CAPTURE_S)
            name, channel_map = plan.input.name, plan.input.channel_map
            self.input_ring = Capture(name, plan.input_rate, plan.n_input_channels, channel_map, latency_s)
            return self.input_ring
        return self._sound.backend.InputStream(
            samplerate=plan.input_rate,
            blocksize=self.input_block,
            device=plan.input.index,
            channels=plan.n_input_channels,
            callback=self._on_input,
            **common,
        )

    def _open_output(self, common: dict[str, Any]) -> Any:
        plan = self.plan
        if plan.output.is_on_server:
            latency_s = server_latency_s(common["latency"])
            self.output_ring = Playback(plan.output.name, plan.output_rate, plan.n_output_channels, "mono", latency_s)
            return self.output_ring
        return self._sound.backend.OutputStream(
            samplerate=plan.output_rate,
            blocksize=self.output_block,
            device=plan.output.index,
            channels=plan.n_output_channels,
            callback=self._on_output,
            **common,
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes whose streams in the sound server are ours."""
        return tuple(stream.pid for stream in self._streams if isinstance(stream, Pipe))

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
        lost = self._captured.write(captured) < len(captured)
        self._input_time = self._clock()
        if lost or status.input_overflow:
            self.tally.overruns += 1

    def _play(self, played: NDArray[np.int16], status: Any) -> None:
        n = self._to_play.read_into(played)
        self._output_time = self._clock()
        if n < len(played):
            played[n:] = 0
        if n < len(played) or status.output_underflow:
            self.tally.underruns += 1

    def start(self, n_silent: int) -> None:
        """Starts the streams with the jitter buffer filled.

        Args:
            n_silent: samples of silence put into the output ring first: the jitter buffer.

        Raises:
            QuietmicError: a device refuses.
        """
        if isinstance(self.output_ring, Playback):
            self.output_ring.hold_back(n_silent)
        else:
            self.output_ring.write(np.zeros((n_silent, self.plan.n_output_channels), np.int16))
        self._starts = self._input_time = self._output_time = self._clock()
        try:
            for stream in self._streams:
                stream.start()
        except self._sound.errors as error:
            self.close()
            names = f"{self.plan.input.label} and {self.plan.output.label}"
            raise QuietmicError(f"cannot start {names}: {error}") from error
        if isinstance(self.input_ring, Capture):
            self.input_ring.skip(self.input_ring.fill)  # what came while the output was connected is late already

    def failure(self) -> str | None:
        """Why the devices no longer work, None while they do."""
        try:
            if not all([stream.active for stream in self._streams]):  # each is asked, as some have things to tell
                return "the stream was stopped by the system"
        except self._sound.errors as error:
            return str(error)
        self._count_gaps()
        now = self._clock()
        for label, last in ((self.plan.input.label, self._heard_at()), (self.plan.output.label, self._played_at())):
            patience_s = _FIRST_BLOCK_S if last <= self._starts else SILENT_S
            if now - max(last, self._starts) > patience_s:
                return f"{label} has been silent for {now - last:.0f} s"
        return None

    def _count_gaps(self) -> None:
        """Takes over what the server has told of gaps; PortAudio's are counted by the callbacks."""
        if isinstance(self.input_ring, Capture):
            self.tally.overruns += self.input_ring.take_gaps()
        if isinstance(self.output_ring, Playback):
            self.tally.underruns += self.output_ring.take_gaps()

    def _heard_at(self) -> float:
        """When the last samples came in, on the clock."""
        return self.input_ring.last_time if isinstance(self.input_ring, Capture) else self._input_time

    def _played_at(self) -> float:
        """When the last samples went out, on the clock."""
        return self.output_ring.last_time if isinstance(self.output_ring, Playback) else self._output_time

    def buffered_s(self) -> float:
        """Seconds of audio between the two cards' clocks, as if these ran continuously and not in blocks."""
        now = self._clock()
        waiting_in = self.input_ring.fill / self.plan.input_rate + (now - self._heard_at())
        return waiting_in + self.output_ring.fill / self.plan.output_rate - (now - self._played_at())

    def device_latency_s(self) -> float:
        """Seconds that the cards and servers themselves take, as these state them."""
        if self.one_clock:
            return float(sum(self._streams[0].latency))  # both directions
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
            with contextlib.suppress(*self._sound.errors):
                stream.close(ignore_errors=True)
