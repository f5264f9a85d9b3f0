"""The report: one page that holds everything, with Markdown, CSV and JSON beside it, drawn from records of runs."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure.quality import EvaluationOptions, run_evaluation
from quietmic.enhance.measure.recordings import RECORDINGS, find_recordings
from quietmic.enhance.measure.records import read_records
from quietmic.enhance.measure.speed import run_bench
from quietmic.enhance.measure.speed_tables import bench_markdown, bench_tables, machine_text
from quietmic.enhance.measure.summary import input_snr_db
from quietmic.enhance.measure.systems import NOISY, System, recall_system
from quietmic.enhance.measure.tables import (
    HEADINGS,
    Table,
    detail_tables,
    evaluation_tables,
    format_figure,
    leading_tables,
    markdown,
    write_csv,
)
from quietmic.enhance.progress import Progress
from quietmic.enhance.report.answer import find_answer
from quietmic.enhance.report.listening import colour_name, listening_card
from quietmic.enhance.report.pages import render, script_json
from quietmic.enhance.report.tables import comparison_tables, highlights, runs_table

logger = logging.getLogger(__name__)

BENCH_SECONDS = 5.0
ROW_COLUMNS = ("si_sdr", "si_sdr_gain", "stoi", "estoi", "pesq_wb", "pesq_nb", "sig", "bak", "ovrl")
# Quality on one axis, cost on the other: name -> title, for the chart's menus.
QUALITY_AXES = {
    "pesq_wb": "PESQ-WB", "si_sdr_gain": "SI-SDR gain, dB", "stoi": "STOI", "estoi": "ESTOI", "ovrl": "DNSMOS OVRL",
    "sig": "DNSMOS SIG", "bak": "DNSMOS BAK",
}  # fmt: skip
COST_AXES = {
    "rtf_live": "Real-time factor, live, one thread", "rtf_files": "Real-time factor in files, one thread",
    "parameters": "Parameters", "macs_per_second": "Multiply-accumulates per second of audio",
    "bytes": "File size, bytes",
}  # fmt: skip


def write_report(
    evaluation: dict[str, Any], bench: dict[str, Any] | None, path: Path, records: Path
) -> list[Path]:  # fmt: skip
    """Writes the page and its Markdown, CSV and JSON.

    Args:
        evaluation: a record of `evaluate`.
        bench: a record of `bench` that covers the systems; None where speed is not known.
        path: of the HTML; the others get its name with .md, .csv and .json.
        records: folder of records, which the page lists.

    Returns:
        The files written.
    """
    runs = runs_table(read_records(records))
    figures = evaluation["figures"]
    tables = comparison_tables(figures, bench["figures"] if bench else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = render(
        "report.html",
        evaluation=evaluation,
        minutes=sum(row["seconds"] for row in figures["rows"] if row["system"] == NOISY) / 60,
        answer=find_answer(figures, bench),
        unfinished=figures.get("unfinished", 0),
        highlights=highlights(figures, bench["figures"] if bench else None),
        tables=tables,
        kinds={system["label"]: colour_name(system["kind"], system) for system in figures["systems"]},
        leading_tables=leading_tables(figures),
        detail_tables=detail_tables(figures),
        bench_tables=bench_tables(bench["figures"]) if bench else [],
        machine=machine_text(bench) if bench else None,
        cards=_cards(evaluation),
        runs=runs,
        quality_axes=QUALITY_AXES,
        cost_axes=COST_AXES,
        data=script_json(script_data(figures, bench)),
        stem=path.stem,
    )
    path.write_text(page, encoding="utf-8")
    text = _markdown(evaluation, bench, tables, runs)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(figures["rows"], path.with_suffix(".csv"))
    write_json({"evaluation": evaluation, "bench": bench}, path.with_suffix(".json"))
    return [path, *(path.with_suffix(suffix) for suffix in (".md", ".csv", ".json"))]


def latest_evaluation(records: Path) -> dict[str, Any] | None:
    """The newest record of an evaluation, None where there is none."""
    found = read_records(records, "evaluate")
    return found[-1] if found else None


def _matching_bench(evaluation: dict[str, Any], records: Path) -> dict[str, Any] | None:
    """The newest bench that timed every system of the evaluation, in the same version."""
    wanted = {(s["label"], s["fingerprint"]) for s in evaluation["figures"]["systems"] if s["kind"] != NOISY}
    for record in reversed(read_records(records, "bench")):
        if wanted <= {(system["label"], system["fingerprint"]) for system in record["figures"]["systems"]}:
            return record
    return None


def _find_bench(evaluation: dict[str, Any], records: Path, progress: Progress) -> dict[str, Any] | None:
    """The newest bench that fits, else a short new one; None where no system of the evaluation is there any more."""
    if found := _matching_bench(evaluation, records):
        return found
    described = [system for system in evaluation["figures"]["systems"] if system["kind"] != NOISY]
    systems = [system for entry in described if (system := recall_system(entry))]
    return run_bench(systems, BENCH_SECONDS, None, records, progress=progress) if systems else None


def script_data(figures: dict[str, Any], bench: dict[str, Any] | None) -> dict[str, Any]:
    """What the page's script draws from: a point for each system, a row for each file and system."""
    speed = {system["label"]: system for system in bench["figures"]["systems"]} if bench else {}
    points = []
    for system in figures["systems"]:
        if system["kind"] != NOISY:
            timed = speed.get(system["label"], {})
            quality = {name: figures["summary"][system["label"]][name]["mean"] for name in QUALITY_AXES}
            cost = {name: timed.get(name, system.get(name)) for name in COST_AXES}
            facts = {"label": system["label"], "kind": colour_name(system["kind"], system), "parent": system["parent"]}
            points.append(facts | {"n_mics": system["n_mics"]} | quality | cost)
    names = ("scene", "system", "noise", "snr_db", "seconds", *ROW_COLUMNS)
    # The script draws the column of input SNRs as numbers.
    rows = [{name: row.get(name) for name in names} | {"snr_db": input_snr_db(row)} for row in figures["rows"]]
    columns: list[dict[str, Any]] = [{"name": "scene", "title": "recording"}, {"name": "system", "title": "system"}]
    if any(row["noise"] is not None for row in rows):
        columns.append({"name": "noise", "title": "noise"})
    if any(row["snr_db"] is not None for row in rows):
        columns.append({"name": "snr_db", "title": "input SNR dB", "decimals": 1})
    columns += [{"name": n, "title": HEADINGS[n][0], "decimals": HEADINGS[n][1]} for n in ROW_COLUMNS]
    return {"points": points, "rows": rows, "columns": columns}


def _cards(evaluation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Best, median and worst recording of the best model, to hear beside the best peer; none if the data are gone."""
    figures = evaluation["figures"]
    measure = "si_sdr_gain" if figures["summary"][NOISY]["si_sdr"]["n"] else "ovrl_gain"
    chosen = [label for kind in ("model", "peer") if (label := _best_system(figures, kind, measure))]
    try:
        recordings = {recording.name: recording for recording in find_recordings(Path(evaluation["data"]))}
    except QuietmicError:
        return []
    described = {system["label"]: system for system in figures["systems"]}
    systems = [system for label in chosen if (system := recall_system(described[label]))]
    if not systems:
        return []
    by_system = {(row["scene"], row["system"]): row for row in figures["rows"]}
    rows = [row for row in figures["rows"] if row["system"] == systems[0].label and row[measure] is not None]
    rows = sorted((row for row in rows if row["scene"] in recordings), key=lambda row: -row[measure])
    picks = dict(zip(("Best", "Median", "Worst"), (0, len(rows) // 2, len(rows) - 1), strict=True)) if rows else {}
    cards = []
    for title, index in picks.items():
        name = rows[index]["scene"]
        texts = {label: _caption(by_system[name, label]) for label in (NOISY, *chosen) if (name, label) in by_system}
        cards.append((title, listening_card(recordings[name], systems, figures=texts)))
    return cards


def _best_system(figures: dict[str, Any], kind: str, measure: str) -> str | None:
    means = {
        system["label"]: figures["summary"][system["label"]][measure]["mean"]
        for system in figures["systems"]
        if system["kind"] == kind
    }
    known = {label: mean for label, mean in means.items() if mean is not None}
    return max(known, key=lambda label: known[label]) if known else None


def _caption(row: dict[str, Any]) -> str:
    parts = [(row["si_sdr"], "si_sdr", " dB"), (row["pesq_wb"], "pesq_wb", " PESQ"), (row["ovrl"], "ovrl", " OVRL")]
    return ", ".join(format_figure(value, name) + unit for value, name, unit in parts if value is not None)


def _markdown(evaluation: dict[str, Any], bench: dict[str, Any] | None, tables: list[Table], runs: Table | None) -> str:
    head = [
        "# Report",
        f"Data: `{evaluation['data']}` (SHA-256 {evaluation['data_sha256'][:16]}); measured {evaluation['time'][:19]} "
        f"at commit {evaluation['commit'] or 'unknown'} by `{evaluation['command']}`",
    ]
    parts = ["\n\n".join(head), markdown(tables), "## Quality", markdown(evaluation_tables(evaluation["figures"]))]
    if bench:
        parts += ["## Speed", bench_markdown(bench)]
    if runs:
        parts += ["## Runs", markdown([runs])]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def run_report(
    folder: Path | None, choose: Callable[[], list[System]], path: Path, options: EvaluationOptions
) -> list[Path]:
    """Evaluates and times what is missing, then writes the page with its tables.

    A run that is stopped, by an interrupt or by a signal that ends the process, writes the page of what it has and then
    ends as it was told to.

    Args:
        folder: evaluated first (finished results come from the cache); None for the newest record there is, and
            where there is none, the recordings of quietmic.
        choose: gives what is evaluated; called only when something is.
        path: of the page.
        options: how it is evaluated, and the folder of the records.

    Returns:
        The files written.
    """
    evaluation = None if folder else latest_evaluation(options.records)
    systems = [] if evaluation else choose()
    try:
        evaluation = evaluation or _evaluate(folder or RECORDINGS, systems, options)
        bench = _find_bench(evaluation, options.records, options.progress)
    except (KeyboardInterrupt, SystemExit):
        evaluation = evaluation or _evaluate(folder or RECORDINGS, systems, replace(options, only_cached=True))
        if evaluation["figures"]["rows"]:
            write_report(evaluation, _matching_bench(evaluation, options.records), path, options.records)
            logger.warning("stopped; %s holds what was measured until then", path)
        raise
    return write_report(evaluation, bench, path, options.records)


def _evaluate(folder: Path, systems: list[System], options: EvaluationOptions) -> dict[str, Any]:
    run_evaluation(folder, systems, options)
    return read_records(options.records, "evaluate")[-1]
