"""What `models` prints."""

from pathlib import Path
from typing import Any

from quietmic.enhance.catalogue import WEIGHTS, list_models
from quietmic.enhance.jsonfile import write_json


def print_models(json_path: str | None, weights: Path = WEIGHTS) -> None:
    """The catalogue as a table, or as JSON into a file ("-" = standard output)."""
    rows = [
        {
            "name": entry.name,
            "parameters": entry.card.parameters,
            "macs_per_second": entry.card.macs_per_second,
            "bytes": entry.path.stat().st_size,
            "max_mics": entry.card.max_mics,
            "parent": entry.card.parent,
            "recipe": entry.card.recipe,
            "metrics": entry.card.metrics,
            "default": entry.is_default,
        }
        for entry in list_models(weights)
    ]
    if json_path is not None:
        write_json(rows, json_path)
    else:
        print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No models are installed."
    lines = [f"  {'name':32} {'parameters':>11} {'MMAC/s':>8} {'MB':>6} {'mics':>4}  parent"]
    for row in rows:
        lines.append(
            f"{'*' if row['default'] else ' '} {row['name']:32} {row['parameters']:11,} "
            f"{row['macs_per_second'] / 1e6:8.0f} {row['bytes'] / 1e6:6.2f} {row['max_mics']:4}  {row['parent'] or '-'}"
        )
    return "\n".join([*lines, "* = default"])
