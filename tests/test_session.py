"""A whole session on a fake PortAudio: devices that vanish and come back, keys, messages, the view."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_portaudio import FakePortAudio
from rich.console import Console

from devices import session as session_module
from devices.board import find_board
from devices.controls import LIMITS_DB, NO_LIMIT
from devices.engine import Engine, EngineTiming
from devices.errors import DeviceError
from devices.listing import Device
from devices.options import LiveOptions, live_options
from devices.plan import DuplexPlan, plan_duplex
from devices.session import Session
from devices.tuning import choose_jitter_s, choose_latency
from devices.view import render
from enhance.audio import read

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


@pytest.fixture
def backend() -> Iterator[FakePortAudio]:
    fake = FakePortAudio()
    player = Player(fake)
    yield fake
    player.stop()


def make_session(backend: FakePortAudio, **options: object) -> Session:
    limits: list[float | None] = []
    engine = Engine("half", lambda block: 0.5 * block[0], lambda: None, set_attenuation_limit=limits.append)
    session = Session(backend, plan_duplex(backend, 16000), engine, QUICK, LiveOptions(**options))  # type: ignore[arg-type]
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


def test_an_unplugged_device_is_waited_for_and_taken_up_again(backend: FakePortAudio) -> None:
    session = make_session(backend, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "Mic Array (hw:1,0) -> half -> Speaker (hw:1,1) (one stream)")
    backend.unplugged = True
    backend.streams[-1].active = False
    wait_for(session, "lost the sound devices: the stream was stopped by the system")
    wait_for(session, "trying again in 0.5 s")
    wait_for(session, "trying again in 1 s")
    backend.names[0] = "Mic Array (hw:3,0)"  # plugged in again, it gets another number
    backend.names[1] = "Speaker (hw:3,1)"
    backend.unplugged = False
    wait_for(session, "the sound devices are back")
    n_hops = session.tally.n_hops
    time.sleep(0.5)
    session.controls.press("q")
    thread.join(10)
    summary = session.summary()
    assert session.tally.n_hops > n_hops
    assert (summary["reconnects"], summary["input"]) == (1, "Mic Array (hw:3,0)")
    assert backend.n_restarts >= 2
    assert all(stream.closed for stream in backend.streams)


def test_a_device_that_falls_silent_counts_as_lost(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.duplex._SILENT_S", 0.3)
    session = make_session(backend, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "->")
    time.sleep(0.2)
    backend.unplugged = True  # the callbacks stop; the stream still says it is active
    wait_for(session, "Mic Array (hw:1,0) has been silent")
    session.controls.press("q")
    thread.join(10)
    assert not thread.is_alive()


def test_devices_that_are_not_there_at_the_start_are_an_error(backend: FakePortAudio) -> None:
    session = make_session(backend)
    backend.unplugged = True
    with pytest.raises(DeviceError, match="cannot open"):
        session.run()


def test_a_failing_engine_ends_the_run_with_its_error(backend: FakePortAudio) -> None:
    session = make_session(backend, duration_s=60)
    session.mixer._aligned.process = lambda hop: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        session.run()
    assert all(stream.closed for stream in backend.streams)


def test_keys_and_recording(backend: FakePortAudio, tmp_path: Path) -> None:
    session = make_session(backend, record=tmp_path, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "->")
    time.sleep(1)
    session.controls.press("r")
    raw, enhanced = sorted(tmp_path.iterdir(), reverse=True)
    assert read(raw)[0].max() == pytest.approx(1000 / 32768, abs=1e-4)
    assert read(enhanced)[0].max() == pytest.approx(500 / 32768, abs=1e-4)
    session.controls.press("m")
    session.controls.press("b")
    assert (session.mixer.muted, session.mixer.bypass, session.step_down.reason) == (True, True, "key")
    session.controls.press("-")
    session.controls.press("-")
    session.controls.press("+")
    assert session.limits == [36.0, 30.0, 36.0]  # type: ignore[attr-defined]
    session.controls.press("+")
    assert (session.controls.limit_db, LIMITS_DB[-1]) == (NO_LIMIT, NO_LIMIT)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(session))
    text = console.export_text()
    for part in ("half, 1 microphone", "bypass: key", "muted", "underruns", "b bypass", "noise reduction", "latency"):
        assert part in text
    session.controls.press("q")
    thread.join(10)


def test_gaps_are_said(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LOSSES_WINDOW_S", 0.5)
    session = make_session(backend, duration_s=3)
    session._losses_until = 0.5
    session.tally.underruns = 9
    session.run()
    assert any("this machine is too busy" in text for _, text in session.messages)


@pytest.mark.parametrize(
    ("p99_s", "least_s", "jitter_s"), [(0.001, 0.0, 0.032), (0.02, 0.0, 0.048), (0.001, 0.06, 0.064)]
)
def test_the_jitter_buffer_follows_the_measurement(p99_s: float, least_s: float, jitter_s: float) -> None:
    assert choose_jitter_s(EngineTiming(0.001, p99_s, 0), 0.016, least_s) == pytest.approx(jitter_s)


def test_a_busy_machine_asks_more_latency_of_a_server_only() -> None:
    def plan(name: str) -> DuplexPlan:
        device = Device(0, name, "ALSA", 1, 1, 48000, True, True)
        return DuplexPlan(device, device, 16000, 16000, (0,), 1, 1, True)

    busy = EngineTiming(0.001, 0.02, 0)
    assert choose_latency(busy, plan("pulse")) == 0.1
    assert choose_latency(QUICK, plan("pulse")) == choose_latency(busy, plan("USB Mic (hw:1,0)")) == "low"


@pytest.mark.parametrize(
    ("host_api", "source", "sink", "one_clock"),
    [
        ("ALSA", "USB Audio: - (hw:1,0)", "HDA Intel: ALC (hw:0,0)", False),
        ("ALSA", "USB Audio: - (hw:1,0)", "USB Audio: #1 (hw:1,1)", True),
        ("ALSA", "pulse", "pulse", True),
        ("Windows WASAPI", "Microphone (Realtek Audio)", "Speakers (Realtek Audio)", True),
        ("Windows WASAPI", "Microphone (USB PnP)", "CABLE Input (VB-Audio Virtual Cable)", False),
        ("Core Audio", "MacBook Pro Microphone", "MacBook Pro Speakers", True),
        ("Core Audio", "MacBook Pro Microphone", "BlackHole 2ch", False),
    ],
)
def test_two_cards_are_told_by_their_names(host_api: str, source: str, sink: str, one_clock: bool) -> None:
    backend = FakePortAudio()
    backend.names[:2] = source, sink
    backend.query_hostapis = lambda: [{"name": host_api}]  # type: ignore[method-assign]
    assert plan_duplex(backend, 16000, input_name="0", output_name="1").shared_clock is one_clock


def test_options_take_what_board_and_array_say() -> None:
    board = find_board("rpi-zero-2")
    options = live_options(board, array="respeaker-usb-4", jitter_ms=40.0, latency="0.2", duration_s=3.0)
    assert options.channels == (1, 2, 3, 4)
    assert (options.n_hops_per_block, options.least_jitter_s, options.jitter_s) == (2, 0.064, 0.04)
    assert (options.latency, options.duration_s, options.preferred_input) == (0.2, 3.0, "ReSpeaker 4 Mic Array")
    assert live_options(board, array="respeaker-usb-4", channels=(1, 3)).channels == (1, 3)
    with pytest.raises(DeviceError, match="latency"):
        live_options(board, latency="soon")
