"""The command `denoise`: a batch of files, with progress and a summary."""

import sys
import time
from collections.abc import Sized
from dataclasses import asdict, replace
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.files.batch import FileJob, FileResult, Options, plan_jobs
from quietmic.enhance.files.resume import Journal
from quietmic.enhance.files.run import run_jobs, summarise, why_keep
from quietmic.enhance.files.storage import Location
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.network import OnnxNetwork


def denoise(
    inputs: list[str], out: Location, options: Options, n_jobs: int, overwrite: bool, json_path: str | None,
    cluster: Cluster | None = None, resume: bool = False,
) -> int:  # fmt: skip
    """Enhances all files of the inputs; 0 if all went well, 1 if some failed.

    Args:
        inputs: files, folders and glob patterns.
        out: the output of a single file, else a folder.
        options: how every file is enhanced.
        n_jobs: processes.
        overwrite: replace outputs that exist.
        json_path: where the summary goes as JSON, "-" for standard output; None for none.
        cluster: workers to use instead of processes.
        resume: keep the outputs of an earlier run of the same input, model and options, and replace the others.

    Raises:
        QuietmicError: wrong use, before anything is written; or a cluster that was lost.
    """
    begin = time.perf_counter()
    name = OnnxNetwork(options.model).card.name
    jobs, others = plan_jobs(inputs, out, replace(options, sha256=hash_file(options.model)))
    journal = Journal(out, read=resume) if cluster or resume else None
    kept = {job.target: why for job in jobs if (why := why_keep(job, overwrite, journal if resume else None))}
    results = [FileResult(path, path, "skipped", "not an audio file by its name") for path in others]
    results += [FileResult(job.source, job.target, "skipped", kept[job.target]) for job in jobs if job.target in kept]
    todo = [job for job in jobs if job.target not in kept]
    console = Console(stderr=json_path == "-", soft_wrap=True, markup=False, highlight=False, emoji=False)
    for result in results:
        console.print(describe(result))
    results += _run(todo, n_jobs, console, cluster, journal)
    summary = summarise(name, results, time.perf_counter() - begin)
    _print_summary(console, results, summary)
    if json_path is not None:
        write_json(summary | {"files": [asdict(result) for result in results]}, json_path)
    return 1 if summary["failed"] else 0


def describe(result: FileResult) -> str:
    """One line on what became of a file."""
    if result.status != "enhanced":
        return f"{result.status}: {result.source}: {result.reason}"
    speed = result.audio_s / result.elapsed_s if result.elapsed_s else 0.0
    line = f"enhanced: {result.source} -> {result.target} ({result.audio_s:.1f} s, {speed:.0f} x real time)"
    return "".join([line, *(f"\nwarning: {result.source}: {warning}" for warning in result.warnings)])


def _run(
    jobs: list[FileJob], n_jobs: int, console: Console, cluster: Cluster | None, journal: Journal | None
) -> list[FileResult]:
    """Results in the order of the jobs; a bar on a terminal, else a line for each file."""
    results: dict[Location, FileResult] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("enhancing", total=len(jobs))
        on_progress = partial(_show_share, progress, task, results)
        for _, result in run_jobs(jobs, n_jobs, cluster, journal, on_progress):
            results[result.source] = result
            progress.update(task, completed=len(results))
            if not console.is_terminal or result.status == "failed" or result.warnings:
                console.print(describe(result))
    return [results[job.source] for job in jobs]


def _show_share(progress: Progress, task: TaskID, results: Sized, share: float) -> None:
    progress.update(task, completed=len(results) + share)


def _print_summary(console: Console, results: list[FileResult], summary: dict[str, object]) -> None:
    console.print(
        f"{summary['enhanced']} enhanced, {summary['skipped']} skipped, {summary['failed']} failed; "
        f"{summary['audio_s']:.1f} s of sound in {summary['elapsed_s']:.1f} s"
    )
    sys.stdout.flush()
    for result in results:
        if result.status == "failed":
            print(describe(result), file=sys.stderr)
