"""The command line."""

from quietmic.cli.commands import cli, main, run

__all__ = ["cli", "main", "run"]
