"""Watches the sound server: who listens, and that no stream of ours ever sits where it would hear itself."""

import contextlib
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from quietmic.devices.server.pactl import Snapshot, Stream, environment, pactl, take_snapshot
from quietmic.enhance.errors import QuietmicError

_EVENTS = (b"on source-output", b"on sink-input", b"on source #", b"on sink #", b"on server")
_GATHER_S = 0.03  # events come in bursts
_LEAST_PAUSE_S = 0.1
_LOOK_ANYWAY_S = 5.0


@dataclass(frozen=True)
class Wiring:
    """How a run is connected to the server.

    Attributes:
        source: name of the source that we record, empty if it is not the server's.
        sink: name of the sink that we play to, likewise.
        offered: name of the source or sink that other programs are to use, empty if there is none.
        forbidden: names of sources and sinks where a stream of ours would hear itself.
    """

    source: str = ""
    sink: str = ""
    offered: str = ""
    forbidden: tuple[str, ...] = ()


def count_users(wiring: Wiring, server: Snapshot) -> int:
    """Programs that use the offered device, level meters apart."""
    uses = (server.recording, server.sources), (server.playing, server.sinks)
    return sum(
        stream.node == node.index and node.name == wiring.offered and not stream.is_paused and not stream.is_meter
        for streams, nodes in uses
        for stream in streams
        for node in nodes
    )


class Watch:
    """A thread that asks the server whenever something changed there, and moves our streams back.

    Attributes:
        n_users: programs that use what we offer, None as long as nobody could tell.
        hears_itself: whether our input sits on our own output; the output has to be silent then.
    """

    def __init__(
        self,
        wiring: Wiring,
        own_pids: Callable[[], tuple[int, ...]],
        silence: Callable[[bool], None],
        on_change: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        """Prepares to watch the streams of this process.

        Args:
            wiring: where our streams belong.
            own_pids: the processes whose streams are ours.
            silence: called with True as soon as a stream of ours hears itself, with False when it no longer does.
            on_change: called when the number of users has changed.
            log: takes messages for the person.
        """
        self._wiring, self._own_pids, self._silence = wiring, own_pids, silence
        self._on_change, self._log = on_change, log
        self.n_users: int | None = None
        self.hears_itself = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread that watches."""
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(QuietmicError, OSError, ValueError, KeyError), _Events() as events:
                while not self._stopping.is_set() and events.are_coming:
                    self.look()
                    events.wait(self._stopping)
            self.n_users = None
            self._stopping.wait(1.0)  # the server is away; the session heals meanwhile

    def look(self) -> None:
        """Asks the server once, and puts right what is wrong; raises as `pactl` does."""
        server = take_snapshot()
        wrong = self._misplaced(server)
        if bool(wrong) != self.hears_itself:
            self.hears_itself = bool(wrong)
            self._silence(self.hears_itself)
            if wrong:
                self._log(f"our own stream was moved to {wrong[0][2]!r}: muted until it is back, or it hears itself")
        for command, stream, _, place in wrong:
            with contextlib.suppress(QuietmicError):
                pactl(command, str(stream.index), place)
        if wrong:
            self._stopping.wait(_LEAST_PAUSE_S)
        n_users = count_users(self._wiring, server)
        if n_users != self.n_users:
            self.n_users = n_users
            self._on_change()

    def _misplaced(self, server: Snapshot) -> list[tuple[str, Stream, str, str]]:
        """(command that moves, stream, where it is, where it belongs) of our streams that would hear themselves."""
        pids, wiring = self._own_pids(), self._wiring
        sources, sinks = ({node.index: node for node in nodes} for nodes in (server.sources, server.sinks))
        inputs = [(s, sources[s.node]) for s in server.recording if s.pid in pids and s.node in sources]
        outputs = [(s, sinks[s.node]) for s in server.playing if s.pid in pids and s.node in sinks]
        played, heard = {sink.name for _, sink in outputs}, {source.monitor_of for _, source in inputs}
        return [
            ("move-source-output", stream, source.name, wiring.source)
            for stream, source in inputs
            if source.name in wiring.forbidden or (source.monitor_of in played and source.name != wiring.source)
        ] + [
            ("move-sink-input", stream, sink.name, wiring.sink)
            for stream, sink in outputs
            if sink.name in wiring.forbidden or (sink.name in heard and sink.name != wiring.sink)
        ]


class _Events:
    """`pactl subscribe`, whose lines tell that something changed."""

    def __enter__(self) -> "_Events":
        self._process = subprocess.Popen(
            ["pactl", "subscribe"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self.are_coming = True
        return self

    def wait(self, stopping: threading.Event) -> None:
        """Waits until something changed that concerns us, or some seconds have passed."""
        time.sleep(_LEAST_PAUSE_S)
        end = time.monotonic() + _LOOK_ANYWAY_S
        while self.are_coming and not stopping.is_set() and time.monotonic() < end:
            if self._selector.select(0.25) and self._tells():
                time.sleep(_GATHER_S)
                self._tells()
                return

    def _tells(self) -> bool:
        """Reads what is there; whether it concerns us."""
        try:
            said = os.read(self._pipe, 65536)
        except BlockingIOError:
            return False
        self.are_coming = bool(said)
        return any(event in said for event in _EVENTS)

    def __exit__(self, *exception: object) -> None:
        self._selector.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
