"""Lets a live run go before other programs where the system allows it, but never to their ruin.

By niceness alone, and not by real-time scheduling: a thread that polls without end, as sound libraries do when their
server dies, then takes its share and no more, while real-time threads have kept whole machines from answering. What is
heard under load was the same (docs/live.md).
"""

import contextlib
import os
import sys
import time
from pathlib import Path

_NICE = -11
_LOOK_EVERY_S = 1.0
_MOST_CPU = 0.5  # of a core: two that poll may share one


def raise_priority() -> None:
    """Makes the calling thread and all it starts go before ordinary programs.

    The main thread is meant too: with Python's lock in hand and put aside for another program, it would keep the
    audio threads waiting.
    """
    sys.setswitchinterval(0.001)
    _set_niceness(0, _NICE)


def lower_priority() -> None:
    """Makes the calling thread an ordinary one again: for long work beside the audio."""
    if sys.platform == "linux":  # elsewhere niceness is that of the whole process
        _set_niceness(0, 0)


def _set_niceness(thread_id: int, niceness: int) -> None:
    """Of a thread on Linux, of the process elsewhere; 0 is the calling one."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):  # without the right to it, or the thread has ended
            os.setpriority(os.PRIO_PROCESS, thread_id, niceness)


class Guard:
    """Looks after threads that never rest, those of libraries too, and makes them ordinary."""

    def __init__(self, spared: set[int] | None = None) -> None:
        """Begins to look after threads.

        Args:
            spared: threads that others look after.
        """
        self.spared = spared or set()
        self._last_look = time.monotonic()
        self._cpu_s = self.read_cpu_s()

    def check(self) -> list[str]:
        """Names of the threads that have just been made ordinary: they ran for half of the last second.

        Call it often.
        """
        now = time.monotonic()
        elapsed_s = now - self._last_look
        if elapsed_s < _LOOK_EVERY_S:
            return []
        before, self._cpu_s, self._last_look = self._cpu_s, self.read_cpu_s(), now
        restless = [
            thread
            for thread, cpu_s in self._cpu_s.items()
            if thread not in self.spared and cpu_s - before.get(thread, 0.0) > _MOST_CPU * elapsed_s
        ]
        for thread in restless:
            _set_niceness(thread, 0)
        self.spared |= set(restless)
        return [_name(thread) for thread in restless]

    @staticmethod
    def read_cpu_s() -> dict[int, float]:
        """Seconds of CPU by thread; empty where the system does not tell."""
        cpu_s = {}
        for folder in Path("/proc/self/task").glob("*"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                cpu_s[int(folder.name)] = int((folder / "schedstat").read_text().split()[0]) / 1e9
        return cpu_s


def _name(thread_id: int) -> str:
    try:
        return Path(f"/proc/self/task/{thread_id}/comm").read_text().strip()
    except OSError:
        return str(thread_id)
