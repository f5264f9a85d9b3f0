"""The command line of quietmic. Each command imports what it needs when it runs, so that none pays for another."""

import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from quietmic import __version__
from quietmic.enhance.errors import QuietmicError


def check_json(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuses to write figures over something else, such as the recording behind a --json without a file."""
    if value is None or value == "-":
        return value
    if Path(value).is_dir():
        raise click.BadParameter(f"{value} is a directory, but the figures need a file")
    if Path(value).is_file() and Path(value).suffix.lower() != ".json":
        raise click.BadParameter(f"{value} exists: figures only replace a file that ends in .json")
    return value


json_option = click.option(
    "--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", callback=check_json,
    help="Write the figures as JSON to FILE, or alone to standard output.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Cleans speech: live from microphones, or in files and folders."""


def parse_channels(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Indices from a list such as "0,2,3"."""
    if value is None:
        return None
    try:
        channels = tuple(int(part) for part in value.split(","))
    except ValueError:
        channels = ()
    if not channels or min(channels) < 0 or len(set(channels)) < len(channels):
        raise click.BadParameter("give different channel numbers from 0 on, as in 0,1,2")
    return channels


folder_in = click.Path(path_type=Path, file_okay=False, exists=True)
model_option = click.option("--model", default="default", show_default=True, help="Name, or path of an .onnx file.")
limit_option = click.option(
    "--attenuation-limit", "limit_db", type=click.FloatRange(min=0), metavar="DB",
    help="Attenuate nothing by more than this.",
)  # fmt: skip
channels_option = click.option(
    "--channels", callback=parse_channels, metavar="0,1,...", help="Channels to use, counted from 0; default: all."
)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --cluster and its TLS files; the command gets them as one argument `cluster`, None without the option."""

    @wraps(command)
    def with_cluster(
        *arguments: Any, cluster: str | None, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None,
        **values: Any,
    ) -> Any:  # fmt: skip
        from quietmic.enhance.cluster.connect import choose_cluster

        chosen = choose_cluster(cluster, values.get("jobs", 1), tls_ca, tls_cert, tls_key)
        return command(*arguments, cluster=chosen, **values)

    file = click.Path(path_type=Path, exists=True, dir_okay=False)
    for option in (
        click.option("--tls-key", type=file, help="For --cluster tls://...: key of the certificate, PEM."),
        click.option("--tls-cert", type=file, help="For --cluster tls://...: certificate of this client, PEM."),
        click.option("--tls-ca", type=file, help="For --cluster tls://...: certificate of the authority, PEM."),
        click.option(
            "--cluster", metavar="ADDRESS",
            help="Use the workers of this dask scheduler, or 'local' for a cluster made here (--jobs workers, or one "
            "for each core).",
        ),
    ):  # fmt: skip
        with_cluster = option(with_cluster)
    return with_cluster


@cli.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--out", required=True, help="Output file, or folder; URLs such as s3://bucket/out as well.")
@model_option
@channels_option
@click.option("--array", is_flag=True, help="The channels are the microphones of one scene: one output channel.")
@limit_option
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--resume", is_flag=True, help="Keep what a --cluster run has made of the same input; replace the rest.")
@cluster_options
@json_option
def denoise(
    inputs: tuple[str, ...], out: str, model: str, channels: tuple[int, ...] | None, array: bool,
    limit_db: float | None, jobs: int, overwrite: bool, resume: bool, cluster: Any, json_path: str | None,
) -> int:  # fmt: skip
    """Enhance INPUTS: files, folders (to any depth), glob patterns, and URLs of storage such as s3://bucket/in.

    With one input file OUT may be a file; otherwise it is a folder that keeps the tree below each input folder.
    """
    from quietmic.cli.denoise import denoise as run_batch
    from quietmic.enhance.catalogue import find_model
    from quietmic.enhance.files.batch import Options
    from quietmic.enhance.files.storage import find_location

    options = Options(find_model(model), channels, array, limit_db)
    return run_batch(list(inputs), find_location(out), options, jobs, overwrite, json_path, cluster, resume)


@cli.command()
@model_option
@click.option("--recordings", type=click.Path(path_type=Path), default=Path("recordings"), show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("out/demo"), show_default=True)
def demo(model: str, recordings: Path, out: Path) -> None:
    """Enhance the repository's recordings, with a table and pictures of before and after."""
    from quietmic.cli.demo import run_demo

    run_demo(recordings, out, model)


@cli.command()
@json_option
@click.option("--measure", "scenes", type=folder_in, help="First measure them on this scenes folder, for their cards.")
def models(json_path: str | None, scenes: Path | None) -> None:
    """List the models that are installed."""
    from quietmic.cli.models import print_models

    if scenes:
        from quietmic.models.publish import measure_listed

        measure_listed(scenes)
    print_models(json_path)


def parse_counts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Counts from a list such as "1,2,4"."""
    try:
        counts = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise click.BadParameter("give numbers from 1 on, as in 1,2,4")
    return counts


def compared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name what is compared, shared by evaluate, bench and report."""
    for option in (
        click.option(
            "--peer-weights", type=click.Path(path_type=Path, file_okay=False), envvar="QUIETMIC_PEERS",
            help="Folder with the ONNX files of peers; also QUIETMIC_PEERS.",
        ),
        click.option("--peer", "peers", multiple=True, metavar="NAME", help="Another enhancer; may be repeated."),
        click.option("--model", "models", multiple=True, metavar="NAME", help="Name or .onnx; may be repeated."),
    ):  # fmt: skip
        command = option(command)
    return command


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@compared_options
@click.option(
    "--mics", callback=parse_counts, default="1", show_default=True, metavar="N,N",
    help="Use the first N channels of each file as an array.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@json_option
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write the figures of each file as CSV.")
@click.option("--markdown", "markdown_path", type=click.Path(path_type=Path), help="Write the tables as Markdown.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("out/cache/evaluate"), show_default=True)
@click.option("--records", type=click.Path(path_type=Path), default=Path("out/records"), show_default=True)
@cluster_options
def evaluate(
    folder: Path, models: tuple[str, ...], peers: tuple[str, ...], peer_weights: Path | None, mics: tuple[int, ...],
    jobs: int, cluster: Any, json_path: str | None, csv_path: Path | None, markdown_path: Path | None, cache: Path,
    records: Path,
) -> None:  # fmt: skip
    """Measure models and peers on FOLDER: noisy/clean pairs in any usual layout, or noisy files alone."""
    from quietmic.cli.evaluate import print_evaluation
    from quietmic.enhance.measure.quality import run_evaluation
    from quietmic.enhance.measure.systems import choose_systems

    systems = choose_systems(models, peers, mics, peer_weights)
    record = run_evaluation(folder, systems, jobs, cache, records, cluster)
    print_evaluation(record, json_path, csv_path, markdown_path)


@cli.command()
@json_option
def devices(json_path: str | None) -> None:
    """List the sound devices, their channels, rates and the defaults."""
    from quietmic.devices.listing import format_devices, list_devices, load_backend
    from quietmic.enhance.jsonfile import write_json

    found = list_devices(load_backend())
    if json_path is None:
        click.echo(format_devices(found))
    else:
        write_json([device.to_dict() for device in found], json_path)


def live_candidates(model: str | None, preferred: str = "default", auto: bool = False) -> list[Any]:
    """Models in the form in which devices/ knows them: the one asked for, or else the preferred, comes first.

    The others follow where they may be needed: with `auto` to step down to, without a model to choose from.
    """
    from quietmic.devices.engine import Candidate, Engine
    from quietmic.enhance.card import ModelCard
    from quietmic.enhance.catalogue import find_model, list_models
    from quietmic.enhance.network import OnnxNetwork
    from quietmic.enhance.stream import Stream

    def describe(path: Path, card: ModelCard, sha256: str) -> Candidate:
        def open_engine(n_mics: int, threads: int) -> Engine:
            stream = Stream(OnnxNetwork(path, threads), n_mics, card.stft.sample_rate)
            return Engine(
                card.name, stream.process, stream.reset, card.stft.sample_rate, card.stft.hop_length, stream.delay,
                n_mics, lambda limit_db: setattr(stream, "attenuation_limit_db", limit_db), lambda: stream.non_finite,
            )  # fmt: skip

        stft = card.stft
        return Candidate(
            card.name, sha256, card.max_mics, card.macs_per_second, stft.sample_rate, stft.hop_length, open_engine
        )

    entries = sorted(list_models() if auto or not model else [], key=lambda e: (e.name != preferred, not e.is_default))
    others = [describe(e.path, e.card, e.sha256) for e in entries]
    if others and not model:
        return others
    path = find_model(model or "default")
    return [describe(path, OnnxNetwork(path).card, ""), *others]


@cli.command()
@json_option
def board(json_path: str | None) -> None:
    """Tell the board profile of this machine, why it was taken, and the model that the machine can bear."""
    from dataclasses import asdict

    from quietmic.devices.board import detect_board, format_board
    from quietmic.devices.choice import choose_model
    from quietmic.enhance.catalogue import list_models
    from quietmic.enhance.jsonfile import write_json

    profile, reason = detect_board()
    candidates = live_candidates(None, preferred=profile.default_model) if list_models() else []
    choice = choose_model(candidates, 1, profile.threads) if candidates else None
    if json_path is not None:
        write_json(asdict(profile) | {"reason": reason, "choice": choice and asdict(choice)}, json_path)
        return
    click.echo(format_board(profile, reason))
    click.echo(f"model    {choice.model}: {choice.reason}" if choice else "model    none is installed")


@cli.command()
@click.option("--model", metavar="NAME", help="Name, or path of an .onnx file; default: what this machine can bear.")
@limit_option
@click.option("--input", "input_name", metavar="DEV", help="Microphone: index or part of its name.")
@click.option("--output", "output_name", metavar="DEV", help="Loudspeaker: index or part of its name.")
@click.option("--channels", callback=parse_channels, metavar="0,1,...", help="Input channels that are microphones.")
@click.option("--array", metavar="NAME", help="Microphone array: a name of devices/boards.toml, or a geometry file.")
@click.option("--virtual-mic", "virtual_microphone", is_flag=True, help="Be a microphone 'quietmic' (Linux).")
@click.option("--record", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Record to FLAC.")
@click.option("--duration", "duration_s", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds.")
@click.option("--no-ui", is_flag=True, help="Plain messages instead of the terminal view.")
@click.option("--auto", is_flag=True, help="Step down to a smaller model when the machine is too slow.")
@click.option("--latency", default="auto", show_default=True, metavar="low|high|S", help="Asked of the sound system.")
@click.option("--jitter", "jitter_ms", type=click.FloatRange(0, 1000), metavar="MS", help="Buffer; default: measured.")
@click.option("--two-clocks", is_flag=True, help="Correct drift between input and output even on one card.")
@click.option("--board", "board_name", metavar="NAME", help="Board profile; default: detected.")
@json_option
def live(json_path: str | None, model: str | None, board_name: str | None, **choices: Any) -> None:
    """Enhance a microphone live and play the result to a device."""
    from quietmic.devices.board import detect_board, find_board
    from quietmic.devices.live import run_live
    from quietmic.devices.options import live_options
    from quietmic.enhance.jsonfile import write_json

    profile = find_board(board_name) if board_name else detect_board()[0]
    choices["no_ui"] |= json_path == "-"
    options = live_options(profile, **choices)
    candidates = live_candidates(model, profile.default_model, options.auto)
    try:
        summary = run_live(options, candidates, profile, picks=model is None)
    except KeyboardInterrupt:  # before it ran
        return
    if json_path is not None:
        write_json(summary, json_path)


@cli.command()
@compared_options
@click.option("--mics", callback=parse_counts, default="1", show_default=True, metavar="N,N", help="Microphones.")
@click.option("--seconds", type=click.FloatRange(min=1), default=20, show_default=True, help="Audio for each system.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads are tried from 1 to here; default: all cores.")
@json_option
@click.option("--markdown", "markdown_path", type=click.Path(path_type=Path), help="Write the tables as Markdown.")
@click.option("--records", type=click.Path(path_type=Path), default=Path("out/records"), show_default=True)
@click.option(
    "--plan",
    "plan_hours",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HOURS",
    help="Only: what enhancing HOURS of audio with the first model would cost.",
)
@click.option("--cores", type=click.IntRange(min=1), default=1, show_default=True, help="For --plan: cores to use.")
@click.option("--link-mbit", type=click.FloatRange(min=0, min_open=True), default=1000, show_default=True,
              help="For --plan: bandwidth to the storage.")  # fmt: skip
def bench(
    models: tuple[str, ...], peers: tuple[str, ...], peer_weights: Path | None, mics: tuple[int, ...], seconds: float,
    threads: int | None, json_path: str | None, markdown_path: Path | None, records: Path, plan_hours: float | None,
    cores: int, link_mbit: float,
) -> None:  # fmt: skip
    """Time models and peers on this machine; with --plan, cost an archive from the throughput measured here."""
    from quietmic.cli.bench import print_bench, print_plan
    from quietmic.enhance.measure.speed import run_bench
    from quietmic.enhance.measure.systems import bench_systems

    if plan_hours:
        print_plan(models[0] if models else "default", plan_hours, cores, link_mbit, json_path)
        return
    systems = bench_systems(models, peers, mics, peer_weights)
    print_bench(run_bench(systems, seconds, threads, records), json_path, markdown_path)


speech_option = click.option("--speech", type=folder_in, required=True, help="Folder of clean speech.")
noise_option = click.option("--noise", type=folder_in, required=True, help="Folder of noise.")


@cli.command()
@speech_option
@noise_option
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the scenes.")
@click.option("--count", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--split", default="valid", show_default=True, help="Rows of the manifests to use.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@cluster_options
def scenes(
    speech: Path, noise: Path, out: Path, count: int, seed: int, split: str, jobs: int, cluster: Any
) -> None:  # fmt: skip
    """Make a fixed set of noisy scenes in simulated rooms, four microphones each, with their clean references."""
    from quietmic.models.mixtures.scenes import make_scenes

    click.echo(make_scenes(speech, noise, out, count, seed, split, jobs, cluster))


@cli.command()
@click.option("--model", required=True, help="Network: tcn or fullsubnet.")
@speech_option
@noise_option
@click.option("--measured", type=folder_in, help="Folder of measured room responses.")
@click.option("--rooms", default=1600, show_default=True, help="Rooms to simulate, once.")
@click.option("--config", type=click.Path(path_type=Path, exists=True), help="TOML file; see recipes/train-*.toml.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the run; goes on there.")
@click.option("--minutes", type=float, required=True, help="Wall clock of this run.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes and threads.")
@click.option("--valid", type=folder_in, help="Scenes folder to score now and then.")
@click.option("--teacher", type=click.Path(path_type=Path, exists=True), help="Streaming ONNX of a peer to learn from.")
@click.option("--start", "first", type=click.Path(path_type=Path, exists=True), help="Checkpoint to start a run from.")
def train(
    model: str, speech: Path, noise: Path, measured: Path | None, rooms: int, config: Path | None, out: Path,
    minutes: float, device: str, cache: Path, jobs: int, valid: Path | None, teacher: Path | None,
    first: Path | None,
) -> None:  # fmt: skip
    """Train a network on mixtures of SPEECH and NOISE; a run in the same folder goes on where it stopped."""
    from quietmic.cli.training import run_training

    run_training(
        model, speech, noise, measured, rooms, config, out, minutes, device, cache, jobs, valid, teacher, first
    )


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The .onnx file.")
@click.option("--name", required=True, help="Of the model; begins with its family.")
@click.option("--notes", default="", help="For the card.")
@click.option("--scenes", type=folder_in, help="Scenes folder whose figures go into the card.")
@click.option("--list", "list_it", is_flag=True, help="Enter it in the index.json beside it.")
def export(checkpoint: Path, out: Path, name: str, notes: str, scenes: Path | None, list_it: bool) -> None:
    """Write a trained CHECKPOINT as ONNX with its card; refuses a graph that is not the network."""
    from quietmic.cli.training import run_export

    run_export(checkpoint, out, name, notes, scenes, list_it)


@cli.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("out/report.html"), show_default=True)
@compared_options
@click.option("--mics", callback=parse_counts, default="1", show_default=True, metavar="N,N", help="Microphones.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--listen", is_flag=True, help="Only a page to listen to: scenes of FOLDER through models and peers.")
@click.option("--count", type=click.IntRange(min=1), default=10, show_default=True, help="For --listen: scenes.")
@click.option("--scene", "scenes", multiple=True, metavar="NAME", help="For --listen: take this one; may be repeated.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("out/cache/evaluate"), show_default=True)
@click.option("--records", type=click.Path(path_type=Path), default=Path("out/records"), show_default=True)
def report(
    folder: Path | None, out: Path, models: tuple[str, ...], peers: tuple[str, ...], peer_weights: Path | None,
    mics: tuple[int, ...], jobs: int, listen: bool, count: int, scenes: tuple[str, ...], cache: Path, records: Path,
) -> None:  # fmt: skip
    """Write one page of quality and cost, with Markdown, CSV and JSON beside it.

    Draws from the newest record of an evaluation. Evaluates FOLDER first if it is given, and recordings/ if models or
    peers are named without one, or there is no record yet.
    """
    from quietmic.enhance.measure.systems import report_systems
    from quietmic.enhance.report.listening import write_listening_page
    from quietmic.enhance.report.report import RECORDINGS, run_report

    choose = partial(report_systems, models, peers, mics, peer_weights)
    if folder is None and (models or peers or listen):
        folder = RECORDINGS
    if folder and listen:
        write_listening_page(folder, choose(), out, count, scenes)
        click.echo(str(out))
        return
    for path in run_report(folder, choose, out, jobs, cache, records):
        click.echo(str(path))


def training_data_options(command: Any) -> Any:
    """Options of the commands that fine-tune: where scenes come from."""
    for option in (
        click.option("--speech", type=folder_in, help="Folder of clean speech."),
        click.option("--noise", type=folder_in, help="Folder of noise."),
        click.option("--measured", type=folder_in, help="Folder of measured room responses."),
        click.option("--rooms", default=1600, show_default=True, help="Rooms to simulate, once."),
        click.option("--config", type=click.Path(path_type=Path, exists=True), help="TOML file of the training."),
        click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True),
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes and threads."),
        click.option("--scenes", type=folder_in, help="Scenes folder to measure on."),
    ):
        command = option(command)
    return command


def budget_options(command: Any) -> Any:
    """Options of the commands that compress: parent, recipe and budget."""
    for option in (
        click.option("--model", required=True, help="Parent: a name of the catalogue, or a checkpoint (.pt)."),
        click.option("--recipe", type=click.Path(path_type=Path), required=True, help="TOML file; see recipes/."),
        click.option("--params", metavar="N", help="Budget of parameters, as in 0.81M."),
        click.option("--macs", metavar="N", help="Budget of multiply-accumulates per second of audio, as in 50M."),
        click.option("--rtf", type=float, help="Budget of real-time factor on --board."),
        click.option("--board", help="Board whose cost table predicts the real-time factor; see `board`."),
    ):
        command = option(command)
    return command


def _compression_request(options: dict[str, Any]) -> Any:
    from quietmic.cli.compress import find_budget
    from quietmic.compression.enhancer.request import Sources, make_request
    from quietmic.devices.board import find_board

    sources = Sources(*(options[key] for key in ("speech", "noise", "measured", "rooms", "config", "cache", "jobs")))
    budget = find_budget(options["params"], options["macs"], options["rtf"])
    hop_seconds = None
    if options["board"]:
        cost = find_board(options["board"]).cost
        click.echo(f"{options['board']}: costs {'measured' if cost.measured else 'estimated, not measured'}", err=True)
        hop_seconds = cost.hop_seconds
    return make_request(options["model"], options["recipe"], budget, sources, hop_seconds)


@cli.command()
@budget_options
@training_data_options
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The .onnx file; goes on if stopped.")
@click.option("--name", help="Of the model; begins with its family. Default: family and recipe.")
@click.option("--list", "list_it", is_flag=True, help="Enter it and its int8 form in the index.json beside it.")
@click.option("--dry-run", is_flag=True, help="Only predict parameters, MACs and RTF.")
@json_option
def compress(
    out: Path, name: str | None, list_it: bool, dry_run: bool, json_path: str | None, **options: Any
) -> None:  # fmt: skip
    """Make a trained enhancer smaller by a recipe: decide, cut, fine-tune, factor, export, quantise, measure."""
    from quietmic.cli.compress import run_compress

    run_compress(_compression_request(options), out, name, options["scenes"], list_it, dry_run, json_path)


def parse_numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """Numbers from a list such as "0.2,0.5"."""
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("give numbers with commas between them") from None


@cli.command("compare-criteria")
@budget_options
@training_data_options
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder; rows there are kept.")
@click.option("--criteria", default="", help="Names with commas between them; default: all.")
@click.option("--seeds", callback=parse_numbers, default="0", show_default=True, metavar="N,N")
@cluster_options
@json_option
def compare_criteria(
    out: Path, criteria: str, seeds: tuple[float, ...], cluster: Any, json_path: str | None, **options: Any
) -> None:  # fmt: skip
    """Compress a parent by every criterion at one budget and with as many batches each: a table."""
    from quietmic.cli.tables import print_table
    from quietmic.compression.enhancer import tables

    chosen = [name for name in criteria.split(",") if name]
    request = _compression_request(options)
    seed_numbers = [int(seed) for seed in seeds]
    path = tables.compare_criteria(request, chosen, seed_numbers, options["scenes"], out, cluster)
    print_table(path, json_path)


@cli.command()
@budget_options
@training_data_options
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder; rows there are kept.")
@click.option("--over", type=click.Choice(["r", "beta", "thresh"]), required=True, help="What changes.")
@click.option("--values", callback=parse_numbers, required=True, metavar="X,X")
@click.option("--seeds", callback=parse_numbers, default="0", show_default=True, metavar="N,N")
@json_option
def sweep(
    out: Path, over: str, values: tuple[float, ...], seeds: tuple[float, ...], json_path: str | None, **options: Any
) -> None:
    """Compress a parent with one setting changed step by step: a table and curves."""
    from quietmic.cli.tables import print_table
    from quietmic.compression.enhancer import tables

    request = _compression_request(options)
    path = tables.sweep(request, over, values, [int(seed) for seed in seeds], options["scenes"], out)
    print_table(path, json_path)


def main(argv: list[str] | None = None) -> int:
    """Runs one command; 0 = done, 1 = some of the work failed, 2 = wrong use."""
    try:
        result = cli.main(args=argv, prog_name="quietmic", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except QuietmicError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except OSError as error:  # a place that cannot be written, a full disk, a pipe that was closed
        click.echo(f"Error: {error}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 1


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())
