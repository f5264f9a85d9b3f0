"""A live run from start to end: opens the devices, watches them, heals, obeys, and sums up."""

import atexit
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from quietmic.devices.controls import Controls
from quietmic.devices.duplex import Duplex
from quietmic.devices.engine import Engine, EngineTiming
from quietmic.devices.levels import Levels
from quietmic.devices.listing import find_again, list_devices
from quietmic.devices.mixer import Mixer
from quietmic.devices.options import LiveOptions
from quietmic.devices.plan import DuplexPlan, plan_duplex
from quietmic.devices.priority import audio_priority, lower_other_threads
from quietmic.devices.stepdown import NextEngine, StepDown
from quietmic.devices.tally import Tally
from quietmic.devices.tuning import choose_jitter_s, choose_latency
from quietmic.devices.worker import Worker
from quietmic.enhance.errors import QuietmicError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 8.0  # between attempts to open lost devices, doubled each time
LOSSES_WINDOW_S, MOST_LOSSES = 5.0, 4  # so many gaps in so long a time are said
_TICK_S = 0.05


class Session:
    """Runs an engine between two devices until it is stopped.

    Attributes:
        tally: counts of the whole run.
        mixer: bypass, mute and the engine in use.
        levels: of microphone and output.
        controls: what the keys act on.
        messages: (seconds since the start, text), the newest last.
    """

    def __init__(
        self,
        backend: Any,
        plan: DuplexPlan,
        engine: Engine,
        timing: EngineTiming,
        options: LiveOptions,
        next_engine: NextEngine | None = None,
        before_reconnect: Callable[[], None] | None = None,
    ) -> None:
        """Prepares a run; no device is opened yet.

        Args:
            backend: the sounddevice module.
            plan: devices, rates and channels.
            engine: warmed up and reset.
            timing: of this engine on this machine.
            options: the person's choices.
            next_engine: gives the next smaller model when the machine is too slow; None = bypass instead.
            before_reconnect: called before lost devices are tried again (to make the virtual microphone anew).
        """
        self._backend, self._plan, self._options = backend, plan, options
        self._before_reconnect = before_reconnect
        self.tally = Tally()
        self.messages: deque[tuple[float, str]] = deque(maxlen=1000)
        self.mixer = Mixer(engine, timing.n_held)
        self.levels = Levels(engine.hop_s)
        self.controls = Controls(self.mixer, options.record or Path.cwd(), options.attenuation_limit_db, self.log)
        self.step_down = StepDown(self.mixer, self.log, next_engine)
        self._block_s = options.n_hops_per_block * engine.hop_s
        self.jitter_s = options.jitter_s or choose_jitter_s(timing, self._block_s, options.least_jitter_s)
        self.latency = choose_latency(timing, plan) if options.latency == "auto" else options.latency
        self.worker: Worker | None = None
        self._duplex: Duplex | None = None
        self._one_clock = plan.shared_clock
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._start_time = time.monotonic()
        self._latency_s = 0.0
        self._n_losses, self._losses_until = 0, LOSSES_WINDOW_S
        self.n_reconnects = 0
        self._is_stuck = False

    @property
    def plan(self) -> DuplexPlan:
        """Devices, rates and channels in use."""
        return self._plan

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start_time

    def log(self, text: str) -> None:
        """Keeps a message for the view and the summary, and logs it."""
        self.messages.append((self.seconds, text))
        logger.info(text)

    def _connect(self) -> None:
        """Opens the devices and starts the worker.

        Raises:
            QuietmicError: they do not open.
        """
        duplex = Duplex(self._backend, self._plan, self._block_s, self.tally, self.latency)
        self._duplex, self._one_clock = duplex, duplex.one_clock
        self.worker = Worker(duplex, self.mixer, self.step_down, self.levels, self.controls, self.jitter_s, self.log)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, args=(self.worker,), name="worker", daemon=True)
        n_blocks_more = 0 if duplex.one_clock else 1  # two callbacks are a block apart at worst
        with audio_priority():
            self._thread.start()
            duplex.start(round((self.jitter_s + n_blocks_more * self._block_s) * self._plan.output_rate))
        clock = "one stream" if duplex.one_clock else "two streams with drift correction"
        self.log(f"{self._plan.input.name} -> {self.mixer.engine.name} -> {self._plan.output.name} ({clock})")

    def _work(self, worker: Worker) -> None:
        try:
            while not self._stopping.is_set():
                if not worker.step():
                    time.sleep(self._block_s / 8)
        except Exception as error:
            self._error = error

    def _disconnect(self) -> None:
        self._stopping.set()
        if self._thread:  # first, as it asks the streams for their latency
            self._thread.join()
        if self._duplex and not self._duplex.close():
            self._leave_behind()
        self._duplex = self._thread = None

    def _leave_behind(self) -> None:
        """Goes on beside streams that do not close; PortAudio cannot be ended then, as it would wait for them."""
        self.log("the old stream does not close and is left behind")
        self._is_stuck = True
        atexit.unregister(self._backend._exit_handler)
        lower_other_threads()

    def run(self, tick: Callable[[], None] | None = None) -> None:
        """Runs until the time is over, someone quits or interrupts.

        Args:
            tick: called some twenty times a second, for keys and view.

        Raises:
            QuietmicError: the devices do not open at the start; later they are tried again for ever.
        """
        for note in self._plan.notes:
            self.log(note)
        if self._options.record:
            self.controls.toggle_recording()
        try:
            self._connect()
            self._start_time = time.monotonic()
            while not self._is_over():
                self._stopping.wait(_TICK_S)
                if tick:
                    tick()
                self._watch(tick)
        except KeyboardInterrupt:
            self.log("stopped")
        finally:
            self._disconnect()
            self.controls.stop_recording()

    def _is_over(self) -> bool:
        duration_s = self._options.duration_s
        return self.controls.wants_quit or (duration_s is not None and self.seconds >= duration_s)

    def _watch(self, tick: Callable[[], None] | None) -> None:
        if self._error:
            raise self._error
        failure = self._duplex.failure() if self._duplex else "no devices"
        if failure is None:
            if self.worker and self.tally.n_hops:
                self._latency_s = self.worker.latency_s
            self._watch_losses()
            return
        self.log(f"lost the sound devices: {failure}")
        self._disconnect()
        self._heal(tick)

    def _watch_losses(self) -> None:
        """Says so when the sound is broken often although the model is fast enough."""
        n_losses = self.tally.underruns + self.tally.overruns
        if self.seconds < self._losses_until:
            return
        if n_losses - self._n_losses >= MOST_LOSSES and not self.mixer.forced_bypass:
            self.log(
                f"{n_losses - self._n_losses} gaps in {LOSSES_WINDOW_S:.0f} s: this machine is too busy for so short "
                "a buffer, or these devices have two clocks; try a latency of 0.2 s, more jitter or two clocks"
            )
        self._n_losses, self._losses_until = n_losses, self.seconds + LOSSES_WINDOW_S

    def _heal(self, tick: Callable[[], None] | None) -> None:
        """Tries the devices again with growing pauses until they are back or the run is over."""
        pause_s = FIRST_PAUSE_S
        while not self._is_over():
            self.log(f"trying again in {pause_s:g} s")
            end = time.monotonic() + pause_s
            while time.monotonic() < end and not self._is_over():
                time.sleep(_TICK_S)
                if tick:
                    tick()
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
            try:
                self._reconnect()
            except (QuietmicError, self._backend.PortAudioError) as error:
                self._disconnect()
                self.log(str(error))
                continue
            self.n_reconnects += 1
            self.log("the sound devices are back")
            return

    def _reconnect(self) -> None:
        # PortAudio lists devices once, when it is initialised; it is not if that failed the last time.
        if not self._is_stuck:
            with contextlib.suppress(self._backend.PortAudioError):
                self._backend._terminate()
            self._backend._initialize()
        if self._before_reconnect:
            self._before_reconnect()
        old, devices = self._plan, list_devices(self._backend)
        plan = plan_duplex(
            self._backend,
            self.mixer.engine.sample_rate,
            old.channels,
            str(find_again(devices, old.input, "input").index),
            str(find_again(devices, old.output, "output").index),
            two_clocks=self._options.two_clocks,
        )
        if len(plan.channels) != len(old.channels):
            raise QuietmicError(f"{plan.input.name} came back with fewer channels")
        self._plan = replace(plan, notes=old.notes)
        self.mixer.restart()
        self._connect()

    def summary(self) -> dict[str, Any]:
        """Figures of the run, for JSON; seconds unless the name says otherwise."""
        p50_s, p99_s = self.tally.hop_times_s()
        hop_s = self.mixer.engine.hop_s
        delay_s = hop_s + self.mixer.latency / self.mixer.engine.sample_rate  # a sample first waits for its hop
        bypassed_s = dict(self.step_down.bypassed_s)
        return {
            "model": self.mixer.engine.name,
            "n_mics": self.mixer.engine.n_mics,
            "input": self._plan.input.name,
            "output": self._plan.output.name,
            "input_rate": self._plan.input_rate,
            "output_rate": self._plan.output_rate,
            "channels": list(self._plan.channels),
            "one_clock": self._one_clock,
            "duration_s": self.seconds,
            "processed_s": self.tally.n_hops * hop_s,
            "hop_ms": 1e3 * hop_s,
            "hop_p50_ms": 1e3 * p50_s,
            "hop_p99_ms": 1e3 * p99_s,
            "rtf": p50_s / hop_s,
            "rtf_p99": p99_s / hop_s,
            "missed_deadlines": self.step_down.n_missed,
            "underruns": self.tally.underruns,
            "overruns": self.tally.overruns,
            "blocks_dropped": self.tally.n_blocks_dropped,
            "algorithmic_delay_ms": 1e3 * delay_s,
            "latency_asked": self.latency,
            "jitter_ms": 1e3 * self.jitter_s,
            "latency_ms": 1e3 * self._latency_s,
            "input_db": self.levels.input_db,
            "output_db": self.levels.output_db,
            "noise_reduction_db": self.levels.noise_reduction_db(),
            "bypassed_s": sum(bypassed_s.values()),
            "bypassed_by_reason_s": bypassed_s,
            "steps_down": self.step_down.n_steps,
            "reconnects": self.n_reconnects,
            "non_finite": self.mixer.n_replaced + self.mixer.engine.count_non_finite(),
            "messages": [{"at_s": at_s, "text": text} for at_s, text in list(self.messages)],
        }
