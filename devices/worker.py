"""The one worker between the rings: takes blocks from the microphones, enhances them, puts them out for playing."""

import time
from collections.abc import Callable

import numpy as np

from quietmic.devices.controls import Controls
from quietmic.devices.drift import DriftController, DriftResampler
from quietmic.devices.duplex import Duplex
from quietmic.devices.levels import Levels
from quietmic.devices.mixer import Mixer
from quietmic.devices.stepdown import StepDown
from quietmic.devices.trim import Trimmer
from quietmic.enhance.arrays import Array
from quietmic.enhance.resample import StreamResampler

FULL_SCALE = 32768.0
_MAX_BACKLOG_S = 2.0  # later than this, what waits is dropped
_MAX_RAISE_S = 0.2
_CARD_WINDOW_S, _SERVER_WINDOW_S = 60.0, 5.0  # for which latency is looked at before some of it is taken back


class Worker:
    """Moves audio from the input ring through the mixer to the output ring, one block per step.

    Attributes:
        latency_s: from a sound at the microphone to the same sound at the loudspeaker, as far as is known.
    """

    def __init__(
        self,
        duplex: Duplex,
        mixer: Mixer,
        step_down: StepDown,
        levels: Levels,
        controls: Controls,
        jitter_s: float,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Connects the open devices with the mixer and all that watches it.

        Args:
            duplex: open devices.
            mixer: with the engine.
            step_down: decides what to do when the machine is too slow.
            levels: fed with every hop.
            controls: whose recorder gets every hop.
            jitter_s: buffering wanted on the output side, seconds.
            log: takes messages for the person.
            clock: seconds; for tests.
        """
        plan, engine = duplex.plan, mixer.engine
        self._duplex, self._mixer, self._step_down, self._levels = duplex, mixer, step_down, levels
        self._controls = controls
        self._log, self._clock, self._tally = log, clock, duplex.tally
        self._hop_length, self._hop_s = engine.hop_length, engine.hop_s
        self._sample_rate = engine.sample_rate
        self._channels = list(plan.channels)
        self._captured = np.zeros((duplex.input_block, plan.n_input_channels), np.int16)
        self._to_model = self._resampler(len(plan.channels), plan.input_rate, engine.sample_rate)
        self._from_model = self._resampler(1, engine.sample_rate, plan.output_rate)
        is_server = plan.input.is_on_server or plan.output.is_on_server
        self._drift = None if duplex.one_clock else (DriftResampler(), self._controller(is_server, jitter_s))
        self._jitter_s = jitter_s
        self._trimmer: Trimmer | None = None
        if duplex.one_clock or is_server:  # else the drift correction takes back latency, too
            window_s = _SERVER_WINDOW_S if is_server else _CARD_WINDOW_S
            self._trimmer = Trimmer(engine.hop_length, engine.hop_s, window_s)
        self._pending: Array = np.zeros((len(plan.channels), 0), np.float32)
        self._n_underruns = self._tally.underruns
        self._gave_way = False
        self.latency_s = 0.0

    @staticmethod
    def _controller(is_server: bool, jitter_s: float) -> DriftController:
        if is_server:
            # Blocks pass through other processes, which are unpunctual; many of its devices share a clock.
            return DriftController(jitter_s, tolerance_s=0.01, settling_s=3.0)
        return DriftController(jitter_s)

    @staticmethod
    def _resampler(n_channels: int, input_rate: int, output_rate: int) -> StreamResampler | None:
        return None if input_rate == output_rate else StreamResampler(n_channels, input_rate, output_rate)

    def step(self) -> bool:
        """Handles one block of the input; False if there is none yet."""
        ring = self._duplex.input_ring
        if ring.fill < len(self._captured):
            return False
        self._drop_backlog()
        ring.read_into(self._captured)
        noisy = np.ascontiguousarray(self._captured[:, self._channels].T, dtype=np.float32) / FULL_SCALE
        if self._to_model:
            noisy = self._to_model.process(noisy)
        noisy = np.concatenate((self._pending, noisy), axis=1)
        while noisy.shape[1] >= self._hop_length:
            self._run_hop(noisy[:, : self._hop_length])
            noisy = noisy[:, self._hop_length :]
        self._pending = noisy
        self.latency_s = self._latency_s()  # now, as all samples are in the rings and none in hand
        return True

    def _run_hop(self, noisy: Array) -> None:
        begin = self._clock()
        output, enhanced, reference = self._mixer.process(noisy)
        self._deliver(output)
        self._levels.update(noisy, reference, enhanced, output)
        if recorder := self._controls.recorder:
            recorder.push(noisy.copy(), enhanced.copy())
        elapsed_s = self._clock() - begin
        self._tally.add_hop(elapsed_s)
        self._gave_way |= self._step_down.after_hop(elapsed_s)

    def _deliver(self, output: Array) -> None:
        """Brings one hop to the output's rate and puts it into its ring."""
        ring = self._duplex.output_ring
        if self._trimmer:
            excess_s = ring.fill / self._duplex.plan.output_rate - self._jitter_s
            trimmed = self._trimmer.process(output, excess_s)
            if trimmed is None:
                return
            output = trimmed
        if self._from_model:
            output = self._from_model.process(output[None])[0]
        if self._drift:
            resampler, controller = self._drift
            self._raise_target(controller)
            output = resampler.process(output, controller.update(self._duplex.buffered_s(), self._hop_s))
        samples = np.clip(np.rint(output * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        ring.write(np.repeat(samples[:, None], ring.n_channels, axis=1))

    def _raise_target(self, controller: DriftController) -> None:
        """After an underrun more is buffered, so that the same stumble is not heard twice."""
        if self._tally.underruns > self._n_underruns:
            self._n_underruns = self._tally.underruns
            controller.target_s = min(controller.target_s + self._hop_s, self._jitter_s + _MAX_RAISE_S)

    def _drop_backlog(self) -> None:
        """Throws away what is too late to be of use, except for the jitter buffer's worth."""
        ring, block = self._duplex.input_ring, len(self._captured)
        limit_s = self._jitter_s if self._gave_way else _MAX_BACKLOG_S
        self._gave_way = False
        rate = self._duplex.plan.input_rate
        if ring.fill <= max(limit_s * rate, block):
            return
        n_blocks = (ring.fill - round(self._jitter_s * rate)) // block
        ring.skip(n_blocks * block)
        self._tally.n_blocks_dropped += n_blocks
        self._log(f"fell {n_blocks * block / rate:.1f} s behind: dropped {n_blocks} blocks")

    def _latency_s(self) -> float:
        n_out: float = self._drift[0].delay if self._drift else 0  # at the output's rate, as both come behind the mixer
        n_out += float(self._from_model.delay) if self._from_model else 0
        latency_s = self._mixer.latency / self._sample_rate + n_out / self._duplex.plan.output_rate
        latency_s += self._duplex.device_latency_s()
        if self._to_model:
            latency_s += float(self._to_model.delay) / self._sample_rate
        return latency_s + max(0.0, self._duplex.buffered_s()) + self._pending.shape[1] / self._sample_rate
