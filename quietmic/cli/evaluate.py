"""The command `evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietmic.cli.options import (
    check_text,
    cluster_options,
    evaluation_options,
    folder_in,
    json_option,
    markdown_option,
    path_type,
    selection_options,
)

if TYPE_CHECKING:
    from quietmic.enhance.measure.quality import EvaluationOptions
    from quietmic.enhance.measure.systems import Selection


@click.command(short_help="Measure the quality of models and peers.")
@click.argument("folder", type=path_type, required=False)
@click.option("--noisy", type=folder_in, help="Folder of noisy files, in place of FOLDER; with --clean.")
@click.option("--clean", type=folder_in, help="Folder of their clean files, under the same names.")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, and count them.")
@selection_options
@json_option
@click.option("--csv", "csv_path", type=path_type, callback=check_text, help="Write the figures of each file as CSV.")
@markdown_option
@evaluation_options(
    click.option("--asr", is_flag=True, help="Word error as well, where a manifest says what is said."),
    cluster_options,
)
def evaluate(
    folder: Path | None, noisy: Path | None, clean: Path | None, skip_bad: bool, selection: "Selection",
    how: "EvaluationOptions", json_path: str | None, csv_path: Path | None, markdown_path: Path | None,
) -> None:  # fmt: skip
    """Measure models and peers on FOLDER: noisy/clean pairs in any usual layout, or noisy files alone."""
    from dataclasses import replace

    from quietmic.cli.bar import progress_bar
    from quietmic.enhance.measure.quality import run_evaluation
    from quietmic.enhance.measure.systems import choose_systems

    data = folder or noisy
    if data is None or (folder and noisy) or (noisy is None) != (clean is None):
        raise click.UsageError("give a FOLDER, or --noisy and --clean")
    systems = choose_systems(selection)
    with progress_bar() as bar:
        record = run_evaluation(data, systems, replace(how, progress=bar, skip_bad=skip_bad), clean)
    write_files(record, json_path, csv_path, markdown_path)
    if json_path != "-":
        show_evaluation(record)


def write_files(
    record: dict[str, Any], json_path: str | None, csv_path: Path | None, markdown_path: Path | None
) -> None:
    """The files that were asked for."""
    from quietmic.cli.output import put_json, put_text
    from quietmic.enhance.measure.tables import evaluation_tables, markdown, write_csv

    result = record["figures"]
    if csv_path:
        write_csv(result["rows"], csv_path)
    if markdown_path:
        put_text(markdown(evaluation_tables(result)), markdown_path)
    if json_path:
        facts = {key: value for key, value in record.items() if key not in ("figures", "path")}
        put_json({**facts, **result, "record": record["path"]}, json_path)


def show_evaluation(record: dict[str, Any]) -> None:
    """The table of means, and where the record is."""
    from quietmic.enhance.measure.tables import markdown, summary_tables

    click.echo(f"{markdown(summary_tables(record['figures']))}\nRecord: {record['path']}")
