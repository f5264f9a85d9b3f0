"""Live runs on a fake PortAudio, in threads of the test."""

import threading
import time

import numpy as np
from fake_portaudio import FakePortAudio

from quietmic.devices.engine import Engine, EngineTiming
from quietmic.devices.options import LiveOptions
from quietmic.devices.plan import plan_duplex
from quietmic.devices.session import Session
from quietmic.devices.sound import Sound

HOP = 256
QUICK = EngineTiming(0.001, 0.002, 0)


class Player:
    """Calls the callbacks of whichever stream is open, in real time."""

    def __init__(self, backend: FakePortAudio) -> None:
        self._backend = backend
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        captured = np.full((HOP, 1), 1000, np.int16)
        while not self._stop.wait(HOP / 16000):
            stream = self._backend.streams[-1] if self._backend.streams else None
            if stream and stream.active and not self._backend.unplugged:
                stream.tick(captured)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def make_session(backend: FakePortAudio, **options: object) -> Session:
    limits: list[float | None] = []
    engine = Engine("half", lambda block: 0.5 * block[0], lambda: None, set_attenuation_limit=limits.append)
    session = Session(Sound(backend), plan_duplex(Sound(backend), 16000), engine, QUICK, LiveOptions(**options))  # type: ignore[arg-type]
    session.limits = limits  # type: ignore[attr-defined]
    return session


def run_in_thread(session: Session) -> threading.Thread:
    thread = threading.Thread(target=session.run, daemon=True)
    thread.start()
    return thread


def wait_for(session: Session, text: str) -> None:
    end = time.monotonic() + 20
    while not any(text in message for _, message in list(session.messages)):
        assert time.monotonic() < end, list(session.messages)
        time.sleep(0.01)
