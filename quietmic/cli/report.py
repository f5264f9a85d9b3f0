"""The commands that write pages: `report` and `listen`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietmic.cli.options import evaluation_options, gather, path_type, selection_options

if TYPE_CHECKING:
    from quietmic.enhance.measure.quality import EvaluationOptions
    from quietmic.enhance.measure.systems import Selection


def scene_options(hidden: bool = False) -> Any:
    """Adds --count and --scene; the command gets them as the pair `chosen`."""
    return gather(
        "chosen", lambda count, names: (count, names),
        click.option(
            "--count", type=click.IntRange(min=1), default=10, show_default=True, hidden=hidden,
            help="Scenes, spread over the folder.",
        ),
        click.option(
            "--scene", "names", multiple=True, metavar="NAME", hidden=hidden, help="Take this one; may be repeated."
        ),
    )  # fmt: skip


@click.command(short_help="Write one page of quality and cost.")
@click.argument("folder", required=False, type=path_type)
@click.option("-o", "--out", type=path_type, default=Path("out/report.html"), show_default=True, help="The page.")
@selection_options
@evaluation_options()
@click.option("--listen", "only_listen", is_flag=True, hidden=True, help="The same as `listen FOLDER`.")
@scene_options(hidden=True)
def report(
    folder: Path | None, out: Path, selection: "Selection", how: "EvaluationOptions", only_listen: bool,
    chosen: tuple[int, tuple[str, ...]],
) -> None:  # fmt: skip
    """Write one page of quality and cost, with Markdown, CSV and JSON beside it.

    Draws from the newest record of an evaluation. Evaluates FOLDER first if it is given, and the recordings of
    quietmic if models or peers are named without one, or there is no record yet.
    """
    from dataclasses import replace
    from functools import partial

    from quietmic.cli.bar import progress_bar
    from quietmic.enhance.measure.recordings import RECORDINGS
    from quietmic.enhance.measure.systems import report_systems
    from quietmic.enhance.report.report import run_report

    if only_listen:
        write_page(folder, out, selection, chosen)
        return
    if folder is None and (selection.models or selection.peers):
        folder = RECORDINGS
    if folder and not how.fast:
        click.echo("DNSMOS takes most of the time; --fast leaves it out.", err=True)
    with progress_bar() as bar:
        paths = run_report(folder, partial(report_systems, selection), out, replace(how, progress=bar))
    click.echo("\n".join(map(str, paths)))


@click.command(short_help="Write one page of scenes to listen to.")
@click.argument("folder", required=False, type=path_type)
@click.option("-o", "--out", type=path_type, default=Path("out/listen.html"), show_default=True, help="The page.")
@selection_options
@scene_options()
def listen(folder: Path | None, out: Path, selection: "Selection", chosen: tuple[int, tuple[str, ...]]) -> None:
    """Write one page to listen to: scenes of FOLDER, or the recordings of quietmic, enhanced by each."""
    write_page(folder, out, selection, chosen)


def write_page(folder: Path | None, out: Path, selection: "Selection", chosen: tuple[int, tuple[str, ...]]) -> None:
    """The page of so many scenes, or of those named, and its path on the screen."""
    from quietmic.enhance.measure.recordings import RECORDINGS
    from quietmic.enhance.measure.systems import report_systems
    from quietmic.enhance.report.listening import write_listening_page

    write_listening_page(folder or RECORDINGS, report_systems(selection), out, *chosen)
    click.echo(str(out))
