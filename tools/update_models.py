"""Keeps what is told of the shipped models true: python tools/update_models.py measure SCENES, or table PAGE.md."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.cli.bar import progress_bar
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.report.model_table import models_markdown, write_into


@click.group()
def main() -> None:
    """What is told of the shipped models."""


@main.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True, file_okay=False))
def measure(scenes: Path) -> None:
    """Measure every listed model anew on a scenes folder, for its card."""
    from quietmic.models.publish import measure_listed

    with progress_bar() as bar:
        measure_listed(scenes, progress=bar)


@main.command()
@click.argument("page", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def table(page: Path) -> None:
    """Write the table of models between the markers of a Markdown file."""
    write_into(page, models_markdown(list_models()))


if __name__ == "__main__":
    main()
