"""Where figures and tables go: the screen, standard output, or files."""

from pathlib import Path
from typing import Any

import click


def put_json(value: Any, destination: str) -> None:
    """A value as JSON into a file, or alone to standard output where the destination is "-"."""
    from quietmic.enhance.jsonfile import json_text, write_json

    if destination == "-":
        click.echo(json_text(value))
    else:
        write_json(value, Path(destination))


def put_text(text: str, path: Path) -> None:
    """A text into a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
