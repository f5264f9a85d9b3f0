"""The server in a thread of its own, so that a live run has the main one."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.panel.options import PanelOptions

_MAX_MESSAGE = 4096  # bytes of one that a page sends through its socket
_START_S = 30.0


class Server:
    """Serves an application while its context is open.

    Attributes:
        address: at which a browser of this machine, or of its network, finds the page.
    """

    def __init__(self, make_app: Callable[[], Any], options: PanelOptions) -> None:
        """Binds the address; nothing is served yet.

        Args:
            make_app: makes the application, in the server's loop.
            options: where to listen.

        Raises:
            QuietmicError: the address cannot be had, or the server is not installed.
        """
        self._make_app, self._options = make_app, options
        self._socket = _bind(options)
        host, port = self._socket.getsockname()[:2]
        if host in ("0.0.0.0", "::"):
            host = f"{socket.gethostname()}.local"
        self.address = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        self._thread = threading.Thread(target=self._run, name="panel", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._server: Any = None

    def __enter__(self) -> "Server":
        self._thread.start()
        if not self._ready.wait(_START_S) or self._failure:
            raise QuietmicError(f"the panel does not start: {self._failure}")
        return self

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        import uvicorn

        config = uvicorn.Config(
            self._make_app(), log_config=None, access_log=False, server_header=False, lifespan="off",
            ws="websockets-sansio", ws_max_size=_MAX_MESSAGE, timeout_graceful_shutdown=1, limit_concurrency=100,
            proxy_headers=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.01)
        self._ready.set()
        await serving

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Calls a function in the server's loop, soon; from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server:
            self._server.should_exit = True
            self._thread.join(_START_S)
        self._socket.close()


def _bind(options: PanelOptions) -> socket.socket:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise QuietmicError('the panel needs its extra: pip install "quietmic[panel]"') from error
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let another program take the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        place = f"{options.host}, port {options.port}"
        wrong = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
        advice = {"port": "name another port", "host": "name an address of this machine"}[wrong]
        message = f"the panel cannot listen at {place}: {reason_of(error)}; {advice}"
        raise QuietmicError(message, argument=wrong) from error
    return listener
