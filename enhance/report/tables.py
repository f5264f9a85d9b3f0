"""Tables that only a report needs: quality beside cost, compressed beside parent, all runs, and what stands out."""

from typing import Any

from quietmic.enhance.measure.ratios import plain_mean, quality_ratio
from quietmic.enhance.measure.summary import paired_figures
from quietmic.enhance.measure.systems import NOISY
from quietmic.enhance.measure.tables import MISSING, Table, format_figure, format_interval

_QUALITY = ("si_sdr", "stoi", "pesq_wb")


def comparison_tables(figures: dict[str, Any], bench: dict[str, Any] | None) -> list[Table]:
    """Quality beside cost of every system; compressed models against their parents where both were evaluated."""
    speed = {system["label"]: system for system in bench["systems"]} if bench else {}
    tables = [_method_table(figures, speed)]
    if parents := _parent_rows(figures, bench):
        headings = ["", "SI-SDR dB", "STOI", "PESQ-WB", "parameters kept", "RTF live, ratio", "quality, ratio", "mean"]
        tables.append(Table("Compressed against parent: paired mean [95% interval]", headings, parents))
    return tables


def runs_table(records: list[dict[str, Any]]) -> Table | None:
    """Every record: when, what, from which commit, with which command; None without records."""
    if not records:
        return None
    rows = [
        [
            r["kind"],
            r["time"][:19].replace("T", " "),
            (r["commit"] or "unknown")[:12],
            _scalars(r["figures"]),
            r["command"],
        ]
        for r in reversed(records)
    ]
    return Table("Runs on record, newest first", ["kind", "time, UTC", "commit", "figures", "command"], rows)


def highlights(figures: dict[str, Any], bench: dict[str, Any] | None) -> list[dict[str, str]]:
    """What a reader looks for first: {"title", "value", "text"} for the best of each measure."""
    tiles = []
    noisy = figures["summary"][NOISY]
    for title, name in (
        ("Largest SI-SDR gain", "si_sdr_gain"), ("Highest PESQ-WB", "pesq_wb"), ("Highest DNSMOS OVRL", "ovrl"),
    ):  # fmt: skip
        means = {s["label"]: figures["summary"][s["label"]][name]["mean"] for s in _compared(figures)}
        known = {label: mean for label, mean in means.items() if mean is not None}
        if known:
            label = max(known, key=lambda key: known[key])
            unit = " dB" if name == "si_sdr_gain" else ""
            before = "" if name == "si_sdr_gain" else f", noisy {format_figure(noisy[name]['mean'], name)}"
            tiles.append({"title": title, "value": format_figure(known[label], name) + unit, "text": label + before})
    live = {s["label"]: s["rtf_live"] for s in bench["systems"] if s["rtf_live"]} if bench else {}
    if live:
        label = min(live, key=lambda key: live[key])
        speed = f"RTF {live[label]:.4f}: {1 / live[label]:.0f} times faster than real time"
        tiles.append({"title": "Cheapest live, one thread", "value": label, "text": speed})
    return tiles


def _compared(figures: dict[str, Any]) -> list[dict[str, Any]]:
    return [system for system in figures["systems"] if system["kind"] != NOISY]


def _method_table(figures: dict[str, Any], speed: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for system in figures["systems"]:
        label, summary = system["label"], figures["summary"][system["label"]]
        quality = [format_figure(summary[name]["mean"], name) for name in _QUALITY]
        if system["kind"] == NOISY:
            rows.append([label, *quality, "", ""])
        else:
            rtf = speed.get(label, {}).get("rtf_live")
            cost = [_millions(system["parameters"]), MISSING if rtf is None else f"{rtf:.4f}"]
            rows.append([label, *quality, *cost])
    headings = ["method", "SI-SDR dB", "STOI", "PESQ-WB", "parameters", "RTF live"]
    return Table("Means over all recordings; real-time factor one hop at a time, one thread", headings, rows)


def _parent_rows(figures: dict[str, Any], bench: dict[str, Any] | None) -> list[list[str]]:
    systems = {system["label"]: system for system in _compared(figures)}
    ratios = {(r["first"], r["second"]): r["live"]["mean"] for r in bench["ratios"]} if bench else {}
    rows = []
    for label, system in systems.items():
        parent = label.replace(label.split(",")[0], str(system["parent"]), 1)
        if parent not in systems:
            continue
        difference = paired_figures(figures["rows"], label, parent)
        kept = _ratio(system["parameters"], systems[parent]["parameters"])
        ratio = ratios.get((label, parent)) or _ratio(1, ratios.get((parent, label)))
        gains = [figures["summary"][name]["si_sdr_gain"]["mean"] for name in (parent, label)]
        quality = quality_ratio(*gains)
        mean = plain_mean({"parameters": kept, "latency": ratio, "quality": quality})
        rows.append(
            [f"{label} - {parent}"]
            + [format_interval(difference[name], name, signed=True) for name in _QUALITY]
            + [MISSING if kept is None else f"{kept:.1%}"]
            + [MISSING if value is None else f"{value:.3f}" for value in (ratio, quality, mean)]
        )
    return rows


def _ratio(first: float | None, second: float | None) -> float | None:
    return first / second if first and second else None


def _millions(count: int | None) -> str:
    return MISSING if count is None else f"{count / 1e6:.3f}M"


def _scalars(figures: dict[str, Any]) -> str:
    """The single numbers at the top of a record's figures, those of an evaluation or a bench being tables."""
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    return ", ".join(f"{name} {value:.4g}" for name, value in list(numbers.items())[:6])
