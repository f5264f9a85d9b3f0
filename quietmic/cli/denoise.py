"""The command `denoise`: a batch of files, with progress and a summary."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from quietmic.cli.hints import with_hint
from quietmic.cli.lines import one_line
from quietmic.cli.options import (
    band_option,
    channels_option,
    cluster_options,
    gather,
    jobs_option,
    json_option,
    limit_option,
    model_option,
)

if TYPE_CHECKING:
    from rich.console import Console

    from quietmic.enhance.cluster.connect import Cluster
    from quietmic.enhance.files.batch import FileResult, Options
    from quietmic.enhance.files.run import Batch, BatchOptions
    from quietmic.enhance.served import Band


def make_options(
    model: str,
    channels: tuple[int, ...] | None,
    array: bool,
    stereo: str,
    raw: tuple[int, int] | None,
    attenuation_limit_db: float | None,
    band: "Band",
) -> "Options":
    """How every file is enhanced."""
    from quietmic.enhance.catalogue import find_model
    from quietmic.enhance.files.batch import Options

    return Options(find_model(model), channels, array, attenuation_limit_db, stereo=stereo, raw=raw, band=band)


def parse_raw(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Rate and channels from "48000,2"."""
    if value is None:
        return None
    try:
        rate, n_channels = map(int, value.split(","))
    except ValueError:
        rate, n_channels = 0, 0
    if rate < 1 or n_channels < 1:
        raise click.BadParameter("give rate and channels, as in 48000,2")
    return rate, n_channels


def make_batch_options(jobs: int, overwrite: bool, resume: bool, cluster: "Cluster | None") -> "BatchOptions":
    """How the batch is run."""
    from quietmic.enhance.files.run import BatchOptions

    return BatchOptions(jobs, overwrite, resume, cluster)


@click.command(short_help="Enhance files, folders and storage.")
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--out", required=True, help="Output file, or folder; URLs such as s3://bucket/out as well.")
@gather(
    "options", make_options,
    model_option,
    channels_option,
    click.option("--array", is_flag=True, help="The channels are the microphones of one scene: one output channel."),
    click.option(
        "--stereo", type=click.Choice(("auto", "linked", "separate")), default="auto", show_default=True,
        help="Two channels: one mask for both, so that voices stay where they are, or one for each, as for a call with "
        "one party a side; auto listens which it is.",
    ),
    click.option(
        "--raw", callback=parse_raw, metavar="RATE,CHANNELS",
        help="Standard input and output are 16-bit samples without a header; default: WAV.",
    ),
    limit_option,
    band_option,
)  # fmt: skip
@gather(
    "how", make_batch_options,
    jobs_option,
    click.option("--overwrite", is_flag=True, help="Replace outputs that exist."),
    click.option(
        "--resume", is_flag=True, help="Keep what a --cluster run has made of the same input; replace the rest."
    ),
    cluster_options,
)  # fmt: skip
@json_option
def denoise(inputs: tuple[str, ...], out: str, options: "Options", how: "BatchOptions", json_path: str | None) -> int:
    """Enhance INPUTS: files, folders (to any depth), glob patterns, and URLs of storage such as s3://bucket/in.

    With one input file OUT may be a file; otherwise it is a folder that keeps the tree below each input folder. "-" is
    standard input or output. Films keep their picture; they and the sound of phones need the program ffmpeg.
    """
    from dataclasses import asdict

    from rich.console import Console

    from quietmic.cli.output import put_json
    from quietmic.enhance.files.run import plan_batch, summarise
    from quietmic.enhance.files.storage import find_location

    begin = time.perf_counter()
    if out == json_path == "-":
        raise click.UsageError("the sound and the figures cannot both go to standard output: give --json a file")
    batch = plan_batch(list(inputs), find_location(out), options, how)
    console = Console(stderr="-" in (out, json_path), soft_wrap=True, markup=False, highlight=False, emoji=False)
    with heard_out(batch, console):
        results = [*batch.skipped, *show_batch(batch, console)]
    summary = summarise(batch.model, results, time.perf_counter() - begin)
    show_summary(console, results, summary)
    if json_path is not None:
        put_json(summary | {"files": [asdict(result) for result in results]}, json_path)
    return 1 if summary["failed"] else 0


@contextmanager
def heard_out(batch: "Batch", console: "Console") -> Iterator[None]:
    """Lets an interrupt end a recording that comes through a pipe, and not what was made of it.

    The terminal sends it to the recorder as well, whose sound then ends, and hours of it are not thrown away. A second
    one stops the command, as does the first where nothing is recorded.
    """
    from quietmic.enhance.files.pipes import Pipe

    before = signal.getsignal(signal.SIGINT)
    records = any(isinstance(job.source, Pipe) and not isinstance(job.target, Pipe) for job in batch.jobs)
    if not records or before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        console.print("what comes to its end is written; one more interrupt throws it away")

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def show_batch(batch: "Batch", console: "Console") -> list["FileResult"]:
    """Runs a batch: a bar on a terminal, else a line for each file. Results are in the order of the jobs."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from quietmic.enhance.files.run import run_batch

    is_alone = len(batch.skipped) + len(batch.jobs) == 1  # if it fails, the summary tells it
    for result in batch.skipped:
        if not (is_alone and result.status == "failed"):
            console.print(describe(result))
    results: dict[Any, FileResult] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("enhancing", total=len(batch.jobs))
        for result in run_batch(batch, lambda share: progress.update(task, completed=len(results) + share)):
            results[result.source] = result
            progress.update(task, completed=len(results))
            if result.status == "failed" and is_alone:
                continue
            if not console.is_terminal or result.status == "failed" or result.warnings:
                console.print(describe(result))
    return [results[job.source] for job in batch.jobs]


def describe(result: "FileResult") -> str:
    """One line on what became of a file."""
    if result.status != "enhanced":
        return one_line(f"{result.status}: {result.source}: {with_hint(result.reason, result.argument)}")
    speed = result.audio_s / result.elapsed_s if result.elapsed_s else 0.0
    stereo = f", channels {result.stereo}" if result.stereo else ""
    line = f"enhanced: {result.source} -> {result.target} ({result.audio_s:.1f} s, {speed:.0f} x real time{stereo})"
    lines = [line, *(f"warning: {result.source}: {warning}" for warning in result.warnings)]
    return "\n".join(map(one_line, lines))


def show_summary(console: "Console", results: list["FileResult"], summary: dict[str, Any]) -> None:
    """Counts and times, and the files that failed on standard error, once more where there were others."""
    console.print(
        f"{summary['enhanced']} enhanced, {summary['skipped']} skipped, {summary['failed']} failed; "
        f"{summary['audio_s']:.1f} s of sound in {summary['elapsed_s']:.1f} s"
    )
    console.file.flush()
    for result in results:
        if result.status == "failed":
            click.echo(describe(result), err=True)
