"""The command `models`."""

from typing import Any

import click

from quietmic.cli.lines import one_line
from quietmic.cli.options import json_option


@click.command()
@json_option
def models(json_path: str | None) -> None:
    """List the models that are installed."""
    from quietmic.cli.output import put_json
    from quietmic.enhance.catalogue import read_catalogue

    catalogue = read_catalogue()
    rows = [entry.facts() for entry in catalogue.models]
    if json_path is not None:
        put_json(rows, json_path)
    else:
        click.echo(format_models(rows))
    for model in catalogue.missing:
        click.echo(one_line(model.reason), err=True)


def format_models(rows: list[dict[str, Any]]) -> str:
    """A table for people; the default model has a star."""
    if not rows:
        return "No models are installed."
    lines = [f"  {'name':32} {'parameters':>11} {'MMAC/s':>8} {'MB':>6} {'mics':>4} {'live':>5}  parent"]
    for row in rows:
        lines.append(
            f"{'*' if row['default'] else ' '} {row['name']:32} {row['parameters']:11,} "
            f"{row['macs_per_second'] / 1e6:8.0f} {row['bytes'] / 1e6:6.2f} {row['max_mics']:4} "
            f"{'fast' if row['hop_graph'] else 'slow':>5}  {row['parent'] or '-'}"
        )
    note = "slow: no graph for single hops, so that live it takes about twice as long as with one"
    return "\n".join([*lines, "* = default", *([note] if not all(row["hop_graph"] for row in rows) else [])])
