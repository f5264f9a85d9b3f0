"""A whole session on a fake PortAudio: devices that vanish and come back, keys, messages, the view."""

import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_portaudio import FakePortAudio
from rich.console import Console

from quietmic.cli.candidates import live_candidates
from quietmic.cli.view import render
from quietmic.devices import session as session_module
from quietmic.devices.board import find_board
from quietmic.devices.controls import LIMITS_DB, NO_LIMIT
from quietmic.devices.duplex import Duplex
from quietmic.devices.engine import Engine, EngineTiming
from quietmic.devices.listing import Device, find_again
from quietmic.devices.options import LiveOptions, live_options
from quietmic.devices.plan import DuplexPlan, plan_duplex
from quietmic.devices.session import Session
from quietmic.devices.tuning import choose_jitter_s, choose_latency
from quietmic.enhance import catalogue as catalog
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import read
from quietmic.enhance.network import OnnxNetwork

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


def device(index: int, name: str, host_api: str = "ALSA") -> Device:
    return Device(index, name, host_api, 1, 1, 48000, False, False)


OLD_CARD = device(1, "USB Mic: - (hw:2,0)")


@pytest.mark.parametrize(
    ("now", "index"),
    [
        ([device(0, "USB Mic: - (hw:1,0)"), device(1, "USB Mic: - (hw:2,0)")], 1),  # its twin is there too
        ([device(0, "USB Mic: - (hw:2,0)"), device(1, "USB Mic: - (hw:1,0)")], 0),  # in another order
        ([device(0, "USB Mic: - (hw:2,0)", "OSS"), device(1, "HDMI"), device(2, "USB Mic: - (hw:3,0)")], 2),
        ([device(1, "USB Mic: - (hw:3,0)"), device(2, "USB Mic: - (hw:4,0)")], 1),  # in the same place
        ([device(2, "USB Mic: - (hw:3,0)"), device(3, "USB Mic: - (hw:4,0)")], "may be any of 2 USB Mic"),
        ([device(1, "HDMI")], "the input device USB Mic: - (hw:2,0) is not there"),
    ],
)
def test_a_lost_device_is_told_from_others_of_its_kind(now: list[Device], index: int | str) -> None:
    if isinstance(index, int):
        assert find_again(now, OLD_CARD, "input").index == index
    else:
        with pytest.raises(QuietmicError, match=re.escape(index)):
            find_again(now, OLD_CARD, "input")


def test_a_run_heals_though_there_is_a_twin_and_portaudio_fails_to_start(
    backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_FIRST_PAUSE_S", 0.05)
    backend.names[2] = "Speaker (hw:2,1)"
    runs, n_failures = True, 2

    def terminate() -> None:
        nonlocal runs
        if not runs:
            raise backend.PortAudioError("PortAudio not initialized")
        runs = False

    def initialize() -> None:
        nonlocal runs, n_failures
        if n_failures:
            n_failures -= 1
            raise backend.PortAudioError("Error initializing PortAudio")
        runs = True

    monkeypatch.setattr(backend, "_terminate", terminate)
    monkeypatch.setattr(backend, "_initialize", initialize)
    session = make_session(backend, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "->")
    backend.streams[-1].active = False
    wait_for(session, "Error initializing PortAudio")
    wait_for(session, "the sound devices are back")
    session.controls.press("q")
    thread.join(10)
    assert (session.n_reconnects, session.plan.output.name) == (1, "Speaker (hw:1,1)")


def test_the_worker_ends_before_the_streams_are_closed(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(backend, duration_s=0.2)
    was_working = []
    close = Duplex.close

    def look(duplex: Duplex) -> bool:
        was_working.append(session._thread is not None and session._thread.is_alive())
        return close(duplex)

    monkeypatch.setattr(Duplex, "close", look)
    session.run()
    assert was_working == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere streams are closed by the thread that opened them")
def test_a_stream_that_does_not_close_is_left_behind(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ALSA's plugin for PulseAudio when the server died at the wrong moment."""
    monkeypatch.setattr("quietmic.devices.duplex._CLOSING_S", 0.2)
    monkeypatch.setattr("quietmic.devices.session._FIRST_PAUSE_S", 0.1)
    session = make_session(backend, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "->")
    freed, duplex = threading.Event(), session._duplex
    monkeypatch.setattr(backend.streams[0], "close", lambda ignore_errors: freed.wait(20))
    backend.streams[0].active = False
    wait_for(session, "the old stream does not close and is left behind")
    wait_for(session, "the sound devices are back")
    assert backend.n_restarts == 0  # ending PortAudio would wait for the stream
    assert duplex and not duplex.close()  # asked again, it says the same
    session.controls.press("q")
    thread.join(10)
    freed.set()
    assert not thread.is_alive()
    assert session.n_reconnects == 1


def test_a_device_that_falls_silent_counts_as_lost(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quietmic.devices.duplex._SILENT_S", 0.3)
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
    with pytest.raises(QuietmicError, match="cannot open"):
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
    assert session.limits == [None, 36.0, 30.0, 36.0]  # type: ignore[attr-defined]
    session.controls.press("+")
    assert (session.controls.limit_db, LIMITS_DB[-1]) == (NO_LIMIT, NO_LIMIT)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(session))
    text = console.export_text()
    for part in ("half, 1 microphone", "bypass: key", "muted", "underruns", "b bypass", "noise reduction", "latency"):
        assert part in text
    session.controls.press("q")
    thread.join(10)


def test_a_recording_that_broke_off_is_not_shown_and_the_key_starts_another(
    backend: FakePortAudio, tmp_path: Path
) -> None:
    session = make_session(backend, record=tmp_path)
    session.controls.press("r")
    broken = session.controls.recorder
    assert broken and session.controls.is_recording
    broken._fail(OSError("no space left"))
    assert not session.controls.is_recording
    time.sleep(0.002)  # the names of the files tell milliseconds
    session.controls.press("r")
    assert session.controls.is_recording and session.controls.recorder is not broken
    session.controls.press("r")
    texts = [text for _, text in session.messages]
    assert [text for text in texts if "broke off" in text] == texts[1:2]


def test_the_limit_of_the_moment_holds_for_the_next_model(backend: FakePortAudio) -> None:
    limits: list[float | None] = []
    slow = Engine("slow", lambda block: block[0], lambda: None)
    small = Engine("small", lambda block: block[0], lambda: None, set_attenuation_limit=limits.append)
    options = LiveOptions(attenuation_limit_db=30.0, auto=True)
    session = Session(backend, plan_duplex(backend, 16000), slow, QUICK, options, lambda: small)
    silence = np.zeros((1, HOP), np.float32)
    while session.step_down._loader is None:
        session.step_down.after_hop(1.0)
    session.step_down._loader.join()
    session.controls.press("+")  # 36 dB, after the engine was loaded
    session.controls.press("+")  # none
    while session.mixer.engine is slow:
        session.mixer.process(silence)
        session.step_down.after_hop(0.0)
    assert limits == [None]
    session.controls.press("-")
    assert limits == [None, 36.0]


def test_the_algorithmic_delay_counts_the_hop_that_fills(backend: FakePortAudio) -> None:
    engine = Engine("late", lambda block: block[0], lambda: None, delay=HOP)
    session = Session(backend, plan_duplex(backend, 16000), engine, QUICK, LiveOptions())
    assert session.summary()["algorithmic_delay_ms"] == 32.0  # as in `bench`


def test_models_are_opened_no_more_often_than_needed(passthrough_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = OnnxNetwork(passthrough_model).card
    names = ("first", "preferred", "default")
    entries = [catalog.ModelEntry(n, passthrough_model, n, replace(card, name=n), n == "default") for n in names]
    opened = []
    listed = []
    monkeypatch.setattr("quietmic.cli.candidates.list_models", lambda: listed.append(1) or entries)
    monkeypatch.setattr("quietmic.cli.candidates.OnnxNetwork", lambda path: opened.append(path) or OnnxNetwork(path))

    def names_of(*arguments: object, **choices: object) -> list[str]:
        return [candidate.name for candidate in live_candidates(*arguments, **choices)]  # type: ignore[arg-type]

    assert names_of(None, "preferred") == ["preferred", "default", "first"]
    assert names_of(None, "other") == ["default", "first", "preferred"]
    assert not opened
    assert names_of(str(passthrough_model), auto=True) == ["passthrough", "default", "first", "preferred"]
    assert not opened  # the card of a file is read without a session
    listed.clear()
    assert names_of(str(passthrough_model)) == ["passthrough"]
    assert not listed  # a damaged catalogue is no hindrance


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
    with pytest.raises(QuietmicError, match="latency"):
        live_options(board, latency="soon")
