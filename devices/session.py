"""A live run from start to end: opens the devices, watches them, rests, heals, obeys, and sums up."""

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quietmic.devices.connection import Connection
from quietmic.devices.controls import Controls
from quietmic.devices.engine import Engine, EngineTiming
from quietmic.devices.levels import Levels
from quietmic.devices.losses import Losses, advise
from quietmic.devices.mixer import Mixer
from quietmic.devices.options import LiveOptions
from quietmic.devices.placement import Placement
from quietmic.devices.plan import DuplexPlan
from quietmic.devices.priority import Guard
from quietmic.devices.rest import Rest
from quietmic.devices.retries import attempts
from quietmic.devices.server.watch import Watch, Wiring
from quietmic.devices.sound import Sound
from quietmic.devices.stepdown import NextEngine, StepDown
from quietmic.devices.summary import describe_state, summarize
from quietmic.devices.tally import Tally
from quietmic.devices.tuning import choose_jitter_s, choose_latency, more_latency

logger = logging.getLogger(__name__)

_TICK_S = 0.05
_REST_AFTER_S = 2.0


class Session:
    """Runs an engine between two devices until it is stopped.

    Attributes:
        tally: counts of the whole run.
        mixer: bypass, mute and the engine in use.
        levels: of microphone and output.
        controls: what the keys act on.
        messages: (seconds since the start, text), the newest last.
        latency: asked of the devices.
        latency_s: from microphone to output, as far as is known.
        one_clock: whether a single stream carries both directions.
        rest: from which it wakes when somebody uses the virtual device.
    """

    def __init__(
        self,
        sound: Sound,
        plan: DuplexPlan,
        engine: Engine,
        timing: EngineTiming,
        options: LiveOptions,
        next_engine: NextEngine | None = None,
        before_reconnect: Callable[[], None] | None = None,
        wiring: Wiring | None = None,
    ) -> None:
        """Prepares a run; no device is opened yet.

        Args:
            sound: the sound systems.
            plan: devices, rates and channels.
            engine: warmed up and reset.
            timing: of this engine on this machine.
            options: the person's choices.
            next_engine: gives the next smaller model when the machine is too slow; None = bypass instead.
            before_reconnect: called before lost devices are tried again (to make the virtual device anew).
            wiring: to be watched in the sound server; None = nothing there concerns us.
        """
        self._sound, self._options = sound, options
        self._placement = Placement(sound, plan, engine.sample_rate, options.two_clocks)
        self._before_reconnect, self._wiring = before_reconnect, wiring
        self.tally = Tally()
        self.messages: deque[tuple[float, str]] = deque(maxlen=1000)
        self.mixer = Mixer(engine, timing.n_held)
        self.levels = Levels(engine.hop_s)
        folder = options.key_folder or options.record or Path.cwd()
        self.controls = Controls(self.mixer, folder, options.attenuation_limit_db, self.log)
        self.step_down = StepDown(self.mixer, self.log, next_engine)
        self._block_s = options.n_hops_per_block * engine.hop_s
        self.jitter_s = options.jitter_s or choose_jitter_s(timing, self._block_s, options.least_jitter_s)
        self.latency = choose_latency(timing, plan) if options.latency == "auto" else options.latency
        self._connection: Connection | None = None
        self._attention = threading.Event()
        self._guard = Guard()
        self._losses = Losses(self.tally, engine.hop_s)
        self.one_clock = plan.shared_clock
        self._start_time = self._used_at = self._opened_at = time.monotonic()
        self._n_before = 0
        self.latency_s = 0.0
        self.n_reconnects = 0
        self._is_stuck = self._is_healing = False
        self.rest = Rest()

    @property
    def plan(self) -> DuplexPlan:
        """Devices, rates and channels in use."""
        return self._placement.plan

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._start_time

    @property
    def lost_s(self) -> float:
        """Seconds for which the devices were open and no sound came."""
        return self._losses.lost_s(time.monotonic())

    @property
    def state(self) -> str:
        """What it does at the moment, in a few words."""
        if self.rest.is_on:
            return "resting: no program listens"
        if self._is_healing:
            return "lost the devices"
        if not self._losses.is_open:
            return "waiting for sound"
        if self.mixer.silenced:
            return "silenced: its streams were moved"
        return f"bypass: {self.step_down.reason}" if self.step_down.reason else "enhancing"

    def log(self, text: str) -> None:
        """Keeps a message for the view and the summary, and logs it."""
        self.messages.append((self.seconds, text))
        logger.info(text)

    def _connect(self) -> None:
        """Opens the devices and starts the worker.

        Raises:
            QuietmicError: they do not open.
        """
        self._connection = Connection(
            self._sound, self.plan, self.mixer, self.step_down, self.levels, self.controls, self.tally,
            self._block_s, self.jitter_s, self.latency, self.log,
        )  # fmt: skip
        self.one_clock = self._connection.duplex.one_clock
        self._n_before = self.tally.n_hops
        if thread := self._connection.worker_thread:
            self._guard.spared.add(thread)  # StepDown looks after it
        self._used_at = self._opened_at = time.monotonic()

    def _tell_connection(self) -> None:
        clock = "one stream" if self.one_clock else "two streams with drift correction"
        if self.plan.input.is_on_server and self.plan.output.is_on_server:
            clock = f"through {self._sound.server}, {clock}"
        self.log(f"{self.plan.input.label} -> {self.mixer.engine.name} -> {self.plan.output.label} ({clock})")

    def _disconnect(self) -> None:
        self._losses.close(time.monotonic())
        connection, self._connection = self._connection, None
        if connection and not connection.close():
            # PortAudio cannot be ended then, as it would wait for the streams.
            self.log("the old stream does not close and is left behind")
            self._is_stuck = True
            atexit.unregister(self._sound.backend._exit_handler)

    def _pids(self) -> tuple[int, ...]:
        connection = self._connection
        return connection.duplex.pids if connection else ()

    def run(self, tick: Callable[[], None] | None = None) -> None:
        """Runs until the time is over, someone quits or interrupts.

        Args:
            tick: called some twenty times a second, for keys and view.

        Raises:
            QuietmicError: the devices do not open at the start; later they are tried again for ever.
        """
        for note in self.plan.notes:
            self.log(note)
        if self._options.record:
            self.controls.toggle_recording()
        try:
            self._connect()
            self._tell_connection()
            self._start_time = time.monotonic()
            if self._wiring:
                self._placement.watch = Watch(
                    self._wiring, self._pids, self.mixer.silence, self._attention.set, self.log
                )
            while not self._is_over():
                self._attention.wait(_TICK_S)
                self._attention.clear()
                self._look_after(tick)  # first: a listener may be waiting
                if tick:
                    tick()
        except KeyboardInterrupt:
            self.log("stopped")
        finally:
            self._disconnect()
            if watch := self._placement.watch:
                watch.close()
            self.controls.stop_recording()

    def _is_over(self) -> bool:
        duration_s = self._options.duration_s
        return self.controls.wants_quit or (duration_s is not None and self.seconds >= duration_s)

    def _look_after(self, tick: Callable[[], None] | None) -> None:
        for thread in self._guard.check():
            self.log(f"the thread {thread!r} takes half a core: it no longer goes before other programs")
        if self._placement.is_outdated:
            self._follow(tick)
            return
        watch = self._placement.watch
        if self.rest.is_on and watch and watch.n_users == 0:
            return
        failure = self._failure()
        if failure is None and (self._connection or watch is None or watch.n_users is not None):
            self._rest_or_wake(tick, watch.n_users if watch else None)
            return
        self.log(f"lost the sound devices: {failure or 'the sound server does not answer'}")
        self._disconnect()
        self._heal(tick)

    def _failure(self) -> str | None:
        """Why the open devices no longer work, None while they do or none are open."""
        if self._connection is None:
            return None
        if missing := self._placement.missing_since(self._opened_at):
            return f"{missing} is not there"
        return self._connection.failure()

    def _follow(self, tick: Callable[[], None] | None) -> None:
        """Goes on with the devices that are the default now."""
        try:
            self._placement.follow()
        except self._sound.errors as error:
            self.log(f"another device is the default now: {error}: staying with {self.plan.input.label}")
            self._placement.stay()
            return
        if self._connection:
            self._reopen(tick)
        self._tell_connection()

    def _reopen(self, tick: Callable[[], None] | None) -> None:
        """Closes and opens the devices, with another plan or latency."""
        self._disconnect()
        self.mixer.restart()
        try:
            self._connect()
        except self._sound.errors as error:
            self.log(f"lost the sound devices: {error}")
            self._heal(tick)

    def _rest_or_wake(self, tick: Callable[[], None] | None, n_users: int | None) -> None:
        now = time.monotonic()
        if self._connection is None:
            try:
                self._wake()
            except self._sound.errors as error:
                self.log(f"lost the sound devices: {error}")
                self._heal(tick)
        elif n_users != 0 or self._options.always_on or not (self._wiring and self._wiring.offered):
            self._used_at = now
            self._watch_losses(now, tick)
        elif now - self._used_at > _REST_AFTER_S:
            self.log(f"no program uses {self._wiring.offered!r}: resting until one does")
            self._disconnect()
            self.levels.forget()
            self.rest.begin()

    def _wake(self) -> None:
        self.rest.end()
        self.mixer.restart()
        self._connect()
        self.log("a program listens: awake again")

    def _watch_losses(self, now: float, tick: Callable[[], None] | None) -> None:
        """Says so when much is lost although the model is fast enough, and asks a server for more buffering."""
        connection = self._connection
        if connection and self.tally.n_hops > self._n_before:
            self.latency_s = connection.worker.latency_s
            if not self._losses.is_open:
                self._losses.open(now)
        loss = self._losses.judge(now)
        if loss is None or self.mixer.forced_bypass:
            return
        more = more_latency(self.latency, self.plan) if self._options.latency == "auto" else None
        if more is None:
            self.log(f"{loss}: {advise(self.latency, self._options.jitter_s is not None, self.one_clock)}")
            return
        self.log(f"{loss}: asking the sound server for {1e3 * more:.0f} ms of buffering instead of less")
        self.latency = more
        self._reopen(tick)

    def _heal(self, tick: Callable[[], None] | None) -> None:
        """Tries the devices again with growing pauses until they are back or the run is over."""
        self.rest.end()
        self.levels.forget()
        self._is_healing = True
        for _ in attempts(self._is_over, tick, self.log):
            try:
                self._reconnect()
            except self._sound.errors as error:
                self._disconnect()
                self.log(str(error))
                continue
            self.n_reconnects += 1
            self._is_healing = False
            self.log("the sound devices are back")
            return

    def _reconnect(self) -> None:
        if not self._is_stuck:
            self._sound.restart()
        if self._before_reconnect:
            self._before_reconnect()
        self._placement.renew()
        self.mixer.restart()
        self._connect()
        self._tell_connection()

    def obey(self, words: list[str]) -> dict[str, Any]:
        """Does what a command from outside asks, see Controls.obey, and gives the state; raises as that does."""
        self.controls.obey(words)
        return describe_state(self)

    def summary(self) -> dict[str, Any]:
        """Figures of the run, for JSON."""
        return summarize(self)
