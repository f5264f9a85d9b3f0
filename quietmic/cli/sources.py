"""Options of the commands that train: where scenes come from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietmic.cli.options import Decorator, folder_in, gather, path_type

if TYPE_CHECKING:
    from quietmic.models.training.sources import Sources

path_in: Any = click.Path(path_type=Path, exists=True)


def speech_option(required: bool) -> Decorator:
    """Adds --speech: the folder of clean speech."""
    return click.option("--speech", type=folder_in, required=required, help="Folder of clean speech.")


def noise_option(required: bool) -> Decorator:
    """Adds --noise: the folder of noise."""
    return click.option("--noise", type=folder_in, required=required, help="Folder of noise.")


def make_sources(
    speech: Path | None, noise: Path | None, measured: Path | None, rooms: int, config: Path | None, cache: Path,
    jobs: int,
) -> "Sources":  # fmt: skip
    """Where training scenes come from."""
    from quietmic.models.training.sources import Sources

    return Sources(speech, noise, measured, rooms, config, cache, jobs)


def sources_options(required: bool = False) -> Decorator:
    """Adds them; the command gets them as one argument `sources`."""
    return gather(
        "sources", make_sources,
        speech_option(required),
        noise_option(required),
        click.option("--measured", type=folder_in, help="Folder of measured room responses."),
        click.option(
            "--rooms", type=click.IntRange(min=1), default=1600, show_default=True, help="Rooms to simulate, once."
        ),
        click.option("--config", type=path_in, help="TOML file of the training; see recipes/train-*.toml."),
        click.option(
            "--cache", type=path_type, default=Path("runs/cache"), show_default=True,
            help="Folder of what is packed and simulated.",
        ),
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes and threads."),
    )  # fmt: skip
