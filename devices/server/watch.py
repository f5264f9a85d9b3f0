"""Watches the sound server: who listens, which devices are the default, and that our streams sit where they belong.

Servers move streams as they think fit: PulseAudio moves even those that asked for a device by name when another becomes
the default, and both move them when a device goes, to the monitor of a loudspeaker if there is nothing else.
"""

import contextlib
import os
import re
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from quietmic.devices.server.pactl import Snapshot, environment, pactl, take_snapshot
from quietmic.devices.server.virtual import real_default
from quietmic.enhance.errors import QuietmicError

_EVENTS = re.compile(rb"on (source|sink|server)\b")  # source-output and sink-input among them
_EVENTS_OF_DEFAULTS = re.compile(rb"on server\b|'(new|remove)' on (source|sink) #")
_LEAST_PAUSE_S = 0.1  # events come in bursts
LOOK_ANYWAY_S = 5.0
# `pactl subscribe` ends by itself only when it has something to tell and nobody reads it: on a quiet server it would
# outlive a run that was killed. The shell ends it as soon as our end of its input is closed, by whatever.
_SUBSCRIBE = ["sh", "-c", "pactl subscribe & exec >&-; read -r _; kill $!"]


@dataclass(frozen=True)
class Wiring:
    """How a run is connected to the server.

    Attributes:
        source: name of the source that we record, empty if it is not the server's.
        sink: name of the sink that we play to, likewise.
        offered: name of the source or sink that other programs are to use, empty if there is none.
        follows_source: whether that is the default source, of which no other was asked for.
        follows_sink: likewise.
    """

    source: str = ""
    sink: str = ""
    offered: str = ""
    follows_source: bool = False
    follows_sink: bool = False

    def follow(self, server: Snapshot) -> "Wiring":
        """The same with the devices that are the default now, where it follows them.

        Raises:
            QuietmicError: there is none.
        """
        source = real_default(server, "source", self.source) if self.follows_source else self.source
        sink = real_default(server, "sink", self.sink) if self.follows_sink else self.sink
        return replace(self, source=source, sink=sink)


def count_users(wiring: Wiring, server: Snapshot) -> int:
    """Programs that use the offered device, level meters apart."""
    uses = (server.recording, server.sources), (server.playing, server.sinks)
    return sum(
        stream.node == node.index and node.name == wiring.offered and not stream.is_paused and not stream.is_meter
        for streams, nodes in uses
        for stream in streams
        for node in nodes
    )


def find_missing(wiring: Wiring, server: Snapshot) -> str:
    """Name of a device of ours that is not in the server, empty if all are."""
    pairs = (wiring.source, server.sources), (wiring.sink, server.sinks)
    return next((name for name, nodes in pairs if name and name not in {node.name for node in nodes}), "")


@dataclass(frozen=True)
class Misplaced:
    """A stream of ours that is not where it belongs.

    Attributes:
        command: of pactl, that moves it.
        index: the server's number of it.
        place: name of where it is.
        home: name of where it belongs.
    """

    command: str
    index: int
    place: str
    home: str


def find_misplaced(wiring: Wiring, server: Snapshot, pids: tuple[int, ...]) -> list[Misplaced]:
    """Streams of these processes that are not where the wiring says."""
    kinds = (
        ("move-source-output", server.recording, server.sources, wiring.source),
        ("move-sink-input", server.playing, server.sinks, wiring.sink),
    )
    return [
        Misplaced(command, stream.index, node.name, home)
        for command, streams, nodes, home in kinds
        for stream in streams
        for node in nodes
        if stream.pid in pids and stream.node == node.index and home not in ("", node.name)
    ]


class Watch:
    """A thread that asks the server whenever something changed there, and moves our streams back.

    Attributes:
        n_users: programs that use what we offer, None as long as nobody could tell.
        wiring: where our streams belong; give it new devices once these are in use.
        wanted: where they would belong now that other devices are the default.
        missing: name of a device that is not in the server, empty while all are.
        looked_at: when the server was last asked, monotonic seconds.
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
            silence: called with True as soon as a stream of ours is where it does not belong, with False when none is.
            on_change: called when there is something to do about what was seen.
            log: takes messages for the person.
        """
        self.wiring = self.wanted = wiring
        self._own_pids, self._silence = own_pids, silence
        self._on_change, self._log = on_change, log
        self.n_users: int | None = None
        self.missing = ""
        self.looked_at = 0.0
        self._is_moved = False
        self._defaults: tuple[str, str] | None = None
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
                    self.look(events.may_change_defaults)
                    events.wait(self._stopping)
            self.n_users = None
            self._stopping.wait(1.0)  # the server is away; the session heals meanwhile

    def look(self, defaults_too: bool = True) -> None:
        """Asks the server, and puts right what is wrong; raises as `pactl` does.

        Args:
            defaults_too: other devices may be the default now. To ask for these takes as long as for all the rest, and
                while it rests a listener waits for the answer.
        """
        began, wiring = time.monotonic(), self.wiring
        server = take_snapshot(None if defaults_too else self._defaults)
        self._defaults = server.default_source, server.default_sink
        wanted, missing = wiring, find_missing(wiring, server)
        with contextlib.suppress(QuietmicError):  # no default at all: it is missing, then
            wanted = wiring.follow(server)
        seen = wanted, missing, count_users(wiring, server)
        changed = seen != (self.wanted, self.missing, self.n_users)
        self.wanted, self.missing, self.n_users = seen
        self.looked_at = began
        if wanted == wiring:
            self._put_back(find_misplaced(wiring, server, self._own_pids()))
        if changed:
            self._on_change()

    def _put_back(self, misplaced: list[Misplaced]) -> None:
        if bool(misplaced) != self._is_moved:
            self._is_moved = bool(misplaced)
            self._silence(self._is_moved)
            for stream in misplaced:
                self._log(f"our stream was moved to {stream.place!r}: muted until it is back at {stream.home!r}")
        for stream in misplaced:
            with contextlib.suppress(QuietmicError):
                pactl(stream.command, str(stream.index), stream.home)
        if misplaced:
            self._stopping.wait(_LEAST_PAUSE_S)


class _Events:
    """`pactl subscribe`, whose lines tell that something changed.

    Attributes:
        are_coming: whether it runs.
        may_change_defaults: whether other devices may be the default since the last wait began.
    """

    def __enter__(self) -> "_Events":
        self._process = subprocess.Popen(
            _SUBSCRIBE,
            stdin=subprocess.PIPE,
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
        self.are_coming = self.may_change_defaults = True
        return self

    def wait(self, stopping: threading.Event) -> None:
        """Waits until something changed that concerns us, or some seconds have passed."""
        time.sleep(_LEAST_PAUSE_S)
        end = time.monotonic() + LOOK_ANYWAY_S
        while self.are_coming and not stopping.is_set() and time.monotonic() < end:
            if self._selector.select(0.25) and self._tells():
                return
        self.may_change_defaults = True  # to be sure

    def _tells(self) -> bool:
        """Reads what is there; whether it concerns us."""
        try:
            said = os.read(self._pipe, 65536)
        except BlockingIOError:
            return False
        self.are_coming = bool(said)
        self.may_change_defaults = bool(_EVENTS_OF_DEFAULTS.search(said))
        return bool(_EVENTS.search(said))

    def __exit__(self, *exception: object) -> None:
        self._selector.close()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
