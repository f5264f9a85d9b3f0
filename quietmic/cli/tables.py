"""What `compare-criteria` and `sweep` print."""

from __future__ import annotations

import json
from pathlib import Path

import click

from quietmic.enhance.jsonfile import write_json


def print_table(path: Path, json_path: str | None) -> None:
    """The table of a Markdown file, or the figures beside it as JSON."""
    if json_path:
        write_json(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), json_path)
    else:
        click.echo(path.read_text(encoding="utf-8"))
