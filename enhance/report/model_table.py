"""The table of shipped models as Markdown, and its place in the README."""

from pathlib import Path
from typing import Any

from quietmic.enhance.catalogue import ModelEntry
from quietmic.enhance.errors import QuietmicError

START, END = "<!-- models: written by `python app.py models --readme README.md` -->", "<!-- end of models -->"
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


def write_into(readme: Path, table: str) -> None:
    """Replace what stands between the two markers of a Markdown file.

    Raises:
        QuietmicError: the markers are not there.
    """
    text = readme.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise QuietmicError(
            f"{readme} has no place for the table: put the lines\n{START}\n{END}\ninto it.", exit_code=2
        )
    before, after = text.split(START)[0], text.split(END)[1]
    readme.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")
