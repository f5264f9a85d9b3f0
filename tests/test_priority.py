"""Who goes before whom, and that nobody is starved."""

import os
import sys
import threading
import time

import pytest

from quietmic.devices.priority import Guard, raise_priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads as Linux has them")


def test_nothing_runs_at_real_time_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that polled without end at real-time priority kept both cores, and the machine stood still."""
    niceness: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda which, thread, value: niceness.append(value))
    raise_priority()
    assert niceness == [-11]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_thread_that_never_rests_becomes_an_ordinary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    demoted: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "setpriority", lambda which, thread, value: demoted.append((thread, value)))
    busy = {"cpu_s": 0.0}
    monkeypatch.setattr(Guard, "read_cpu_s", staticmethod(lambda: {11: busy["cpu_s"], 12: busy["cpu_s"], 13: 0.1}))
    now = {"s": 100.0}
    monkeypatch.setattr(time, "monotonic", lambda: now["s"])
    guard = Guard(spared={12})
    assert guard.check() == []
    now["s"], busy["cpu_s"] = 101.0, 0.45
    assert guard.check() == []
    now["s"], busy["cpu_s"] = 102.0, 1.0
    assert guard.check() == ["11"]
    assert demoted == [(11, 0)]
    now["s"], busy["cpu_s"] = 103.0, 2.0
    assert guard.check() == []  # once


def test_the_time_of_each_thread_is_read() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert {threading.get_native_id(), thread.native_id} <= set(Guard.read_cpu_s())
    stop.set()
    thread.join()
