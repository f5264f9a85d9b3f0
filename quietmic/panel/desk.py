"""The live part of the panel: runs sessions in the main thread as the pages ask, one at a time."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from quietmic.devices.board import Board
from quietmic.devices.engine import Candidate
from quietmic.devices.live import Refresh, run_live
from quietmic.devices.microphones import find_array, list_arrays
from quietmic.devices.options import live_options
from quietmic.devices.session import Session
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.errors import QuietmicError
from quietmic.panel.listing import offer_devices
from quietmic.panel.meters import read_meters
from quietmic.panel.orders import LiveWish, live_wish, steering_words

logger = logging.getLogger(__name__)

_EVERY_S = 1 / 16  # of the meters
_LISTEN_S = 0.25  # for an order: a thread that waits hears of no Ctrl-C on Windows

OpenCandidates = Callable[[str | None, str], Sequence[Candidate]]
"""Models for a live run, the wanted one first: (name or None, the board's own) -> candidates."""


class Desk:
    """Where pages order and the main thread obeys; the session is that of the terminal view, the page one more view."""

    def __init__(self, board: Board, open_candidates: OpenCandidates, wish: LiveWish, begins: bool) -> None:
        """Waits at first, or begins at once.

        Args:
            board: profile of this machine.
            open_candidates: gives the models for a run.
            wish: what a page offers at first.
            begins: a run begins without being asked for.

        Raises:
            QuietmicError: the wish names a model or an array that does not exist.
        """
        if wish.model:
            find_model(wish.model)
        if wish.array:
            find_array(wish.array)
        self._board, self._open_candidates, self._wish = board, open_candidates, wish
        self._arrays = list_arrays() | ({wish.array: wish.array} if wish.array else {})
        self._orders: SimpleQueue[LiveWish | list[str] | str] = SimpleQueue()
        self._state, self._about = "off", ""
        self._next: LiveWish | None = wish if begins else None
        self._is_over = self._was_told = False
        self._devices: dict[str, Any] | None = None
        self._lister: threading.Thread | None = None
        self._models: set[str] = set()
        self._folder = Path()
        self._tell: Callable[[dict[str, Any]], None] = lambda message: None

    def open(self, folder: Path, models: tuple[str, ...], tell: Callable[[dict[str, Any]], None]) -> None:
        """Begins to serve pages.

        Args:
            folder: for recordings.
            models: that may be asked for.
            tell: takes what all pages are to know; from any thread.
        """
        self._folder, self._tell = folder, tell
        self._models = {*models, *([self._wish.model] if self._wish.model else [])}  # a person may name a file
        self._list_devices()

    def _list_devices(self) -> None:
        """In a thread of its own, as sound systems take their time; one that is at it is enough."""
        if self._lister is None or not self._lister.is_alive():
            self._lister = threading.Thread(target=self._find_devices, name="devices", daemon=True)
            self._lister.start()

    def _find_devices(self) -> None:
        self._devices = offer_devices()
        self._tell({"devices": self._devices})

    def greeting(self) -> dict[str, Any]:
        """What a page has to know when it comes."""
        return {"live": self._describe(), "devices": self._devices, "wish": asdict(self._wish), "arrays": self._arrays}

    def _describe(self) -> dict[str, Any]:
        recordings = sorted(self.recordings()) if self._state == "off" else []
        return {"state": self._state, "about": self._about, "recordings": recordings}

    def recordings(self) -> dict[str, Path]:
        """The files of all recordings by name."""
        return {path.name: path for path in self._folder.glob("*.flac")}

    def obey(self, order: dict[str, Any]) -> None:
        """Takes an order of a page in, from the server's thread.

        Raises:
            QuietmicError: it is none.
        """
        what = order.get("do")
        if what == "start":
            self._orders.put(live_wish(order, self._models, self._arrays))
        elif what == "steer":
            self._orders.put(steering_words(order))
        elif what == "stop":
            self._orders.put("stop")
        elif what == "devices":
            self._list_devices()
        else:
            raise QuietmicError(f"there is no order {what!r}", exit_code=2)

    def close(self) -> None:
        """Ends `run`, from any thread."""
        self._orders.put("close")

    def run(self) -> None:
        """Runs one session after the other until it is interrupted or closed."""
        while not self._is_over:
            if self._next is None:
                with contextlib.suppress(Empty):
                    self._take(self._orders.get(timeout=_LISTEN_S))
            else:
                wish, self._next = self._next, None
                self._run_session(wish)

    def _take(self, order: LiveWish | list[str] | str, session: Session | None = None) -> None:
        """Does what was ordered; what needs another session ends this one first."""
        if isinstance(order, list):
            with contextlib.suppress(QuietmicError):  # the next meters show that nothing came of it
                if session:
                    session.obey(order)
            return
        self._is_over = order == "close"
        if isinstance(order, LiveWish):
            if session and self._changes_model_alone(order):
                self._change_model(session, order)
                return
            self._next = order
        if session:
            self._was_told = True
            session.obey(["quit"])

    def _changes_model_alone(self, wish: LiveWish) -> bool:
        """Whether it names another model, all else as it runs; the limit is steered on its own."""
        return wish.model is not None and self._wish == replace(
            wish, model=self._wish.model, limit_db=self._wish.limit_db
        )

    def _change_model(self, session: Session, wish: LiveWish) -> None:
        """Another model in the session that runs; where it does not fit, all stays as it is."""
        engine = session.mixer.engine
        try:
            candidate = self._open_candidates(wish.model, self._board.default_model)[0]
            if candidate.max_mics < engine.n_mics:
                raise QuietmicError(f"{candidate.name} takes {candidate.max_mics} microphones, not {engine.n_mics}")
            wanted = engine.sample_rate, engine.hop_length
            fitting = [c for c in (candidate, candidate.narrow) if c and (c.sample_rate, c.hop_length) == wanted]
            if not fitting:
                raise QuietmicError(f"{candidate.name} runs at another rate: stop first")
        except QuietmicError as error:
            session.log(str(error))
        else:
            session.step_down.change(lambda: fitting[0].open(engine.n_mics, self._board.threads))
            self._wish = wish
        self._say("on")

    def _run_session(self, wish: LiveWish) -> None:
        self._wish, self._was_told = wish, False
        self._say("starting")
        about = ""
        try:
            options = live_options(
                self._board, wish.channels, wish.array, input_name=wish.input_name, key_folder=self._folder,
                output_name=None if wish.virtual_microphone else wish.output_name, auto=wish.model is None,
                attenuation_limit_db=wish.limit_db, virtual_microphone=wish.virtual_microphone,
            )  # fmt: skip
            candidates = self._open_candidates(wish.model, self._board.default_model)
            run_live(options, candidates, self._board, wish.model is None, self._view)
            self._is_over |= not self._was_told  # it was interrupted, or ended by a key of the terminal
        except Exception as error:  # the page stays, and says why
            about = str(error) or type(error).__name__
            logger.error("%s", about)
        self._say("off", about)

    def _say(self, state: str, about: str = "") -> None:
        self._state, self._about = state, about
        self._tell({"live": self._describe(), "wish": asdict(self._wish)})

    @contextlib.contextmanager
    def _view(self, session: Session) -> Iterator[Refresh]:
        """Shows a session on all pages, and hands on what they order."""
        self._say("on")
        due = time.monotonic()

        def refresh() -> None:
            nonlocal due
            with contextlib.suppress(Empty):
                while True:
                    self._take(self._orders.get_nowait(), session)
            if time.monotonic() >= due:
                due = time.monotonic() + _EVERY_S
                self._tell({"meters": read_meters(session)})

        yield refresh
