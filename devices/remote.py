"""Steers a running `live` from elsewhere, such as a desktop's hot keys: a socket in the user's runtime directory.

One line in, one line of JSON out. Only the user can open it (mode 0600).
"""

import contextlib
import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quietmic.devices.commands import read_command
from quietmic.enhance.errors import QuietmicError

_TIMEOUT_S = 10.0  # a run that looks for lost devices may be busy for some seconds
_CLIENT_S = 0.2
_MAX_BYTES = 4096


def socket_path() -> Path:
    """Where the running instance listens."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "quietmic.sock"
    return Path(tempfile.gettempdir()) / f"quietmic-{os.getuid()}" / "quietmic.sock"


def _open_client(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(_TIMEOUT_S)
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def send_command(words: list[str]) -> dict[str, Any]:
    """What the running instance answers to a command, such as ["limit", "12"].

    Raises:
        QuietmicError: there is no such command, none runs, or it refuses.
    """
    read_command(words)
    if sys.platform == "win32":
        raise QuietmicError("a running instance can be steered from outside on Linux and macOS only")
    try:
        with _open_client(socket_path()) as client:
            client.sendall(" ".join(words).encode() + b"\n")
            with client.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(lines.readline(_MAX_BYTES) or b"{}")
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise QuietmicError("no quietmic is running: start `quietmic live`") from error
    except (OSError, ValueError) as error:
        raise QuietmicError(f"the running quietmic does not answer: {error}") from error
    if "error" in answer:
        raise QuietmicError(answer["error"], exit_code=2)
    return answer


class Remote:
    """The socket of this run, while its context is open; another run that has it keeps it."""

    def __init__(self, obey: Callable[[list[str]], dict[str, Any]], log: Callable[[str], None]) -> None:
        """Keeps what commands do; the socket opens with the context.

        Args:
            obey: does a command and gives what is answered; what it refuses it raises as QuietmicError.
            log: takes messages for the person.
        """
        self._obey, self._log = obey, log
        self._listener: socket.socket | None = None

    def __enter__(self) -> "Remote":
        if sys.platform != "win32":
            try:
                self._listen(socket_path())
            except (OSError, QuietmicError) as error:
                self._log(f"`quietmic ctl` cannot reach this run: {error}")
        return self

    def _listen(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        owner = path.parent.stat()
        if owner.st_uid != os.getuid() or owner.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise QuietmicError(f"others may write to {path.parent}")
        with contextlib.suppress(OSError), _open_client(path):
            raise QuietmicError("another run already answers it")
        path.unlink(missing_ok=True)  # what a run that was killed left behind
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(mask)
        listener.listen()
        listener.setblocking(False)
        self._listener, self._path = listener, path

    def poll(self) -> None:
        """Answers who has called since; returns at once."""
        while self._listener:
            try:
                client, _ = self._listener.accept()
            except OSError:  # nobody
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(_CLIENT_S)
                words = client.recv(_MAX_BYTES).decode(errors="replace").split()
                client.sendall(json.dumps(self._answer(words)).encode() + b"\n")

    def _answer(self, words: list[str]) -> dict[str, Any]:
        try:
            return self._obey(words)
        except QuietmicError as error:
            return {"error": str(error)}

    def __exit__(self, *exception: object) -> None:
        if self._listener:
            self._listener.close()
            self._path.unlink(missing_ok=True)
