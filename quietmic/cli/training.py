"""The commands that make a model: `scenes`, `train` and `export`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quietmic.cli.options import cluster_options, folder_in, gather, jobs_option, path_type
from quietmic.cli.sources import noise_option, path_in, sources_options, speech_option

if TYPE_CHECKING:
    from quietmic.enhance.cluster.connect import Cluster
    from quietmic.models.mixtures.scenes import SceneSet
    from quietmic.models.training.sources import Sources
    from quietmic.models.training.train import RunPlan


def make_scene_set(
    speech: Path, noise: Path, out: Path, count: int, seed: int, split: str, classes: str, rate: int
) -> "SceneSet":
    """The set that is asked for."""
    from quietmic.models.mixtures.scenes import SceneSet

    named = tuple(name.strip() for name in classes.split(",") if name.strip())
    return SceneSet(speech, noise, out, count, seed, split, named, rate)


@click.command(short_help="Make a fixed set of noisy scenes in simulated rooms.")
@gather(
    "wanted", make_scene_set,
    speech_option(required=True),
    noise_option(required=True),
    click.option("-o", "--out", type=path_type, required=True, help="Folder of the scenes."),
    click.option("--count", type=click.IntRange(min=1), default=60, show_default=True, help="Scenes."),
    click.option("--seed", type=int, default=1, show_default=True, help="Decides everything drawn."),
    click.option("--split", default="valid", show_default=True, help="Rows of the manifests to use."),
    click.option("--classes", metavar="NAME,...", default="", help="Only noise of these classes; default: all."),
    click.option("--rate", type=click.IntRange(16000, 48000), default=16000, show_default=True, help="Hz."),
)  # fmt: skip
@jobs_option
@cluster_options
def scenes(wanted: "SceneSet", jobs: int, cluster: "Cluster | None") -> None:
    """Make a fixed set of noisy scenes in simulated rooms, four microphones each, with their clean references."""
    from quietmic.cli.bar import progress_bar
    from quietmic.models.mixtures.scenes import make_scenes

    with progress_bar() as bar:
        manifest = make_scenes(wanted, jobs, cluster, bar)
    click.echo(manifest)


def make_plan(out: Path, minutes: float, device: str, valid: Path | None, first: Path | None) -> "RunPlan":
    """Where, how long and from which weights a training runs."""
    from quietmic.models.training.run import choose_device
    from quietmic.models.training.train import RunPlan

    if not 0 <= minutes < float("inf"):  # not NaN either
        raise click.BadParameter(f"{minutes}, but it must be a number of minutes", param_hint="--minutes")
    return RunPlan(out, minutes, choose_device(device), valid=valid, first=first)


@click.command(short_help="Train a network, or go on where a run stopped.")
@click.option("--model", required=True, help="Network: tcn or fullsubnet.")
@sources_options(required=True)
@gather(
    "plan", make_plan,
    click.option("-o", "--out", type=path_type, required=True, help="Folder of the run; goes on there."),
    click.option(
        "--minutes", type=float, required=True,
        help="Wall clock of training, norms and validation, once data and rooms are in --cache.",
    ),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto."),
    click.option("--valid", type=folder_in, help="Folder of noisy/clean pairs to score now and then."),
    click.option("--start", "first", type=path_in, help="Checkpoint to start a run from."),
)  # fmt: skip
@click.option("--teacher", type=path_in, help="Streaming ONNX of a peer to learn from.")
def train(model: str, sources: "Sources", plan: "RunPlan", teacher: Path | None) -> None:
    """Train a network on mixtures of SPEECH and NOISE; a run in the same folder goes on where it stopped."""
    from quietmic.cli.bar import progress_bar
    from quietmic.models.training.run import run_training

    with progress_bar() as bar:
        path, record = run_training(model, sources, plan, teacher, bar)
    if record:  # one of several processes leads
        click.echo(f"Weights: {path}\nRecord: {record}")


@click.command(short_help="Write a trained checkpoint as ONNX with its card.")
@click.argument("checkpoint", type=path_type)
@click.option("-o", "--out", type=path_type, required=True, help="The .onnx file.")
@click.option("--name", required=True, help="Of the model; begins with its family.")
@click.option("--notes", default="", help="For the card.")
@click.option("--scenes", type=folder_in, help="Scenes folder whose figures go into the card.")
@click.option("--list", "list_it", is_flag=True, help="Enter it in the index.json beside it.")
def export(checkpoint: Path, out: Path, name: str, notes: str, scenes: Path | None, list_it: bool) -> None:
    """Write a trained CHECKPOINT as ONNX with its card; refuses a graph that is not the network."""
    from quietmic.cli.bar import progress_bar
    from quietmic.models.publish import publish

    with progress_bar() as bar:
        publish(checkpoint, out, name, notes, scenes, list_it, bar)
    show_file(out)


def show_file(path: Path) -> None:
    """A model's file, its size and its hash."""
    from quietmic.enhance.hashes import hash_file

    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB, SHA-256 {hash_file(path)[:16]}...)")
