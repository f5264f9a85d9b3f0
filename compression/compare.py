"""Tables of rivals at equal budget, and curves over one setting: many compressions of one parent, resumable."""

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from quietmic.compression.cost import Budget
from quietmic.compression.criteria.table import find_criterion
from quietmic.compression.recipe import Recipe
from quietmic.compression.result import CompressionResult
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.statistics import paired_difference, summarise
from quietmic.enhance.measure.tables import format_interval

SWEEPS = ("r", "beta", "thresh", "share", "ratios")
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student, two-sided, 1 to 9 degrees of freedom


@dataclass(frozen=True)
class Row:
    """One compression in a table."""

    label: str  # criterion, or value of what is swept
    seed: int
    figures: dict[str, float]
    notes: tuple[str, ...] = ()
    scenes: dict[str, list[float | None]] = field(default_factory=dict)  # those figures that are means over scenes


def for_criterion(recipe: Recipe, name: str, seed: int) -> Recipe:
    """The recipe with another criterion and as many batches in all: without gates to learn, it fine-tunes longer."""
    prune, tune = recipe.prune, recipe.finetune
    if not find_criterion(name).trains:
        tune = replace(tune, steps=tune.steps + prune.steps)
    return replace(recipe, prune=replace(prune, criterion=name), finetune=tune, seed=seed, name=name)


def for_value(recipe: Recipe, over: str, value: str) -> Recipe:
    """The recipe with one setting changed.

    Args:
        over: "r" (fraction of units that stays), "beta", "thresh", "share" (of the budget, for low rank) or "ratios".
        value: as in a recipe; a number but for "ratios".

    Raises:
        QuietmicError: nothing else can be swept over, no number, or the recipe has nothing that it could belong to.
    """
    if over not in SWEEPS:
        raise QuietmicError(f"cannot sweep over '{over}': one of {', '.join(SWEEPS)}", exit_code=2)
    if over == "ratios":
        return replace(recipe, prune=replace(recipe.prune, ratios=value))
    try:
        number = float(value)
    except ValueError:
        raise QuietmicError(f"cannot sweep over {over} with '{value}': give numbers", exit_code=2) from None
    if over == "r":
        prune = replace(recipe.prune, keep=number, ratios="uniform")
        return replace(recipe, budget=Budget("units", number), prune=prune)
    if over == "beta":
        if not recipe.learns_gates:
            raise QuietmicError(
                f"'{recipe.prune.criterion}' has no gates: beta is swept with influence or autopruner", exit_code=2
            )
        return replace(recipe, prune=replace(recipe.prune, beta=number))
    if over == "share":
        return replace(recipe, lowrank=replace(recipe.lowrank, share=number, by="budget"))
    return replace(recipe, lowrank=replace(recipe.lowrank, thresh=number, by="thresh"))


Run = Callable[[Recipe], CompressionResult]
Judged = dict[str, float | list[float | None]]  # a list holds one figure for each scene; what counts is its mean
Judge = Callable[[nn.Module], Judged]


def row_path(folder: Path, label: str, recipe: Recipe, identity: Mapping[str, Any]) -> Path:
    """File of a row; its name tells apart all that the row depends on."""
    depends = {"recipe": recipe.to_dict(), **identity}
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{label}-{recipe.seed}-{key}.json"


def run_rows(
    recipes: Sequence[tuple[str, Recipe]], run: Run, judge: Judge, folder: Path | None = None,
    identity: Mapping[str, Any] | None = None,
) -> list[Row]:  # fmt: skip
    """Compresses and judges recipe after recipe; rows that the folder already holds are read from it.

    Args:
        recipes: label and recipe of each row.
        run: compresses the parent by a recipe.
        judge: figures of a network.
        identity: what rows depend on beside their recipe (parent, data, scenes), as plain values; finished rows of
            another identity are not taken.
    """
    rows = []
    for label, recipe in recipes:
        path = row_path(folder, label, recipe, identity or {}) if folder else None
        if path and path.exists():
            values = json.loads(path.read_text())
            scenes = values.get("scenes", {})  # which rows of before do not have
            row = Row(values["label"], values["seed"], values["figures"], tuple(values["notes"]), scenes)
        else:
            row = _judged(label, recipe, run(recipe), judge)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_suffix(".part").write_text(json.dumps(asdict(row), indent=1))
                path.with_suffix(".part").rename(path)
        rows.append(row)
    return rows


def _judged(label: str, recipe: Recipe, result: CompressionResult, judge: Judge) -> Row:
    last, judged = result.steps[-1], judge(result.model)
    figures = {"parameters": float(last.parameters), "macs_per_second": last.macs_per_second}
    scenes = {name: value for name, value in judged.items() if isinstance(value, list)}
    for name, value in judged.items():
        mean = summarise(value)["mean"] if isinstance(value, list) else value
        figures[name] = math.nan if mean is None else mean
    notes = tuple(note for step in result.steps for note in step.notes)
    return Row(label, recipe.seed, figures, notes, scenes)


def paired(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """What each label has over the first one: label -> figure -> summary of the differences over scenes.

    In each scene the seeds are averaged first, so that the interval is that of the scenes. Labels without figures of
    the same scenes are left out.
    """
    means: dict[str, dict[str, list[float | None]]] = {}
    for label in dict.fromkeys(row.label for row in rows):
        mine = [row.scenes for row in rows if row.label == label]
        means[label] = {
            name: [summarise(values)["mean"] for values in zip(*(scenes[name] for scenes in mine), strict=True)]
            for name in mine[0] if all(name in scenes for scenes in mine)
        }  # fmt: skip
    first = next(iter(means.values()))
    return {
        label: {name: paired_difference(values, first[name]) for name, values in own.items() if name in first}
        for label, own in list(means.items())[1:] if own and first
    }  # fmt: skip


def summary(rows: Sequence[Row]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and half of the 95% interval (Student) over seeds: label -> figure -> (mean, half); NaN with one seed."""
    result: dict[str, dict[str, tuple[float, float]]] = {}
    for label in dict.fromkeys(row.label for row in rows):
        mine = [row for row in rows if row.label == label]
        result[label] = {}
        for name in mine[0].figures:
            values = [row.figures[name] for row in mine]
            half = math.nan
            if len(values) > 1:
                half = T_95[min(len(values) - 2, len(T_95) - 1)] * statistics.stdev(values) / math.sqrt(len(values))
            result[label][name] = (statistics.fmean(values), half)
    return result


def to_markdown(rows: Sequence[Row], first: str = "criterion") -> str:
    """The summary as a table, notes below."""
    table = summary(rows)
    names = list(next(iter(table.values())))
    lines = [f"| {first} | " + " | ".join(names) + " | seeds |", "|---" * (len(names) + 2) + "|"]
    for label, figures in table.items():
        cells = []
        for name in names:
            mean, half = figures[name]
            text = f"{mean:,.0f}" if name in ("parameters", "macs_per_second") else f"{mean:.4g}"
            cells.append(text if math.isnan(half) or half == 0 else f"{text} ± {half:.2g}")
        seeds = sum(row.label == label for row in rows)
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {seeds} |")
    lines += _paired_lines(paired(rows), rows[0].label, first)
    notes = {row.label: row.notes for row in rows if row.notes}
    lines += ["", *(f"- {label}: {'; '.join(dict.fromkeys(said))}" for label, said in notes.items())] if notes else []
    return "\n".join(lines) + "\n"


def _paired_lines(differences: dict[str, dict[str, dict[str, Any]]], against: str, first: str) -> list[str]:
    """The differences against the first label as a table, below the means."""
    if not differences:
        return []
    names = list(next(iter(differences.values())))
    n_scenes = next(iter(differences.values()))[names[0]]["n"]
    lines = [
        "", f"Against {against}, paired over {n_scenes} scenes, means over the seeds [95% bootstrap interval over "
        "scenes]:", "", f"| {first} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|",
    ]  # fmt: skip
    return lines + [
        f"| {label} | " + " | ".join(format_interval(own[name], name, signed=True) for name in names) + " |"
        for label, own in differences.items()
    ]


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain values of all rows."""
    return [asdict(row) for row in rows]
