"""The commands about speed: `bench` and `plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietmic.cli.options import (
    FiniteRange,
    gather,
    json_option,
    markdown_option,
    model_option,
    records_option,
    selection_options,
)

if TYPE_CHECKING:
    from quietmic.enhance.measure.systems import Selection

hours_type = FiniteRange(min=0, min_open=True)


def link_options(hidden: bool = False) -> Any:
    """Adds --cores and --link-mbit; the command gets them as the pair `machines`."""
    return gather(
        "machines", lambda cores, link_mbit: (cores, link_mbit),
        click.option(
            "--cores", type=click.IntRange(min=1), default=1, show_default=True, hidden=hidden, help="Cores to use."
        ),
        click.option(
            "--link-mbit", type=hours_type, default=1000, show_default=True, hidden=hidden,
            help="Bandwidth to the storage.",
        ),
    )  # fmt: skip


@click.command()
@selection_options
@click.option("--seconds", type=FiniteRange(min=1), default=20, show_default=True, help="Audio for each system.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads are tried from 1 to here; default: all cores.")
@click.option("--sessions", is_flag=True, help="Also count the callers that one core carries at once.")
@json_option
@markdown_option
@records_option
@gather(
    "archive",
    lambda plan_hours, machines: (plan_hours, machines),
    click.option(
        "--plan", "plan_hours", type=hours_type, metavar="HOURS", hidden=True, help="The same as `plan HOURS`."
    ),
    link_options(hidden=True),
)
def bench(
    selection: "Selection", seconds: float, threads: int | None, sessions: bool, json_path: str | None,
    markdown_path: Path | None, records: Path, archive: tuple[float | None, tuple[int, float]],
) -> None:  # fmt: skip
    """Time models and peers on this machine."""
    from quietmic.enhance.measure.speed import run_bench
    from quietmic.enhance.measure.systems import bench_systems

    hours, machines = archive
    if hours:
        cost_archive(hours, (selection.models or ("default",))[0], machines, json_path)
        return
    record = run_bench(bench_systems(selection), seconds, threads, records, sessions)
    show_bench(record, json_path, markdown_path)


def show_bench(record: dict[str, Any], json_path: str | None, markdown_path: Path | None) -> None:
    """Writes the files that were asked for, and the tables to the screen unless JSON goes there."""
    from quietmic.cli.output import put_json, put_text
    from quietmic.enhance.measure.speed_tables import bench_markdown

    text = bench_markdown(record)
    if markdown_path:
        put_text(text, markdown_path)
    if json_path:
        facts = {"machine": record["machine"], "versions": record["versions"], "record": record["path"]}
        put_json({**facts, **record["figures"]}, json_path)
    if json_path != "-":
        click.echo(f"{text}\nRecord: {record['path']}")


@click.command(short_help="Tell what enhancing an archive would cost.")
@click.argument("hours", type=hours_type)
@model_option
@link_options()
@json_option
def plan(hours: float, model: str, machines: tuple[int, float], json_path: str | None) -> None:
    """Cost of enhancing HOURS of audio, from the speed of this machine."""
    cost_archive(hours, model, machines, json_path)


def cost_archive(hours: float, model: str, machines: tuple[int, float], json_path: str | None) -> None:
    """Measures the throughput of a model and tells what an archive would cost on (cores, Mbit/s)."""
    from quietmic.cli.output import put_json
    from quietmic.enhance.catalogue import find_model
    from quietmic.enhance.measure import plan as planning

    figures = planning.plan(str(find_model(model)), hours, *machines)
    if json_path:
        put_json(figures, json_path)
    if json_path != "-":
        click.echo(planning.plan_text(figures))
