"""A panel in a thread of the test, and who visits it without a browser."""

import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import pytest

from quietmic.devices.board import find_board
from quietmic.panel.desk import Desk
from quietmic.panel.options import PanelOptions
from quietmic.panel.orders import LiveWish
from quietmic.panel.run import run_panel

TIMEOUT_S = 60.0
ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def open_panel(options: PanelOptions) -> Iterator[str]:
    """The address of a panel that runs while the context lasts."""
    desk = Desk(find_board("desktop"), lambda model, preferred: [], LiveWish(), begins=False)
    addresses = queue.Queue[str]()
    thread = threading.Thread(target=run_panel, args=(options, desk, addresses.put), daemon=True)
    thread.start()
    address = addresses.get(timeout=TIMEOUT_S)
    try:
        yield address
    finally:
        desk.close()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


class Program:
    """`quietmic panel` in a process of its own, and where its page is.

    Attributes:
        scratch: where it works.
        address: of the page, with the token where there is one.
    """

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "panel", "--no-browser", "--port", "0", *arguments],
            env=environment | {"TMPDIR": str(self.scratch), "XDG_RUNTIME_DIR": str(folder)},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout
        self.address = self.process.stdout.readline().split()[-1].partition("#")[0]

    def end(self, number: int) -> int:
        """Sends a signal and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Visitor:
    """One page of a panel, spoken to by hand."""

    address: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes | BinaryIO | None = None, **headers: str) -> Answer:
        """Sends a request as it is: names of headers are written with _ for -."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=TIMEOUT_S)
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, self.headers | extra)
        found = connection.getresponse()
        answer = Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        connection.close()
        return answer

    def connect(self, visit: str = "", **headers: str) -> Any:
        """Opens the socket of a page."""
        from websockets.sync.client import connect

        place = f"ws://{urlsplit(self.address).netloc}/socket?visit={visit}"
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return connect(place, additional_headers=self.headers | extra, open_timeout=TIMEOUT_S, compression=None)

    def upload(self, visit: str, name: str, data: bytes) -> Answer:
        """Sends a file."""
        return self.ask("PUT", f"/visits/{visit}/files?name={quote(name, safe='')}", data)

    def enhance(self, visit: str, number: int, **wish: object) -> Answer:
        """Asks for a file to be enhanced."""
        body = json.dumps({"model": "tcn-tiny", "limit_db": None, "channels": "auto"} | wish).encode()
        return self.ask("POST", f"/visits/{visit}/files/{number}", body)


def hear(socket: Any, name: str) -> Any:
    """The next message that holds a name."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        message = json.loads(socket.recv(timeout=TIMEOUT_S))
        if name in message:
            return message[name]
    raise AssertionError(f"no {name} came")


def wait_until_done(socket: Any, number: int) -> dict[str, Any]:
    """What the socket tells of a file in the end."""
    while True:
        item: dict[str, Any] = hear(socket, "file")
        if item["number"] == number and item["state"] in ("done", "failed"):
            return item


def left_in(folder: Path) -> list[Path]:
    """What panels have left in a folder for temporary files, in which libraries may have some of their own."""
    walked = os.walk(folder)  # not a glob, which fails when a folder goes meanwhile
    found = [Path(root, name) for root, _, names in walked for name in names]
    return [path for path in found if path.relative_to(folder).parts[0].startswith("quietmic-panel-")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the panels of this module work."""
    place = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(place))
        yield place


@pytest.fixture(scope="module")
def panel(folder: Path) -> Iterator[str]:
    """The address of a panel with small limits."""
    with open_panel(PanelOptions(port=0, max_visits=2, max_files=3, max_bytes=3_000_000, grace_s=0.3)) as address:
        yield address
    assert not left_in(folder)


@pytest.fixture
def visitor(panel: str) -> Visitor:
    return Visitor(panel)


@pytest.fixture
def page(visitor: Visitor) -> Iterator[tuple[Any, str]]:
    """An open socket and the key of its visit."""
    with visitor.connect() as socket:
        yield socket, hear(socket, "visit")
