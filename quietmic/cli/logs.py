"""Where the library's log goes: to standard error, for as long as nothing else fills the terminal."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from quietmic.cli.lines import one_line


class _ToStandardError(logging.Handler):
    """Messages as a person reads them; warnings say that they are."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes to what is standard error now, which a progress bar may have replaced."""
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        with suppress(OSError):  # a terminal that is gone must not end a run
            click.echo(f"{prefix}{one_line(record.getMessage())}", err=True)


_LOGGER = logging.getLogger("quietmic")
_HANDLER = _ToStandardError()


@contextmanager
def shown_logs() -> Iterator[None]:
    """Shows what the library tells while a command runs; a program that calls it keeps its own logging."""
    level = _LOGGER.level
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.addHandler(_HANDLER)
    try:
        yield
    finally:
        _LOGGER.removeHandler(_HANDLER)
        _LOGGER.setLevel(level)


@contextmanager
def hidden_logs() -> Iterator[None]:
    """Shows nothing of it while a view fills the terminal, which has its own place for messages."""
    _LOGGER.removeHandler(_HANDLER)
    _LOGGER.addHandler(silence := logging.NullHandler())
    try:
        yield
    finally:
        _LOGGER.removeHandler(silence)
        _LOGGER.addHandler(_HANDLER)
