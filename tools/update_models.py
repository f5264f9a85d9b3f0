"""Keeps the shipped models and what is told of them true: python tools/update_models.py -h."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.cli.bar import progress_bar
from quietmic.enhance.catalogue import find_model, read_catalogue
from quietmic.enhance.report.model_table import models_markdown, write_into


@click.group()
def main() -> None:
    """The shipped models and what is told of them."""


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
    catalogue = read_catalogue()
    if catalogue.missing:
        raise click.ClickException(f"the table would lack a row: {catalogue.missing[0].reason}")
    write_into(page, models_markdown(catalogue.models))


@main.command()
@click.argument("names", nargs=-1, required=True)
def halve(names: tuple[str, ...]) -> None:
    """Store listed models with their weights in half precision, as exports are now.

    The samples stay the same; the hash of the graph does not, so that cached figures are measured anew.
    """
    from quietmic.models import half
    from quietmic.models.export import add_to_index

    paths = [find_model(name) for name in names]  # a wrong name is told before anything is written
    for name, path in zip(names, paths, strict=True):
        before = path.stat().st_size
        half.halve(path)
        add_to_index(path, name)
        click.echo(f"{name}: {before / 1e6:.2f} -> {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
