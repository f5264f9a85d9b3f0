"""What the rows of an evaluation come to: by system, by group of recordings, and between systems."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from quietmic.enhance.measure.metrics import METRIC_NAMES
from quietmic.enhance.measure.recognition import WORD_ERROR
from quietmic.enhance.measure.statistics import paired_difference, summarise
from quietmic.enhance.measure.systems import NOISY
from quietmic.enhance.measure.wideband import WIDEBAND_NAMES

GAIN_NAMES = ("si_sdr_gain", "pesq_wb_gain", "stoi_gain", "ovrl_gain")
PAIRED_NAMES = (*METRIC_NAMES, WORD_ERROR)
FIGURE_NAMES = (*METRIC_NAMES, *WIDEBAND_NAMES, WORD_ERROR, *GAIN_NAMES)
SPLIT_NAMES = ("si_sdr", "si_sdr_gain", "stoi", "pesq_wb", "ovrl")
_MAX_SNR_GROUPS = 8  # more distinct values of the input SNR than this are binned by 5 dB

Row = dict[str, Any]
Grouping = Callable[[Row], list[str]]


def summarise_rows(rows: list[Row]) -> dict[str, Any]:
    """{"summary", "splits", "paired"} of rows that hold `scene`, `system`, figures, and facts of the recording.

    Means of several systems run over the recordings that all of them could be measured on: a system gains nothing by
    what it leaves out. A system for which a figure was measured nowhere does not count for it.
    """
    everything = rows
    rows = _comparable(rows)
    summary = {name: _summary(group, (*FIGURE_NAMES, "pool_rtf")) for name, group in _by_system(rows).items()}
    groupings = {"snr_db": _snr_grouping(rows), "noise": _noise_classes, "n_mics": lambda row: [str(row["n_mics"])]}
    splits = {}
    for fact, grouping in groupings.items():
        groups = _group([row for row in rows if row.get(fact) not in (None, "")], grouping)
        if len(groups) > 1:
            splits[fact] = {
                name: {system: _summary(part, SPLIT_NAMES) for system, part in _by_system(group).items()}
                for name, group in sorted(groups.items(), key=lambda item: _sort_key(item[0]))
            }
    return {"summary": summary, "splits": splits, "paired": _paired(everything)}


def _comparable(rows: list[Row]) -> list[Row]:
    """The same rows, their figures None where another system's was not measured on the same recording."""
    kept = [dict(row) for row in rows]
    for name in FIGURE_NAMES:
        measured = {
            system: {row["scene"] for row in group if row[name] is not None}
            for system, group in _by_system(rows).items()
        }
        common = [scenes for scenes in measured.values() if scenes]
        shared = set.intersection(*common) if common else set()
        for row in kept:
            if row["scene"] not in shared:
                row[name] = None
    return kept


def paired_figures(rows: list[Row], first: str, second: str) -> dict[str, Any]:
    """Summaries of first - second by measure, over the scenes that both systems did."""
    other = {row["scene"]: row for row in rows if row["system"] == second}
    pairs = [(row, other[row["scene"]]) for row in rows if row["system"] == first and row["scene"] in other]
    return {name: paired_difference([a[name] for a, _ in pairs], [b[name] for _, b in pairs]) for name in PAIRED_NAMES}


def input_snr_db(row: Row) -> float | None:
    """The input SNR that a manifest states; None where it states none, or a word such as "n/a"."""
    value = row.get("snr_db")
    return value if isinstance(value, int | float) else None


def _paired(rows: list[Row]) -> list[dict[str, Any]]:
    """Every two systems, noisy aside."""
    names = [name for name in dict.fromkeys(row["system"] for row in rows) if name != NOISY]
    return [
        {"first": first, "second": second, "difference": paired_figures(rows, first, second)}
        for index, first in enumerate(names)
        for second in names[index + 1 :]
    ]


def _summary(rows: list[Row], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: summarise([row[name] for row in rows]) for name in names}


def _by_system(rows: list[Row]) -> dict[str, list[Row]]:
    return _group(rows, lambda row: [row["system"]])


def _group(rows: list[Row], grouping: Grouping) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for name in grouping(row):
            groups[name].append(row)
    return dict(groups)


def _noise_classes(row: Row) -> list[str]:
    """Classes of a recording's noises, "wind + wind + diffuse rain" being wind and rain: it counts once in each."""
    parts = (part.strip().removeprefix("diffuse ") for part in str(row["noise"]).split("+"))
    return list(dict.fromkeys(part for part in parts if part))


def _snr_grouping(rows: list[Row]) -> Grouping:
    binned = len({input_snr_db(row) for row in rows} - {None}) > _MAX_SNR_GROUPS

    def group(row: Row) -> list[str]:
        snr_db = input_snr_db(row)
        if snr_db is None:
            return []
        low = 5 * (snr_db // 5)
        return [f"{low:g} to {low + 5:g} dB" if binned else f"{snr_db:g} dB"]

    return group


def _sort_key(name: str) -> tuple[float, str]:
    try:
        return float(name.split()[0]), name
    except ValueError:
        return 0.0, name
