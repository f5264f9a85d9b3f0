"""The commands that make networks small: `compress`, `compare-criteria` and `sweep`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietmic.cli.options import FiniteRange, cluster_options, folder_in, gather, json_option, path_type
from quietmic.cli.sources import sources_options

if TYPE_CHECKING:
    from quietmic.compression.cost import Budget
    from quietmic.compression.enhancer.make import Made
    from quietmic.compression.enhancer.request import Request
    from quietmic.enhance.cluster.connect import Cluster
    from quietmic.models.training.sources import Sources

SCALES = {"k": 1e3, "m": 1e6, "g": 1e9}


def parse_amount(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A number with an optional k, M or G: "0.81M" -> 810000."""
    if value is None:
        return None
    scale = SCALES.get(value[-1:].lower(), 1.0)
    try:
        amount = float(value[:-1] if scale != 1.0 else value) * scale
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount):
        raise click.BadParameter(f"'{value}' is no amount: write 810000, 810k or 0.81M")
    return amount


def parse_seeds(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers from a list such as "0,1"."""
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("give whole numbers with commas between them") from None


def make_budget(params: float | None, macs: float | None, rtf: float | None) -> "Budget | None":
    """The budgets of the options; where several are given, all must hold."""
    from quietmic.compression.cost import Budget

    budget: Budget | None = None
    for kind, value in (("params", params), ("macs", macs), ("rtf", rtf)):
        if value is not None:
            budget = Budget(kind, value, budget)
    return budget


def make_request(model: str, recipe: Path, budget: "Budget | None", board: str | None, sources: "Sources") -> "Request":
    """Parent, recipe, budget and data; tells whether the board's costs were measured."""
    from quietmic.compression.enhancer import request
    from quietmic.devices.board import find_board

    hop_seconds = None
    if board:
        cost = find_board(board).cost
        click.echo(f"{board}: costs {'measured' if cost.measured else 'estimated, not measured'}", err=True)
        hop_seconds = cost.hop_seconds
    return request.make_request(model, recipe, budget, sources, hop_seconds)


budget_options = gather(
    "budget", make_budget,
    click.option("--params", callback=parse_amount, metavar="N", help="Budget of parameters, as in 0.81M."),
    click.option(
        "--macs", callback=parse_amount, metavar="N",
        help="Budget of multiply-accumulates per second of audio, as in 50M.",
    ),
    click.option(
        "--rtf", type=FiniteRange(), help="Budget of real-time factor on --board, or measured on this machine."
    ),
)  # fmt: skip
request_options = gather(
    "request", make_request,
    click.option("--model", required=True, help="Parent: a name of the catalogue, or a checkpoint (.pt)."),
    click.option("--recipe", type=path_type, required=True, help="TOML file; see recipes/."),
    budget_options,
    click.option("--board", help="Board whose cost table predicts the real-time factor; see `board`."),
    sources_options(),
)  # fmt: skip
scenes_option = click.option("--scenes", type=folder_in, help="Scenes folder to measure on.")
rows_option = click.option("-o", "--out", type=path_type, required=True, help="Folder; rows there are kept.")
seeds_option = click.option(
    "--seeds", callback=parse_seeds, default="0", show_default=True, metavar="N,N", help="A row for each."
)


@click.command(short_help="Make a trained enhancer smaller by a recipe.")
@request_options
@scenes_option
@click.option("-o", "--out", type=path_type, required=True, help="The .onnx file; goes on if stopped.")
@click.option("--name", help="Of the model; begins with its family. Default: family and recipe.")
@click.option("--list", "list_it", is_flag=True, help="Enter it and its int8 form in the index.json beside it.")
@click.option("--dry-run", is_flag=True, help="Only predict parameters, MACs and RTF.")
@json_option
def compress(
    request: "Request", scenes: Path | None, out: Path, name: str | None, list_it: bool, dry_run: bool,
    json_path: str | None,
) -> None:  # fmt: skip
    """Make a trained enhancer smaller by a recipe: decide, cut, fine-tune, factor, export, quantise, measure."""
    from quietmic.cli.bar import progress_bar
    from quietmic.cli.output import put_json
    from quietmic.compression.enhancer.make import make_enhancer
    from quietmic.compression.enhancer.request import predict_costs

    if dry_run:
        rows = predict_costs(request)
        put_json(rows, json_path) if json_path else show_prediction(rows)
        return
    with progress_bar() as bar:
        made = make_enhancer(request, out, name, scenes, list_it, bar)
    show_steps(made, out, err=json_path is not None)
    if json_path:
        put_json(made.figures, json_path)


def show_prediction(rows: dict[str, Any]) -> None:
    """Costs of the parent and after the cut."""
    from quietmic.compression.cost import Budget

    for note in rows["notes"]:
        click.echo(note, err=True)
    for name in ("parent", "cut"):
        if name in rows:
            click.echo(f"{name:12} " + "  ".join(str(Budget(kind, value)) for kind, value in rows[name].items()))


def show_steps(made: "Made", out: Path, err: bool) -> None:
    """What each step gave, and where the model and its record are."""
    for step in made.result.steps:
        click.echo(
            f"{step.name:24} {step.parameters / 1e6:7.3f}M  {step.macs_per_second / 1e6:9.1f}M MACs/s  "
            f"loss {step.loss:.4f}  {step.seconds:.0f} s  {'; '.join(step.notes)}", err=err,
        )  # fmt: skip
    for form, file in made.figures["files"].items():
        predicted = made.figures["rtf_predicted"]
        told = f", {predicted:.4f} predicted for float32" if predicted else ""
        click.echo(f"{form}: RTF {file['rtf']:.4f}{told}", err=err)
        known = {name: value for name, value in file["ratios"].items() if value is not None}
        click.echo(f"{form} over its parent: {', '.join(f'{k} {v:.3f}' for k, v in known.items())}", err=err)
    click.echo(f"{out}\n{made.record}", err=err)


@click.command("compare-criteria", short_help="Compress by every criterion at one budget.")
@cluster_options
@request_options
@scenes_option
@rows_option
@click.option("--criteria", default="", help="Names with commas between them; default: all.")
@seeds_option
@json_option
def compare_criteria(
    request: "Request", scenes: Path | None, out: Path, criteria: str, seeds: tuple[int, ...],
    cluster: "Cluster | None", json_path: str | None,
) -> None:  # fmt: skip
    """Compress a parent by every criterion at one budget and with as many batches each: a table."""
    from quietmic.cli.bar import progress_bar
    from quietmic.compression.enhancer import tables

    chosen = [name for name in criteria.split(",") if name]
    with progress_bar() as bar:
        path = tables.compare_criteria(request, chosen, seeds, scenes, out, cluster, bar)
    show_table(path, json_path)


@click.command(short_help="Compress with one setting changed step by step.")
@request_options
@scenes_option
@rows_option
@click.option(
    "--over",
    type=click.Choice(["r", "beta", "thresh", "share", "ratios"]),
    required=True,
    metavar="NAME",
    help="What changes: r, beta, thresh, share or ratios.",
)
@click.option("--values", required=True, metavar="X,X", help="Those it takes.")
@seeds_option
@json_option
def sweep(
    request: "Request", scenes: Path | None, out: Path, over: str, values: str, seeds: tuple[int, ...],
    json_path: str | None,
) -> None:  # fmt: skip
    """Compress a parent with one setting changed step by step: a table and curves."""
    from quietmic.cli.bar import progress_bar
    from quietmic.compression.enhancer import tables

    with progress_bar() as bar:
        path = tables.sweep(request, over, values.split(","), seeds, scenes, out, bar)
    show_table(path, json_path)


def show_table(path: Path, json_path: str | None) -> None:
    """The table of a Markdown file, or the figures beside it as JSON."""
    import json

    from quietmic.cli.output import put_json

    if json_path:
        put_json(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), json_path)
    else:
        click.echo(path.read_text(encoding="utf-8"))
