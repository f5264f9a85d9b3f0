"""Devices that vanish, fall silent or hang, and come back, on a fake PortAudio."""

import re
import sys
import threading
import time

import pytest
from fake_portaudio import FakePortAudio
from live_session import make_session, run_in_thread, wait_for

from quietmic.devices.duplex import Duplex
from quietmic.devices.listing import Device, find_again
from quietmic.enhance.errors import QuietmicError


def test_an_unplugged_device_is_waited_for_and_taken_up_again(backend: FakePortAudio) -> None:
    session = make_session(backend, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "Mic Array (hw:1,0) -> half -> Speaker (hw:1,1) (one stream)")
    backend.unplugged = True
    backend.streams[-1].active = False
    wait_for(session, "lost the sound devices: the stream was stopped by the system")
    wait_for(session, "trying again in 0.5 s")
    wait_for(session, "trying again in 1 s")
    assert session.levels.input_db == -100  # the view showed the last level as if it were heard
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
    monkeypatch.setattr("quietmic.devices.retries.FIRST_PAUSE_S", 0.05)
    backend.names[2] = "Speaker (hw:2,1)"
    backend.n_failing_starts = 2
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
        was_working.append("worker" in {thread.name for thread in threading.enumerate()})
        return close(duplex)

    monkeypatch.setattr(Duplex, "close", look)
    session.run()
    assert was_working == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere streams are closed by the thread that opened them")
def test_a_stream_that_does_not_close_is_left_behind(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ALSA's plugin for PulseAudio when the server died at the wrong moment."""
    monkeypatch.setattr("quietmic.devices.duplex.CLOSING_S", 0.2)
    monkeypatch.setattr("quietmic.devices.retries.FIRST_PAUSE_S", 0.1)
    session = make_session(backend, duration_s=60)
    thread = run_in_thread(session)
    wait_for(session, "->")
    freed, closed, close = threading.Event(), [], Duplex.close

    def keep(duplex: Duplex) -> bool:
        closed.append(duplex)
        return close(duplex)

    monkeypatch.setattr(Duplex, "close", keep)
    monkeypatch.setattr(backend.streams[0], "close", lambda ignore_errors: freed.wait(20))
    backend.streams[0].active = False
    wait_for(session, "the old stream does not close and is left behind")
    wait_for(session, "the sound devices are back")
    assert backend.n_restarts == 0  # ending PortAudio would wait for the stream
    assert not closed[0].close()  # asked again, it says the same
    session.controls.press("q")
    thread.join(10)
    freed.set()
    assert not thread.is_alive()
    assert session.n_reconnects == 1


def test_a_device_that_falls_silent_counts_as_lost(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quietmic.devices.duplex.SILENT_S", 0.3)
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
