"""A live run put together from its parts."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from quietmic.devices.board import Board
from quietmic.devices.choice import choose_model, smaller_candidates
from quietmic.devices.engine import Candidate, Engine, measure_engine
from quietmic.devices.keys import Keys
from quietmic.devices.listing import list_devices, load_backend
from quietmic.devices.options import LiveOptions
from quietmic.devices.plan import plan_duplex
from quietmic.devices.priority import audio_priority, raise_priority
from quietmic.devices.session import Session
from quietmic.devices.stepdown import NextEngine
from quietmic.devices.virtual import DEVICE, VirtualMicrophone
from quietmic.enhance.errors import QuietmicError

logger = logging.getLogger(__name__)

_MEASURE_S = 0.5

Refresh = Callable[[], None]
View = Callable[[Session], contextlib.AbstractContextManager[Refresh]]
"""Shows a session while the context lasts; what the context gives is called at every tick."""


@contextlib.contextmanager
def no_view(session: Session) -> Iterator[Refresh]:
    """Shows nothing: what happens is in the log and in the session's messages."""
    yield lambda: None


def run_live(
    options: LiveOptions,
    candidates: Sequence[Candidate],
    board: Board,
    picks: bool = False,
    view: View = no_view,
    backend: Any = None,
) -> dict[str, Any]:
    """Enhances live until the time is over or the person stops it.

    Args:
        options: the person's choices.
        candidates: models, the wanted one first.
        board: profile of this machine.
        picks: take the first model that this machine can bear, and not simply the first.
        view: what the person sees meanwhile.
        backend: stands for the sounddevice module in tests.

    Returns:
        The summary of the run.

    Raises:
        QuietmicError: devices that are missing or do not open, or no model for so many microphones.
    """
    backend = backend or load_backend()
    with contextlib.ExitStack() as stack:
        before_reconnect = None
        if options.virtual_microphone:
            if not any(device.name == DEVICE for device in list_devices(backend)):
                raise QuietmicError(f"there is no ALSA device {DEVICE!r}: apt-get install libasound2-plugins")
            options = replace(options, output_name=DEVICE)
            before_reconnect = stack.enter_context(VirtualMicrophone()).create
        sample_rate = candidates[0].sample_rate
        plan = plan_duplex(
            backend,
            sample_rate,
            options.channels,
            options.input_name,
            options.output_name,
            options.two_clocks,
            options.preferred_input,
        )
        n_mics = len(plan.channels)
        model = candidates[0]
        if picks:
            choice = choose_model(candidates, n_mics, board.threads)
            model = next(c for c in candidates if c.name == choice.model)
            logger.info("%s: %s", model.name, choice.reason)
        raise_priority()
        with audio_priority():
            engine = model.open(n_mics, board.threads)
            timing = measure_engine(engine, _MEASURE_S)
        smaller = _smaller_engine(candidates, model, n_mics, board.threads) if options.auto else None
        session = Session(backend, plan, engine, timing, options, smaller, before_reconnect)
        if options.virtual_microphone:
            session.log("pick the microphone 'quietmic' in the meeting program")
        with _terminated_like_interrupted(), Keys() as keys, view(session) as refresh:

            def tick() -> None:
                for key in keys.read():
                    session.controls.press(key)
                refresh()

            session.run(tick)
        return session.summary()


def _smaller_engine(candidates: Sequence[Candidate], model: Candidate, n_mics: int, threads: int) -> NextEngine:
    """Gives the engine of the next smaller model each time it is called, None at the end."""
    smaller = iter(smaller_candidates(candidates, model, n_mics))

    def open_next() -> Engine | None:
        candidate = next(smaller, None)
        return candidate.open(n_mics, threads) if candidate else None

    return open_next


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Makes SIGTERM (a service that is stopped) end the run as cleanly as Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
