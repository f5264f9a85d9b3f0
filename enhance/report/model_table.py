"""Tables of the shipped models as Markdown, and their places in README and docs/."""

import math
from pathlib import Path
from textwrap import fill
from typing import Any

from quietmic.enhance.catalogue import ModelEntry
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.systems import NOISY
from quietmic.enhance.measure.tables import MISSING, format_figure

COLUMNS = ("model", "parameters", "MMAC/s", "MB", "microphones", "SI-SDR", "PESQ-WB", "STOI", "OVRL")
COMPARED_COLUMNS = ("", "SI-SDR dB", "PESQ-WB", "OVRL", "MB", "RTF")
HIGHEST = ("pesq_wb", "si_sdr", "ovrl")  # what a row or the text names the best of the others by
SAME_NOISY_DB = 0.01  # equal scenes made on different processors differ in their last bits


def models_markdown(entries: list[ModelEntry]) -> str:
    """A row for each model and number of microphones that its card has figures of, gains over the noisy reference."""
    rows = []
    for entry in entries:
        card = entry.card
        size = [f"{card.parameters / 1e6:.2f}M", f"{card.macs_per_second / 1e6:,.0f}", _megabytes(entry)]
        keys = [key for key in card.metrics if key.endswith("_mics")] or [""]
        for key in keys:
            figures = _with_gains(card.metrics.get(key, {}))
            rows.append([_title(entry), *size, key.removesuffix("_mics") or MISSING, *figures])
    return _table(COLUMNS, rows)


def compared_markdown(entries: list[ModelEntry], quality: dict[str, Any], speed: dict[str, Any]) -> str:
    """Models beside the best of the other denoisers, with one microphone, and what the figures stand for.

    The best is the one of the highest PESQ-WB; the text below the table names those of the highest SI-SDR and OVRL too.

    Args:
        entries: models in the order of the rows; their quality comes from their cards.
        quality: what `evaluate --json` wrote of other denoisers, on the scenes of the cards.
        speed: what `bench --json` wrote; a system that it lacks is "not measured".

    Raises:
        QuietmicError: `quality` is of other scenes than a card, or of no other denoiser.
    """
    peers = {system["label"]: system for system in quality["systems"] if system["kind"] == "peer"}
    if not peers:
        raise QuietmicError("the evaluation holds no other denoiser: run it with peers")
    means = {label: {name: part["mean"] for name, part in each.items()} for label, each in quality["summary"].items()}
    rtf = {system["label"]: system["rtf_live"] for system in speed["systems"]}
    rows = []
    for entry in entries:
        metrics = entry.card.metrics
        if abs(metrics[NOISY]["si_sdr"] - means[NOISY]["si_sdr"]) > SAME_NOISY_DB:
            raise QuietmicError(f"{entry.name} and the other denoisers were measured on different scenes")
        rows.append([_title(entry), *_quality(metrics["1_mics"]), _megabytes(entry), _rtf(rtf.get(entry.name))])
    best, truest, cleanest = (_highest(name, {label: means[label] for label in peers}) for name in HIGHEST)
    size = peers[best]["bytes"]
    title = f"{best}, best of {len(peers)} others"
    rows.append([title, *_quality(means[best]), f"{size / 1e6:.1f}" if size else MISSING, _rtf(rtf.get(best))])
    n_scenes = quality["summary"][NOISY]["si_sdr"]["n"]
    before = _quality(means[NOISY])
    text = (
        f"Means over {n_scenes} simulated scenes, one microphone; the noisy input has {before[0]} dB, {before[1]} and "
        f"{before[2]}. The scenes are made as those of training are, of other talkers, noises and rooms; the others "
        "learned from other data. The best of them is the one of the highest PESQ-WB; their highest SI-SDR is "
        f"{_quality(means[truest])[0]} dB ({truest}), their highest OVRL {_quality(means[cleanest])[2]} ({cleanest}). "
        f"RTF is the share of one core ({speed['machine']['cpu']}) that live use takes at 16 kHz"
        f"{_at_full_band(entries, speed)}."
    )
    return f"{_table(COMPARED_COLUMNS, rows)}\n\n{fill(text, 120)}"


def _highest(name: str, means: dict[str, dict[str, Any]]) -> str:
    """The system of the highest mean of a measure; any, where none has it."""
    return max(means, key=lambda label: -math.inf if means[label].get(name) is None else means[label][name])


def _at_full_band(entries: list[ModelEntry], speed: dict[str, Any]) -> str:
    """What the default model takes at 48 kHz, if it was measured."""
    (name,) = [entry.name for entry in entries if entry.is_default] or [""]
    timed: dict[str, Any] = next((system for system in speed["systems"] if system["label"] == name), {})
    if not (ms := timed.get("full_band_hop_ms")):
        return ""
    return f"; at 48 kHz, with the whole band, {name} takes {_rtf(ms / timed['hop_duration_ms'])}"


def write_into(page: Path, name: str, text: str, command: str = "python tools/write_docs.py") -> None:
    """Replace what stands between the two comments of a name, written by a command, in a Markdown page.

    Raises:
        QuietmicError: the comments are not there.
    """
    start, end = f"<!-- {name}: written by `{command}` -->", f"<!-- end of {name} -->"
    old = page.read_text(encoding="utf-8")
    if start not in old or end not in old:
        raise QuietmicError(
            f"{page} has no place for the {name}: put the lines '{start}' and '{end}' into it", exit_code=2
        )
    before, after = old.split(start)[0], old.split(end)[1]
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows))


def _title(entry: ModelEntry) -> str:
    return entry.name + (" (default)" if entry.is_default else "")


def _megabytes(entry: ModelEntry) -> str:
    return f"{entry.path.stat().st_size / 1e6:.1f}"


def _quality(means: dict[str, Any]) -> list[str]:
    ovrl = means.get("ovrl")
    return [
        format_figure(means["si_sdr"], "si_sdr"), f"{means['pesq_wb']:.2f}", MISSING if ovrl is None else f"{ovrl:.2f}",
    ]  # fmt: skip


def _rtf(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _with_gains(metrics: dict[str, Any]) -> list[str]:
    """SI-SDR, PESQ and STOI with their gains, and DNSMOS OVRL."""
    cells = []
    for name, digits in (("si_sdr", 2), ("pesq_wb", 2), ("stoi", 3)):
        value, gain = metrics.get(name), metrics.get(f"{name}_gain")
        measured = value is not None and gain is not None
        cells.append(f"{value:.{digits}f} ({gain:+.{digits}f})" if measured else MISSING)
    ovrl = metrics.get("ovrl")
    return [*cells, MISSING if ovrl is None else f"{ovrl:.2f}"]
