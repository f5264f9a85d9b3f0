"""The command `denoise`: a batch of files over processes or a cluster, with progress and a summary."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import WorkerDied, run_on_cluster
from quietmic.enhance.files.audio import remove_parts
from quietmic.enhance.files.batch import FileJob, FileResult, Options, enhance_file, plan_jobs
from quietmic.enhance.files.resume import Journal
from quietmic.enhance.files.storage import Location, stamp
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure.records import hash_file
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
        UserError: wrong use, before anything is written; or a cluster that was lost.
    """
    begin = time.perf_counter()
    name = OnnxNetwork(options.model).card.name
    jobs, others = plan_jobs(inputs, out, replace(options, sha256=hash_file(options.model)))
    journal = Journal(out, read=resume) if cluster or resume else None
    kept = {job.target: why for job in jobs if (why := _why_keep(job, overwrite, journal if resume else None))}
    results = [FileResult(path, path, "skipped", "not an audio file by its name") for path in others]
    results += [FileResult(job.source, job.target, "skipped", kept[job.target]) for job in jobs if job.target in kept]
    todo = [job for job in jobs if job.target not in kept]
    console = Console(stderr=json_path == "-", soft_wrap=True, markup=False, highlight=False, emoji=False)
    for result in results:
        console.print(describe(result))
    results += _run(todo, n_jobs, console, cluster, journal)
    summary = _summarise(name, results, time.perf_counter() - begin)
    _print_summary(console, results, summary)
    if json_path is not None:
        write_json(summary | {"files": [asdict(result) for result in results]}, json_path)
    return 1 if summary["failed"] else 0


def _why_keep(job: FileJob, overwrite: bool, journal: Journal | None) -> str:
    """Why the output stays as it is; "" where it has to be made."""
    if journal:
        return f"{job.target} was made before from the same input" if journal.has(job) else ""
    return f"{job.target} exists; --overwrite replaces it" if job.target.exists() and not overwrite else ""


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
    for job in jobs:
        remove_parts(job.target)  # of a run that was killed
    results: dict[Location, FileResult] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("enhancing", total=len(jobs))
        on_progress = partial(_show_share, progress, task, results)
        finished = _on_cluster(jobs, cluster) if cluster else _finished(jobs, n_jobs, on_progress)
        for job, result in finished:
            results[result.source] = result
            if journal and result.status == "enhanced":
                journal.add(job)
            progress.update(task, completed=len(results))
            if not console.is_terminal or result.status == "failed" or result.warnings:
                console.print(describe(result))
    return [results[job.source] for job in jobs]


def _show_share(progress: Progress, task: TaskID, results: Sized, share: float) -> None:
    progress.update(task, completed=len(results) + share)


def _on_cluster(jobs: list[FileJob], cluster: Cluster) -> Iterator[tuple[FileJob, FileResult]]:
    """The same as `_finished`; workers get absolute paths, since they run elsewhere."""
    sent = {_absolute(job): job for job in jobs}
    models = {job.options.model for job in sent}
    finished = run_on_cluster(enhance_file, sent, cluster, models, _n_bytes, lambda job: remove_parts(job.target))
    for absolute, result in finished:
        job = sent[absolute]
        if isinstance(result, WorkerDied):
            result = FileResult(job.source, job.target, "failed", result.reason)
        yield job, replace(result, source=job.source, target=job.target)


def _absolute(job: FileJob) -> FileJob:
    options = replace(job.options, model=job.options.model.absolute())
    return FileJob(job.source.absolute(), job.target.absolute(), options)


def _n_bytes(job: FileJob) -> int:
    return stamp(job.source)[0]


def _finished(
    jobs: list[FileJob], n_jobs: int, on_progress: Callable[[float], None]
) -> Iterator[tuple[FileJob, FileResult]]:
    if n_jobs == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, enhance_file(job, on_progress)
        return
    # Fresh processes: a fork would inherit the threads of ONNX Runtime half alive.
    with ProcessPoolExecutor(min(n_jobs, len(jobs)), multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(enhance_file, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], _result_of(future, futures[future])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C ends the batch, not only the file at hand


def _result_of(future: "Future[FileResult]", job: FileJob) -> FileResult:
    try:
        return future.result()
    except BrokenProcessPool:
        return FileResult(job.source, job.target, "failed", "a worker process died before it was done")


def _summarise(model: str, results: list[FileResult], elapsed_s: float) -> dict[str, object]:
    counts = {
        status: sum(result.status == status for result in results) for status in ("enhanced", "skipped", "failed")
    }
    audio_s = sum(result.audio_s for result in results)
    return {"model": model, **counts, "audio_s": audio_s, "elapsed_s": elapsed_s}


def _print_summary(console: Console, results: list[FileResult], summary: dict[str, object]) -> None:
    console.print(
        f"{summary['enhanced']} enhanced, {summary['skipped']} skipped, {summary['failed']} failed; "
        f"{summary['audio_s']:.1f} s of sound in {summary['elapsed_s']:.1f} s"
    )
    sys.stdout.flush()
    for result in results:
        if result.status == "failed":
            print(describe(result), file=sys.stderr)
