"""The table of shipped models as Markdown, and its place in a page."""

import re
from pathlib import Path
from typing import Any

from quietmic.enhance.catalogue import ModelEntry
from quietmic.enhance.errors import QuietmicError

PLACE = re.compile(r"(<!-- models:[^>]*-->\n).*?(<!-- end of models -->)", re.DOTALL)
COLUMNS = ("model", "parameters", "MMAC/s", "MB", "microphones", "SI-SDR", "PESQ-WB", "STOI", "OVRL")


def models_markdown(entries: list[ModelEntry]) -> str:
    """A row for each model and number of microphones that its card has figures of, gains over the noisy reference."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for entry in entries:
        card = entry.card
        cells = [f"{card.parameters / 1e6:.2f}M", f"{card.macs_per_second / 1e6:,.0f}"]
        cells.append(f"{entry.path.stat().st_size / 1e6:.1f}")
        name = entry.name + (" (default)" if entry.is_default else "")
        keys = [key for key in card.metrics if key.endswith("_mics")] or [""]
        for key in keys:
            row = [name, *cells, key.removesuffix("_mics") or "not measured", *_figures(card.metrics.get(key, {}))]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _figures(metrics: dict[str, Any]) -> list[str]:
    """SI-SDR, PESQ and STOI with their gains, and DNSMOS OVRL."""
    cells = []
    for name, digits in (("si_sdr", 2), ("pesq_wb", 2), ("stoi", 3)):
        value, gain = metrics.get(name), metrics.get(f"{name}_gain")
        measured = value is not None and gain is not None
        cells.append(f"{value:.{digits}f} ({gain:+.{digits}f})" if measured else "not measured")
    ovrl = metrics.get("ovrl")
    return [*cells, "not measured" if ovrl is None else f"{ovrl:.2f}"]


def write_into(page: Path, table: str) -> None:
    """Replace what stands between the two markers of a Markdown file.

    Raises:
        QuietmicError: the markers are not there.
    """
    text = page.read_text(encoding="utf-8")
    if not PLACE.search(text):
        message = (
            f"{page} has no place for the table: put the lines\n<!-- models: -->\n<!-- end of models -->\ninto it."
        )
        raise QuietmicError(message, exit_code=2)
    page.write_text(PLACE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text), encoding="utf-8")
