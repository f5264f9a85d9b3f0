"""The terminal view of a live run."""

import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from quietmic.cli.logs import hidden_logs
from quietmic.devices.commands import NO_LIMIT
from quietmic.devices.controls import HELP
from quietmic.devices.live import Refresh
from quietmic.devices.session import Session

_LOWEST_DB = -60.0
_EVERY = 4  # ticks
_FRAME_HEIGHT, _FRAME_WIDTH = 2, 4
_LONGEST_BAR = 40
_NARROW = 60  # columns below which names are short and comments left out


def level_bar(level_db: float, width: int) -> Text:
    """A bar from -60 dB to full scale, with the figure, in so many columns."""
    length = min(max(width - 10, 3), _LONGEST_BAR)
    part = min(max(1 - level_db / _LOWEST_DB, 0.0), 1.0)
    n = round(part * length)
    colour = "red" if level_db > -3 else "yellow" if level_db > -12 else "green"
    return Text.assemble(("█" * n, colour), ("·" * (length - n), "dim"), f" {level_db:6.1f} dB")


def _state(session: Session) -> Text:
    is_fine = session.state == "enhancing"
    parts = []  # what a narrow terminal must not cut goes first
    if session.mixer.muted:
        parts.append(("muted", "bold red"))
    if session.controls.is_recording:
        parts.append(("recording", "bold red"))
    parts.append((session.state, "green" if is_fine else "bold yellow"))
    return Text("  ").join(Text(*part) for part in parts)


def _rows(session: Session, width: int) -> list[tuple[str, str | Text]]:
    """(name, value) of what is shown, the most needed first."""
    figures, limit_db = session.summary(), session.controls.limit_db
    is_narrow = width < _NARROW
    name_width = 9 if is_narrow else 19
    bar_width = width - name_width
    rows: list[tuple[str, str | Text]] = [
        ("state", _state(session)),
        ("input", level_bar(figures["input_db"], bar_width)),
        ("output", level_bar(figures["output_db"], bar_width)),
        ("from", session.plan.input.label),
        ("to", session.plan.output.label),
    ]
    if session.latency_s:
        latency = f"{figures['latency_ms']:.0f} ms"
        latency += "" if is_narrow else f", of it {figures['algorithmic_delay_ms']:.0f} ms the model"
        rtf = f"{figures['rtf']:.2f}" + ("" if is_narrow else f", 99 % below {figures['rtf_p99']:.2f}")
        reduction = f"{figures['noise_reduction_db']:.1f} dB" + (" less" if is_narrow else " (estimated in the pauses)")
        rows += [("latency", latency), ("noise" if is_narrow else "noise reduction", reduction), ("load", rtf)]
    losses = f"{figures['lost_s']:.1f} s, {figures['underruns'] + figures['overruns']} gaps"
    rows += [
        ("losses", losses),
        ("limit" if is_narrow else "attenuation limit", "none" if limit_db == NO_LIMIT else f"{limit_db:g} dB"),
        ("model", f"{figures['model']}" + ("" if is_narrow else f" ({figures['n_mics']} mic)")),
    ]
    return rows


def _messages(session: Session) -> list[str]:
    """The newest first, one of each kind, with how often it came."""
    newest: dict[str, tuple[float, str]] = {}
    counts: dict[str, int] = {}
    for at_s, text in reversed(list(session.messages)):
        kind = re.sub(r"\d+(\.\d+)?", "#", text)
        newest.setdefault(kind, (at_s, text))
        counts[kind] = counts.get(kind, 0) + 1
    return [
        f"{at_s:.0f} s  {text}" + (f" ({counts[kind]} times)" if counts[kind] > 1 else "")
        for kind, (at_s, text) in newest.items()
    ]


def render(session: Session, width: int = 80, height: int = 24) -> Panel:
    """The whole view as it is now, for a terminal of so many columns and lines."""
    inner = width - _FRAME_WIDTH
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    help_lines = len(textwrap.wrap(HELP, inner))
    n_free = height - _FRAME_HEIGHT - help_lines - 1  # the last line of a terminal stays empty
    rows = _rows(session, inner)[: max(3, n_free - 1)]
    table.columns[0].min_width = max(len(name) for name, _ in rows)  # a long value is cut, not its name
    for name, value in rows:
        table.add_row(name, value)
    lines = [line for text in _messages(session) for line in textwrap.wrap(text, inner, subsequent_indent="  ")]
    n_lines = max(0, n_free - len(rows))
    if 0 < n_lines < len(lines):
        lines[n_lines - 1] = lines[n_lines - 1][: inner - 2] + " …"
    messages = [Text(line, "dim") for line in lines[:n_lines]]
    return Panel(Group(table, *messages, Text(HELP, "bold")), title="quietmic", width=width)


@contextmanager
def live_view(session: Session) -> Iterator[Refresh]:
    """Shows a session for as long as the context lasts, drawn anew at every fourth call of what it gives."""
    n_ticks = 0
    console = Console()

    def picture() -> Panel:
        return render(session, console.width, console.height)

    with hidden_logs(), _quiet_libraries(), _shown(Live(picture(), console=console, auto_refresh=False)) as live:

        def refresh() -> None:
            nonlocal n_ticks
            n_ticks += 1
            if n_ticks % _EVERY == 0:
                with suppress(OSError):
                    live.update(picture(), refresh=True)

        yield refresh


@contextmanager
def _shown(live: Live) -> Iterator[Live]:
    """Shows it, though the terminal may be closed meanwhile: the run ends by itself then, with all that it writes."""
    live.start()
    try:
        yield live
    finally:
        with suppress(OSError):
            live.stop()


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keeps what the sound libraries write to standard error, below Python, out of the view."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
