"""The command `demo`."""

from pathlib import Path

import click

from quietmic.cli.options import model_option, path_type


@click.command(short_help="Enhance recordings; pictures of before and after.")
@model_option
@click.option(
    "--recordings", type=path_type, help="Folder of NAME_noisy files; default: those that come with quietmic."
)
@click.option(
    "-o", "--out", type=path_type, default=Path("out/demo"), show_default=True, help="Folder of sounds and pictures."
)
def demo(model: str, recordings: Path | None, out: Path) -> None:
    """Enhance recordings, with a table and pictures of before and after."""
    from quietmic.enhance.measure.recordings import RECORDINGS
    from quietmic.enhance.report.demo import enhance_recordings

    show_demo(enhance_recordings(recordings or RECORDINGS, out, model), out)


def show_demo(rows: list[list[str]], out: Path) -> None:
    """A table of before and after, and where the sounds and pictures are."""
    from importlib.util import find_spec

    from rich.console import Console
    from rich.table import Table

    from quietmic.enhance.report.demo import FIGURES

    table = Table("recording", "channels", "rate", *(f"{name}\nnoisy > enhanced" for name in FIGURES))
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log has no width of its own
    console.print(table)
    if find_spec("pesq") is None or find_spec("pystoi") is None:
        console.print('PESQ and STOI need the extra "metrics": pip install "quietmic\\[metrics]"')
    has_pictures = find_spec("matplotlib") is not None
    if not has_pictures:
        console.print('Pictures need the extra "plots": pip install "quietmic\\[plots]"')
    console.print(f"{'Sounds and pictures' if has_pictures else 'Sounds'} are in {out}")
