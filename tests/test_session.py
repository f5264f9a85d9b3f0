"""A whole session on a fake PortAudio: keys, recordings, messages, the view."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_portaudio import FakePortAudio
from live_session import HOP, QUICK, make_session, run_in_thread, wait_for
from rich.console import Console

from quietmic.cli.view import render
from quietmic.devices.commands import NO_LIMIT
from quietmic.devices.controls import LIMITS_DB
from quietmic.devices.engine import Engine
from quietmic.devices.options import LiveOptions
from quietmic.devices.plan import plan_duplex
from quietmic.devices.session import Session
from quietmic.devices.sound import Sound
from quietmic.enhance.files.audio import read


def test_a_failing_engine_ends_the_run_with_its_error(backend: FakePortAudio) -> None:
    broken = Engine("broken", lambda block: 1 / 0, lambda: None)  # type: ignore[arg-type, return-value]
    session = Session(Sound(backend), plan_duplex(Sound(backend), 16000), broken, QUICK, LiveOptions(duration_s=60))
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
    for part in ("half (1 mic)", "bypass: key", "muted", "0 gaps", "b bypass", "noise reduction", "latency"):
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
    broken.push(np.zeros((1, HOP), np.float32), np.zeros((2, 2, HOP), np.float32))  # what no file takes
    end = time.monotonic() + 20
    while broken.failure is None and time.monotonic() < end:
        time.sleep(0.001)
    assert not session.controls.is_recording
    time.sleep(0.002)  # the names of the files tell milliseconds
    session.controls.press("r")
    assert session.controls.is_recording and session.controls.recorder is not broken
    session.controls.press("r")
    texts = [text for _, text in session.messages]
    assert [text for text in texts if "broke off" in text] == texts[1:2]


def test_the_limit_of_the_moment_holds_for_the_next_model(backend: FakePortAudio) -> None:
    limits: list[float | None] = []
    resets = threading.Semaphore(0)
    slow = Engine("slow", lambda block: block[0], lambda: None)
    small = Engine("small", lambda block: block[0], resets.release, set_attenuation_limit=limits.append)
    options = LiveOptions(attenuation_limit_db=30.0, auto=True)
    session = Session(Sound(backend), plan_duplex(Sound(backend), 16000), slow, QUICK, options, lambda: small)
    silence = np.zeros((1, HOP), np.float32)
    while session.step_down.reason is None:
        session.step_down.after_hop(1.0)
    for _ in range(2):  # before it is measured and after
        assert resets.acquire(timeout=20)
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
    session = Session(Sound(backend), plan_duplex(Sound(backend), 16000), engine, QUICK, LiveOptions())
    assert session.summary()["algorithmic_delay_ms"] == 32.0  # as in `bench`


def test_gaps_are_said_with_what_was_not_tried_yet(backend: FakePortAudio) -> None:
    session = make_session(backend, jitter_s=0.1, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "->")
    end = time.monotonic() + 20
    while session.state == "waiting for sound":
        assert time.monotonic() < end
        time.sleep(0.01)
    session.tally.underruns += 9
    wait_for(session, "this machine is too busy")
    session.controls.press("q")
    thread.join(10)
    advice = next(text for _, text in session.messages if "too busy" in text)
    assert "latency of 0.2 s or two clocks" in advice
    assert "jitter" not in advice  # that was followed already
