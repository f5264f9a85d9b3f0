"""Single key presses from the terminal, without waiting for Enter."""

import contextlib
import sys
from types import TracebackType
from typing import Any

_FIRST_HALVES = "\0\xe0"  # of arrows and function keys on Windows; the other half of F3 is a "="


class Keys:
    """Reads keys while its context is open; gives none where standard input is no terminal."""

    def __enter__(self) -> "Keys":
        self._saved: Any = None
        self._is_terminal = sys.stdin is not None and sys.stdin.isatty()
        if self._is_terminal and sys.platform != "win32":
            import termios
            import tty

            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
            mode = termios.tcgetattr(sys.stdin)
            mode[0] &= ~termios.IXON  # else Ctrl-S holds what is shown, and the run that waits to show it
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, mode)
        return self

    def read(self) -> str:
        """The keys pressed since the last call, an empty string if none."""
        if not self._is_terminal:
            return ""
        if sys.platform == "win32":
            import msvcrt

            keys = ""
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                if key not in _FIRST_HALVES:
                    keys += key
                elif msvcrt.kbhit():
                    msvcrt.getwch()
            return keys
        import os
        import select

        descriptor = sys.stdin.fileno()
        ready, _, _ = select.select([descriptor], [], [], 0)
        try:
            return os.read(descriptor, 64).decode(errors="ignore") if ready else ""
        except OSError:  # the terminal was closed; the signal that says so comes by itself
            return ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._saved is not None:
            import termios

            with contextlib.suppress(termios.error):  # the terminal was closed
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)
