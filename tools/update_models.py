"""Keeps the cards and files of the shipped models true: python tools/update_models.py COMMAND."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.cli.bar import progress_bar
from quietmic.enhance.catalogue import find_model


@click.group()
def main() -> None:
    """The cards and files of the shipped models."""


@main.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True, file_okay=False))
def measure(scenes: Path) -> None:
    """Measure every listed model anew on a scenes folder, for its card."""
    from quietmic.models.publish import measure_listed

    with progress_bar() as bar:
        measure_listed(scenes, progress=bar)


@main.command()
@click.argument("names", nargs=-1, required=True)
def graphs(names: tuple[str, ...]) -> None:
    """Write the graphs of listed models anew from their checkpoints, as after a change of what is exported.

    Weights and cards stay as they are.
    """
    from quietmic.enhance.onnxfile import read_card
    from quietmic.models.export import add_to_index, export
    from quietmic.models.networks.registry import load_network

    paths = [find_model(name) for name in names]  # a wrong name is told before anything is written
    for name, path in zip(names, paths, strict=True):
        network, _ = load_network(path.with_suffix(".pt"))
        export(network, read_card(path), path)
        add_to_index(path, name)


@main.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("names", nargs=-1, required=True)
def int8(scenes: Path, names: tuple[str, ...]) -> None:
    """Write the int8 forms of listed models anew: NAME-int8 of each.

    Ranges come from the noisy recordings of SCENES, as one microphone hears them.
    """
    from quietmic.compression.enhancer.make import write_int8
    from quietmic.compression.enhancer.speech import recorded_frames
    from quietmic.models.export import add_to_index
    from quietmic.models.publish import measure_into_card

    paths = [find_model(name) for name in names]
    for name, path in zip(names, paths, strict=True):
        target = path.with_name(f"{path.stem}-int8.onnx")
        write_int8(path, target, "static", recorded_frames(path, sorted((scenes / "noisy").iterdir())))
        measure_into_card(target, scenes)
        add_to_index(target, f"{name}-int8")


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
