"""What `compress` prints, and its budgets as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quietmic.compression.cost import Budget
from quietmic.compression.enhancer.make import make_enhancer
from quietmic.compression.enhancer.request import Request, dry_run
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.jsonfile import write_json


def parse_amount(text: str) -> float:
    """A number with an optional k, M or G: "0.81M" -> 810000."""
    scale = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower(), 1.0)
    try:
        return float(text[:-1] if scale != 1.0 else text) * scale
    except ValueError:
        raise QuietmicError(f"'{text}' is no amount: write 810000, 810k or 0.81M", 2) from None


def find_budget(parameters: str | None, macs: str | None, rtf: float | None) -> Budget | None:
    """The budgets of the options; where several are given, all must hold."""
    budget: Budget | None = None
    for kind, value in (("params", parameters), ("macs", macs), ("rtf", rtf)):
        if value is not None:
            budget = Budget(kind, parse_amount(str(value)), budget)
    return budget


def run_compress(
    request: Request, out: Path, name: str | None, scenes: Path | None, list_it: bool, dry: bool, json_path: str | None
) -> None:
    """Compresses and tells what each step gave, or only predicts."""
    if dry:
        rows = dry_run(request)
        write_json(rows, json_path) if json_path else _print_rows(rows)
        return
    made = make_enhancer(request, out, name, scenes, list_it)
    for step in made.result.steps:
        click.echo(
            f"{step.name:24} {step.parameters / 1e6:7.3f}M  {step.macs_per_second / 1e6:9.1f}M MACs/s  "
            f"loss {step.loss:.4f}  {step.seconds:.0f} s  {'; '.join(step.notes)}", err=json_path is not None,
        )  # fmt: skip
    click.echo(f"{out}\n{made.record}", err=json_path is not None)
    if json_path:
        write_json(made.figures, json_path)


def _print_rows(rows: dict[str, Any]) -> None:
    for note in rows.pop("notes"):
        click.echo(note, err=True)
    for name, row in rows.items():
        click.echo(f"{name:12} " + "  ".join(str(Budget(kind, value)) for kind, value in row.items()))
