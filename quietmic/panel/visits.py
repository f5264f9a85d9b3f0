"""Visits: each page that is open, with the files that it brought; all of them go with it."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError
from quietmic.panel.options import PanelOptions
from quietmic.panel.outbox import Outbox
from quietmic.panel.preview import Preview


@dataclass
class Item:
    """One file of a visit.

    Attributes:
        number: by which it is asked for.
        name: as it is shown.
        folder: of its own, in which all names are ours.
        source: what was uploaded.
        n_bytes: of it.
        state: "uploading", "uploaded", "waiting", "enhancing", "drawing", "done" or "failed".
        share: of the work that is done, 0..1.
        about: why it failed, or what a listener should know.
        target: the enhanced file, once there is one.
        output: what that is called when it is given back.
        sound: before and after in one, once there is one.
        preview: pictures, once there are some.
        is_gone: the visitor has taken it away.
    """

    number: int
    name: str
    folder: Path
    source: Path
    n_bytes: int = 0
    state: str = "uploading"
    share: float = 0.0
    about: list[str] = field(default_factory=list)
    target: Path | None = None
    output: str = ""
    sound: Path | None = None
    preview: Preview | None = None
    is_gone: bool = False

    def to_dict(self) -> dict[str, Any]:
        """What a page shows of it."""
        return {
            "number": self.number,
            "name": self.name,
            "state": self.state,
            "share": self.share,
            "about": self.about,
            "output": self.output,
        }


class Visit:
    """One page that is open.

    Attributes:
        key: by which it is asked for; nobody can guess it.
        folder: of its files.
        items: by number.
        outbox: of its connection.
        is_connected: whether it has one.
        left_at: when it lost that, seconds of the loop's clock.
    """

    def __init__(self, folder: Path) -> None:
        """Begins with a key and no files."""
        self.key = secrets.token_urlsafe(18)
        self.folder = folder
        self.items: dict[int, Item] = {}
        self.outbox = Outbox()
        self.is_connected = False
        self.left_at = 0.0
        self._n_items = 0

    @property
    def n_bytes(self) -> int:
        """Bytes of all that was uploaded."""
        return sum(item.n_bytes for item in self.items.values())

    def add(self, name: str, ending: str, n_bytes: int) -> Item:
        """A place for a file of so many bytes."""
        self._n_items += 1
        folder = self.folder / str(self._n_items)
        folder.mkdir(parents=True)
        item = Item(self._n_items, name, folder, folder / f"source{ending}", n_bytes)
        self.items[item.number] = item
        return item


class Visits:
    """All visits; used by the server's loop alone."""

    def __init__(self, folder: Path, options: PanelOptions, remove: Callable[[Visit], None]) -> None:
        """Begins without any visit.

        Args:
            folder: for their files.
            options: how many there may be, and how long one is kept without a connection.
            remove: takes the files of a visit away.
        """
        self._folder, self._options, self._remove = folder, options, remove
        self._visits: dict[str, Visit] = {}
        self._n_visits = 0

    def __iter__(self) -> Iterator[Visit]:
        return iter(list(self._visits.values()))

    def find(self, key: str) -> Visit | None:
        """The visit of this key, None where it is over."""
        return self._visits.get(key)

    def connect(self, key: str) -> Visit:
        """The visit that comes back, or a new one.

        Raises:
            QuietmicError: there are as many as there may be.
        """
        visit = self._visits.get(key)
        if visit is None or visit.is_connected:
            if len(self._visits) >= self._options.max_visits:
                self._drop_one_that_broke()
            self._n_visits += 1
            visit = Visit(self._folder / str(self._n_visits))
            self._visits[visit.key] = visit
        visit.is_connected = True
        visit.outbox = Outbox()
        return visit

    def _drop_one_that_broke(self) -> None:
        broken = next((visit for visit in self._visits.values() if not visit.is_connected), None)
        if broken is None:
            raise QuietmicError(f"the panel is open in {len(self._visits)} pages already: close one and load this anew")
        self._drop(broken)

    def _drop(self, visit: Visit) -> None:
        if self._visits.pop(visit.key, None):
            self._remove(visit)

    def disconnect(self, visit: Visit) -> None:
        """Ends a visit, unless it comes back soon: a phone loses its network for moments."""
        loop = asyncio.get_running_loop()
        visit.is_connected, visit.left_at = False, loop.time()
        loop.call_later(self._options.grace_s, self._drop_if_broken, visit, visit.left_at)

    def _drop_if_broken(self, visit: Visit, left_at: float) -> None:
        if not visit.is_connected and visit.left_at == left_at:
            self._drop(visit)
