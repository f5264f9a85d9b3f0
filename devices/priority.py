"""Lets a live run go before other programs where the system allows it."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_NICE = -11
_MAIN, _AUDIO = 4, 5  # low among the real-time priorities: sound servers and drivers still go first


def _set_realtime(priority: int) -> bool:
    """Gives the calling thread, and those it starts, real-time scheduling; False without the right to it.

    Not on a single core: a thread that polls for the sound server would keep it from ever answering.
    """
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        # The kernel keeps real-time threads to 95 % of the time: a model too slow cannot lock the machine.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))
    except OSError:
        return False
    return True


def raise_priority() -> None:
    """Makes the calling thread and all it starts go before ordinary programs.

    The main thread is meant too: with Python's lock in hand and put aside for another program, it would keep the
    audio threads waiting.
    """
    sys.setswitchinterval(0.001)
    if not _set_realtime(_MAIN) and hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def lower_priority() -> None:
    """Makes the calling thread an ordinary one again: for long work beside the audio."""
    if sys.platform == "linux":
        _make_ordinary(0)


def lower_other_threads() -> None:
    """Makes all threads but the calling one ordinary: those of a driver that lost its senses may run without end."""
    if sys.platform == "linux":
        for thread_id in map(int, os.listdir("/proc/self/task")):
            if thread_id != threading.get_native_id():
                _make_ordinary(thread_id)


def _make_ordinary(thread_id: int) -> None:
    """Takes real-time scheduling from a thread (Linux), 0 being the calling one."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(thread_id, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def audio_priority() -> Iterator[None]:
    """What runs inside, and threads started inside, PortAudio's too, go before the rest of the process."""
    if sys.platform != "linux":
        yield
        return
    before, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    _set_realtime(_AUDIO)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, before, parameter)
