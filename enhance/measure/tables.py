"""Results as text: Markdown for people, CSV for spreadsheets. "not measured" wherever a figure is missing."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietmic.enhance.measure.recognition import WORD_ERROR
from quietmic.enhance.measure.summary import paired_figures
from quietmic.enhance.measure.systems import NOISY
from quietmic.enhance.measure.wideband import WIDEBAND_NAMES

MISSING = "not measured"
# name -> (heading, decimals)
HEADINGS = {
    "si_sdr": ("SI-SDR dB", 2),
    "si_sdr_gain": ("SI-SDR gain dB", 2),
    "stoi": ("STOI", 4),
    "estoi": ("ESTOI", 4),
    "pesq_wb": ("PESQ-WB", 3),
    "pesq_nb": ("PESQ-NB", 3),
    "sig": ("SIG", 3),
    "bak": ("BAK", 3),
    "ovrl": ("OVRL", 3),
    "si_sdr_high": ("SI-SDR dB, 8-20 kHz", 2),
    "si_sdr_whole": ("SI-SDR dB, whole band", 2),
    "lsd_high": ("LSD dB, 8-20 kHz", 2),
    "lsd_whole": ("LSD dB, whole band", 2),
    WORD_ERROR: ("word error", 3),
    "stoi_gain": ("STOI gain", 4),
    "pesq_wb_gain": ("PESQ-WB gain", 3),
    "ovrl_gain": ("OVRL gain", 3),
}
SUMMARY_COLUMNS = ("si_sdr", "si_sdr_gain", "stoi", "estoi", "pesq_wb", "pesq_nb", "sig", "bak", "ovrl")
SHORT_COLUMNS = ("si_sdr", "stoi", "pesq_wb", "ovrl")
SHORT_ROWS = 10
SPLIT_COLUMNS = ("si_sdr_gain", "pesq_wb", "stoi", "ovrl")
PAIRED_COLUMNS = ("si_sdr", "stoi", "pesq_wb", "ovrl")
SPLIT_TITLES = {
    "snr_db": "input SNR",
    "noise": "noise class, a recording counting in each of its own",
    "n_mics": "microphones in the scene",
}


def format_figure(value: float | None, name: str, signed: bool = False) -> str:
    """A figure with the decimals of its kind, or "not measured"."""
    if value is None:
        return MISSING
    decimals = HEADINGS[name][1]
    rounded = round(value, decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:+.{decimals}f}" if signed or name.endswith("_gain") else f"{rounded:.{decimals}f}"


def format_interval(summary: dict[str, Any], name: str, signed: bool = False) -> str:
    """Mean with its 95% interval in brackets."""
    mean = format_figure(summary["mean"], name, signed)
    if summary["low"] is None:
        return mean
    return f"{mean} [{format_figure(summary['low'], name, signed)}, {format_figure(summary['high'], name, signed)}]"


@dataclass(frozen=True)
class Table:
    """A table of texts, for Markdown and for pages.

    Attributes:
        title: what it shows.
        headings: of the columns; the first column holds names.
        rows: cells; an interval stands in brackets behind its mean.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Title and table; the first column to the left, the others to the right."""
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = ["| " + " | ".join(map(_cell, cells)) + " |" for cells in [self.headings, rule, *self.rows]]
        return f"{self.title}\n\n" + "\n".join(lines)


def _cell(text: str) -> str:
    """Names come from manifests: what would begin another cell or line is no part of the table."""
    return " ".join(text.split()).replace("|", "\\|")


def markdown(tables: list[Table]) -> str:
    """All tables one below the other."""
    return "\n\n".join(table.markdown() for table in tables) + "\n"


def evaluation_tables(result: dict[str, Any]) -> list[Table]:
    """An evaluation as tables: means with intervals, medians, splits and paired differences."""
    return leading_tables(result) + detail_tables(result)


def leading_tables(result: dict[str, Any]) -> list[Table]:
    """What is read first: the best of many systems, the means, and what there is to reach."""
    return [*_short_table(result), *summary_tables(result)]


def detail_tables(result: dict[str, Any]) -> list[Table]:
    """What is looked up: medians, splits and paired differences."""
    tables = [_median_table(result)]
    for fact, groups in result["splits"].items():
        tables += [_split_table(fact, groups, name) for name in SPLIT_COLUMNS]
    if result["paired"]:
        tables.append(_paired_table(result["paired"]))
    return tables


def _short_table(result: dict[str, Any]) -> list[Table]:
    """The best of many systems at a glance, with the fewest microphones; none where all are few."""
    systems = [system for system in result["systems"] if system["kind"] != NOISY]
    if len(systems) < SHORT_ROWS:
        return []
    fewest = min(system["n_mics"] for system in systems)
    means = {name: {column: part["mean"] for column, part in each.items()} for name, each in result["summary"].items()}
    labels = [system["label"] for system in systems if system["n_mics"] == fewest]
    best = sorted(labels, key=lambda label: -(means[label]["pesq_wb"] or 0.0))[: SHORT_ROWS - 1]
    rows = [
        [name, *(format_figure(means[name][column], column) for column in SHORT_COLUMNS)] for name in [NOISY, *best]
    ]
    title = f"At a glance, {fewest} microphone{'s' * (fewest > 1)}: noisy, and the {len(best)} of the highest PESQ-WB"
    return [Table(title, _headings(SHORT_COLUMNS), rows)]


def summary_table(result: dict[str, Any]) -> Table:
    """Means with intervals, and how many recordings they stand on; SIG, BAK and OVRL are those of DNSMOS."""
    n_scenes = len({row["scene"] for row in result["rows"]})
    n_skipped = len(result.get("skipped", []))
    left_out = f" ({n_skipped} bad ones left out)" if n_skipped else ""
    return _table_of_means(f"{n_scenes} recordings{left_out}: mean [95% bootstrap interval]", result["summary"])


def _table_of_means(title: str, summary: dict[str, Any]) -> Table:
    rows = [
        [name, count_files(figures), *(format_interval(figures[column], column) for column in SUMMARY_COLUMNS)]
        for name, figures in summary.items()
    ]
    return Table(title, ["", "files", *_headings(SUMMARY_COLUMNS)[1:]], rows)


def summary_tables(result: dict[str, Any]) -> list[Table]:
    """The means, what they could be, and those of the band above 8 kHz and of words where they were measured."""
    measured = {
        system: figures for system, figures in result["summary"].items() if figures.get("lsd_whole", {}).get("n")
    }
    rows = [
        [system, str(figures["lsd_whole"]["n"]), *(format_interval(figures[name], name) for name in WIDEBAND_NAMES)]
        for system, figures in measured.items()
    ]
    table = Table(
        "Recordings above 16 kHz: mean [95% bootstrap interval]", ["", "files", *_headings(WIDEBAND_NAMES)[1:]], rows
    )
    wide = [table] if rows else []
    return [summary_table(result), *_ceiling_table(result), *wide, *_word_table(result)]


def _word_table(result: dict[str, Any]) -> list[Table]:
    """Word error of the recordings, noisy and enhanced, what each changes, and what there is to reach; if measured."""
    if not result["summary"].get(NOISY, {}).get(WORD_ERROR, {}).get("n"):
        return []
    rows = []
    for system, figures in (result["summary"] | result.get("ceilings", {})).items():
        errors = figures[WORD_ERROR]
        changed = system in result["summary"] and system != NOISY
        change = paired_figures(result["rows"], system, NOISY)[WORD_ERROR] if changed else None
        told = format_interval(change, WORD_ERROR, signed=True) if change else ""
        rows.append([system, str(errors["n"]), format_interval(errors, WORD_ERROR), told])
    title = "Word error of a recogniser, errors for each word said: mean [95% bootstrap interval]"
    return [Table(title, ["", "files", HEADINGS[WORD_ERROR][0], "against noisy"], rows)]


def _ceiling_table(result: dict[str, Any]) -> list[Table]:
    """What a perfect system would score, and one that leaves the room's echo; those of which a measure is known."""
    ceilings = {
        name: figures
        for name, figures in result.get("ceilings", {}).items()
        if any(figures[column]["n"] for column in SUMMARY_COLUMNS)
    }
    return [_table_of_means("What there is to reach: mean [95% bootstrap interval]", ceilings)] if ceilings else []


def count_files(figures: dict[str, Any]) -> str:
    """How many files a system's figures stand on, and how many of them lack one of the measures."""
    n_files = max(figures[name]["n"] + figures[name]["missing"] for name in SUMMARY_COLUMNS)
    n_lacking = max((figures[name]["missing"] for name in SUMMARY_COLUMNS if figures[name]["n"]), default=0)
    return f"{n_files}, {n_lacking} in part" if n_lacking else str(n_files)


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Rows with full precision, one line each; missing figures are empty cells, as spreadsheets expect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _headings(names: tuple[str, ...]) -> list[str]:
    return ["", *(HEADINGS[name][0] for name in names)]


def _median_table(result: dict[str, Any]) -> Table:
    rows = [
        [system, *(format_figure(figures[name]["median"], name) for name in SUMMARY_COLUMNS)]
        for system, figures in result["summary"].items()
    ]
    return Table("Median", _headings(SUMMARY_COLUMNS), rows)


def _split_table(fact: str, groups: dict[str, Any], name: str) -> Table:
    systems = list(dict.fromkeys(system for group in groups.values() for system in group))
    rows = []
    for group, figures in groups.items():
        n_files = max(summary[name]["n"] + summary[name]["missing"] for summary in figures.values())
        means = [figures[system][name]["mean"] if system in figures else None for system in systems]
        rows.append([group, str(n_files), *(format_figure(mean, name) for mean in means)])
    return Table(f"{HEADINGS[name][0]} by {SPLIT_TITLES[fact]}: mean", ["", "files", *systems], rows)


def _paired_table(pairs: list[dict[str, Any]]) -> Table:
    rows = [
        [f"{pair['first']} - {pair['second']}"]
        + [format_interval(pair["difference"][name], name, signed=True) for name in PAIRED_COLUMNS]
        for pair in pairs
    ]
    title = "Paired differences, first - second: mean [95% bootstrap interval]"
    return Table(title, _headings(PAIRED_COLUMNS), rows)
