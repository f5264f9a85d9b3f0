"""Open devices with the worker between them, from start to close."""

import threading
import time
from collections.abc import Callable

from quietmic.devices.controls import Controls
from quietmic.devices.duplex import Duplex
from quietmic.devices.levels import Levels
from quietmic.devices.mixer import Mixer
from quietmic.devices.plan import DuplexPlan
from quietmic.devices.sound import Sound
from quietmic.devices.stepdown import StepDown
from quietmic.devices.tally import Tally
from quietmic.devices.worker import Worker


class Connection:
    """Devices that are open, and the thread that moves sound between them.

    Attributes:
        duplex: the devices.
        worker: what the thread runs.
    """

    def __init__(
        self,
        sound: Sound,
        plan: DuplexPlan,
        mixer: Mixer,
        step_down: StepDown,
        levels: Levels,
        controls: Controls,
        tally: Tally,
        block_s: float,
        jitter_s: float,
        latency: float | str,
        log: Callable[[str], None],
    ) -> None:
        """Opens the devices and starts the worker; most arguments are the worker's.

        Args:
            sound: the sound systems.
            plan: what to open.
            mixer: with the engine.
            step_down: decides what to do when the machine is too slow.
            levels: fed with every hop.
            controls: whose recorder gets every hop.
            tally: of the run.
            block_s: of the devices, seconds.
            jitter_s: buffering on the output side, seconds.
            latency: asked of the devices.
            log: takes messages for the person.

        Raises:
            QuietmicError: the devices do not open.
        """
        self.duplex = Duplex(sound, plan, block_s, tally, latency)
        self.worker = Worker(self.duplex, mixer, step_down, levels, controls, jitter_s, log)
        self._block_s = block_s
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        n_blocks_more = 0 if self.duplex.one_clock else 1  # two callbacks are a block apart at worst
        try:
            self.duplex.start(round((jitter_s + n_blocks_more * block_s) * plan.output_rate))
        except BaseException:
            self.duplex.close()
            raise
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                if not self.worker.step():
                    time.sleep(self._block_s / 8)
        except Exception as error:
            self._error = error

    @property
    def worker_thread(self) -> int | None:
        """The system's number of the worker's thread."""
        return self._thread.native_id

    def failure(self) -> str | None:
        """Why the devices no longer work, None while they do; raises what the worker raised."""
        if self._error:
            raise self._error
        return self.duplex.failure()

    def close(self) -> bool:
        """Ends the worker and closes the devices; whether these closed."""
        self._stopping.set()
        self._thread.join()  # first, as it asks the streams for their latency
        return self.duplex.close()
