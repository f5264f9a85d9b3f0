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
from quietmic.devices.listing import ALSA_NAMES_OF_SERVER, find_device
from quietmic.devices.options import LiveOptions
from quietmic.devices.plan import DuplexPlan, plan_duplex
from quietmic.devices.priority import raise_priority
from quietmic.devices.remote import Remote
from quietmic.devices.server.pactl import PIPEWIRE, pactl, take_snapshot
from quietmic.devices.server.virtual import (
    ECHO_SINK,
    ECHO_SOURCE,
    FEED,
    OURS,
    SOURCE,
    SPEAKER,
    VirtualDevice,
    call_back,
    echo_canceller,
    microphone,
    real_default,
    remove_stale,
    speaker,
)
from quietmic.devices.server.watch import Wiring
from quietmic.devices.session import Session
from quietmic.devices.sound import Sound
from quietmic.devices.stepdown import NextEngine

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
    sound = Sound(backend) if backend else Sound.find()
    with tidy_endings(), contextlib.ExitStack() as stack:
        asked = options
        options, offered, makers = _make_devices(options, sound, stack)
        raise_priority()
        plan, candidates, model = plan_run(sound, options, candidates, board, picks)
        n_mics = len(plan.channels)
        engine = model.open(n_mics, board.threads)
        timing = measure_engine(engine, _MEASURE_S)
        smaller = _smaller_engine(candidates, model, n_mics, board.threads) if options.auto else None
        wiring = _wire(asked, plan, offered)

        def make_again() -> None:
            for make in makers:
                make()

        session = Session(sound, plan, engine, timing, options, smaller, make_again, wiring)
        if offered:
            kind = "microphone" if options.virtual_microphone else "loudspeaker"
            session.log(f"pick the {kind} {offered!r} in the meeting program")
        remote = stack.enter_context(Remote(session.obey, session.log))
        with Keys() as keys, view(session) as refresh:

            def tick() -> None:
                for key in keys.read():
                    session.controls.press(key)
                remote.poll()
                refresh()

            session.run(tick)
        return session.summary()


def plan_run(
    sound: Sound, options: LiveOptions, candidates: Sequence[Candidate], board: Board, picks: bool
) -> tuple[DuplexPlan, Sequence[Candidate], Candidate]:
    """Chooses devices, models of one rate, and the model to begin with.

    Models that have a narrow one beside them run in the full band where the microphone brings more than that and,
    among models to pick from, the machine bears the first.

    Args:
        sound: the sound systems.
        options: the person's choices.
        candidates: models of one rate, the wanted one first.
        board: profile of this machine.
        picks: take the first model that this machine can bear.

    Raises:
        QuietmicError: devices that are missing, or no model for so many microphones.
    """

    def plan_for(models: Sequence[Candidate]) -> DuplexPlan:
        return plan_duplex(
            sound,
            models[0].sample_rate,
            options.channels,
            options.input_name,
            options.output_name,
            options.two_clocks,
            options.preferred_input,
        )

    plan = plan_for(candidates)
    narrow = [c.narrow for c in candidates if c.narrow]
    if narrow and plan.input.sample_rate <= narrow[0].sample_rate:  # a headset, or an array for speech
        plan, candidates, narrow = plan_for(narrow), narrow, []
    if not picks:
        return plan, candidates, candidates[0]
    choice = choose_model(candidates, len(plan.channels), board.threads)
    if narrow and not choice.is_first:  # the better model in the narrow band rather than a smaller one in the full
        plan, candidates = plan_for(narrow), narrow
        choice = choose_model(candidates, len(plan.channels), board.threads)
    model = next(c for c in candidates if c.name == choice.model)
    logger.info("%s: %s", model.name, choice.reason)
    return plan, candidates, model


def _make_devices(
    options: LiveOptions, sound: Sound, stack: contextlib.ExitStack
) -> tuple[LiveOptions, str, list[Callable[[], None]]]:
    """Makes the virtual devices that are asked for, until the stack is closed.

    Returns:
        The options with the names of the devices to open, the name of the device that other programs are to use (may
        be empty), and what makes each device again after the server was restarted.
    """
    if not (options.virtual_microphone or options.virtual_speaker or options.echo_cancel):
        return options, "", []
    pactl("info")  # raises what is wrong
    users = remove_stale()
    made = _make_asked(options, sound, stack)
    call_back(users)
    return made


def _make_asked(
    options: LiveOptions, sound: Sound, stack: contextlib.ExitStack
) -> tuple[LiveOptions, str, list[Callable[[], None]]]:
    """What `_make_devices` does, once all that was left behind is removed."""
    if options.virtual_speaker:
        device = stack.enter_context(VirtualDevice(speaker(), logger.info))
        loudspeaker = _on_server(sound, options.output_name, "output")
        options = replace(options, input_name=f"{SPEAKER}.monitor", output_name=loudspeaker)
        return options, SPEAKER, [device.create]
    # Looked up before the microphone is there, as the server may make it the default at once.
    source, sink = options.input_name, FEED if options.virtual_microphone else options.output_name
    makers: list[Callable[[], None]] = []
    if options.echo_cancel:
        masters = _on_server(sound, source, "input"), _on_server(sound, options.output_name, "output")
        recipe = echo_canceller(sound.server or PIPEWIRE, *masters)
        makers.append(stack.enter_context(VirtualDevice(recipe, logger.info)).create)
        logger.info("play what the others say to %r: that is what is taken out of the microphone", ECHO_SINK)
        source = ECHO_SOURCE
        sink = sink or ECHO_SINK
    elif _means_default(source):
        source = real_default(take_snapshot(), "source")
    if options.virtual_microphone:
        makers.append(stack.enter_context(VirtualDevice(microphone(), logger.info)).create)
    offered = SOURCE if options.virtual_microphone else ""
    return replace(options, input_name=source, output_name=sink), offered, makers


def _means_default(wanted: str | None) -> bool:
    return wanted is None or wanted in ALSA_NAMES_OF_SERVER


def _on_server(sound: Sound, wanted: str | None, kind: str) -> str:
    """Name in the server of a device that a person means."""
    if _means_default(wanted):
        return real_default(take_snapshot(), "source" if kind == "input" else "sink")
    return find_device(next(sound.listings()), wanted, kind).name


def _wire(asked: LiveOptions, plan: DuplexPlan, offered: str) -> Wiring | None:
    """What is to be watched in the server; None where nothing there concerns us.

    Args:
        asked: the person's choices; a device that was not named follows the default.
        plan: the devices found.
        offered: name of the device that other programs are to use.
    """
    source, sink = (device.name if device.is_on_server else "" for device in (plan.input, plan.output))
    if not source and not sink:
        return None
    is_preferred = bool(asked.preferred_input) and asked.preferred_input in plan.input.label
    return Wiring(
        source,
        sink,
        offered,
        follows_source=source not in ("", *OURS) and _means_default(asked.input_name) and not is_preferred,
        follows_sink=sink not in ("", *OURS) and _means_default(asked.output_name),
    )


def _smaller_engine(candidates: Sequence[Candidate], model: Candidate, n_mics: int, threads: int) -> NextEngine:
    """Gives the engine of the next smaller model each time it is called, None at the end."""
    smaller = iter(smaller_candidates(candidates, model, n_mics))

    def open_next() -> Engine | None:
        candidate = next(smaller, None)
        return candidate.open(n_mics, threads) if candidate else None

    return open_next


@contextlib.contextmanager
def tidy_endings() -> Iterator[None]:
    """Makes SIGTERM (a service that is stopped) and SIGHUP (a terminal that is closed) end the run as Ctrl-C does.

    Only the first one counts: what is tidied up then takes a moment, and a closed terminal sends several.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def interrupt(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
