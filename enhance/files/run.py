"""A batch of files over processes or a cluster."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import WorkerDied, run_on_cluster
from quietmic.enhance.files.audio import remove_parts
from quietmic.enhance.files.batch import FileJob, FileResult, enhance_file
from quietmic.enhance.files.resume import Journal
from quietmic.enhance.files.storage import stamp


def why_keep(job: FileJob, overwrite: bool, journal: Journal | None) -> str:
    """Why the output stays as it is; "" where it has to be made."""
    if journal:
        return f"{job.target} was made before from the same input" if journal.has(job) else ""
    return f"{job.target} exists; --overwrite replaces it" if job.target.exists() and not overwrite else ""


def run_jobs(
    jobs: list[FileJob], n_jobs: int, cluster: Cluster | None, journal: Journal | None,
    on_progress: Callable[[float], None],
) -> Iterator[tuple[FileJob, FileResult]]:  # fmt: skip
    """Jobs with their results, each as soon as it is done, entered into the journal where there is one.

    Args:
        jobs: what is to be done; parts that an earlier run left behind are removed first.
        n_jobs: processes.
        cluster: workers to use instead of processes.
        journal: of the folder that is written.
        on_progress: hears the share of a file that is done, where files are enhanced in this process.
    """
    for job in jobs:
        remove_parts(job.target)  # of a run that was killed
    for job, result in _on_cluster(jobs, cluster) if cluster else _finished(jobs, n_jobs, on_progress):
        if journal and result.status == "enhanced":
            journal.add(job)
        yield job, result


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


def summarise(model: str, results: list[FileResult], elapsed_s: float) -> dict[str, object]:
    counts = {
        status: sum(result.status == status for result in results) for status in ("enhanced", "skipped", "failed")
    }
    audio_s = sum(result.audio_s for result in results)
    return {"model": model, **counts, "audio_s": audio_s, "elapsed_s": elapsed_s}
