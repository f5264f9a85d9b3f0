"""The terminal view of a live run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from quietmic.cli.logs import hidden_logs
from quietmic.devices.controls import HELP, NO_LIMIT
from quietmic.devices.live import Refresh
from quietmic.devices.session import Session

_LOWEST_DB = -60.0
_BAR_LENGTH = 40
_N_MESSAGES = 5
_EVERY = 4  # ticks


def level_bar(level_db: float) -> Text:
    """A bar from -60 dB to full scale, with the figure."""
    part = min(max(1 - level_db / _LOWEST_DB, 0.0), 1.0)
    n = round(part * _BAR_LENGTH)
    colour = "red" if level_db > -3 else "yellow" if level_db > -12 else "green"
    return Text.assemble(("█" * n, colour), ("·" * (_BAR_LENGTH - n), "dim"), f" {level_db:6.1f} dB")


def _state(session: Session) -> Text:
    parts = [("bypass: " + session.step_down.reason, "bold yellow")] if session.step_down.reason else []
    if session.mixer.muted:
        parts.append(("muted", "bold red"))
    if session.controls.is_recording:
        parts.append(("recording", "bold red"))
    return Text("  ").join(Text(*part) for part in parts) if parts else Text("enhancing", "green")


def render(session: Session) -> Panel:
    """The whole view as it is now."""
    figures = session.summary()
    limit_db = session.controls.limit_db
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    rows: list[tuple[str, str | Text]] = [
        ("devices", f"{figures['input']} -> {figures['output']}"),
        ("model", f"{figures['model']}, {figures['n_mics']} microphone{'s' if figures['n_mics'] > 1 else ''}"),
        ("state", _state(session)),
        ("input", level_bar(figures["input_db"])),
        ("output", level_bar(figures["output_db"])),
        ("noise reduction", f"{figures['noise_reduction_db']:.1f} dB (estimated in the pauses)"),
        ("attenuation limit", "none" if limit_db == NO_LIMIT else f"{limit_db:g} dB"),
        ("real-time factor", f"{figures['rtf']:.3f}, 99 % below {figures['rtf_p99']:.3f}"),
        ("latency", f"{figures['latency_ms']:.0f} ms, of it {figures['algorithmic_delay_ms']:.0f} ms the model"),
        (
            "losses",
            f"{figures['underruns']} underruns, {figures['overruns']} overruns, "
            f"{figures['blocks_dropped']} blocks dropped",
        ),
    ]
    for name, value in rows:
        table.add_row(name, value)
    messages = [Text(f"{at_s:7.1f} s  {text}", "dim") for at_s, text in list(session.messages)[-_N_MESSAGES:]]
    return Panel(Group(table, Text(""), *messages, Text(HELP, "bold")), title="quietmic")


@contextmanager
def live_view(session: Session) -> Iterator[Refresh]:
    """Shows a session for as long as the context lasts, drawn anew at every fourth call of what it gives."""
    n_ticks = 0
    with hidden_logs(), _quiet_libraries(), Live(render(session), auto_refresh=False) as live:

        def refresh() -> None:
            nonlocal n_ticks
            n_ticks += 1
            if n_ticks % _EVERY == 0:
                live.update(render(session), refresh=True)

        yield refresh


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
