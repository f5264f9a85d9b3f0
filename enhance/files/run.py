"""A batch of files over processes or a cluster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import run_on_cluster
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.batch import FileJob, FileResult, Options, enhance_file
from quietmic.enhance.files.parts import remove_parts
from quietmic.enhance.files.pipes import Pipe
from quietmic.enhance.files.plan import plan_jobs
from quietmic.enhance.files.resume import Journal
from quietmic.enhance.files.storage import Location, stamp
from quietmic.enhance.hashes import hash_once
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.processes import WorkerDied, run_in_processes
from quietmic.enhance.served import check_settings


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run.

    Attributes:
        n_jobs: processes.
        overwrite: replace outputs that exist.
        resume: keep the outputs of an earlier run of the same input, model and options, and replace the others.
        cluster: workers to use instead of processes.
    """

    n_jobs: int = 1
    overwrite: bool = False
    resume: bool = False
    cluster: Cluster | None = None


@dataclass(frozen=True)
class Batch:
    """Files to enhance, and what is known of the others before it begins.

    Attributes:
        model: its name.
        jobs: files to enhance.
        skipped: results of the files that are left as they are, or refused.
        journal: of the folder that is written, None where none is kept.
        options: how it is run.
    """

    model: str
    jobs: list[FileJob]
    skipped: list[FileResult]
    journal: Journal | None
    options: BatchOptions


def plan_batch(inputs: list[str], out: Location, options: Options, how: BatchOptions) -> Batch:
    """What a batch will do; nothing is written yet.

    Args:
        inputs: files, folders and glob patterns.
        out: the output of a single file, else a folder.
        options: how every file is enhanced.
        how: the batch is run.

    Raises:
        QuietmicError: a limit, a band or channels that no file has, or other wrong use; see
            `quietmic.enhance.files.plan.plan_jobs`.
    """
    check_settings(options.attenuation_limit_db, options.band)
    if options.channels is not None and not options.channels:
        raise QuietmicError("channels is empty: name at least one", exit_code=2)
    if unknown := [channel for channel in options.channels or () if channel < 0]:
        raise QuietmicError(f"there is no channel {unknown[0]}: channels are counted from 0", exit_code=2)
    name = read_card(options.model).name
    plan = plan_jobs(inputs, out, replace(options, sha256=hash_once(options.model)))
    if how.cluster and any(isinstance(place, Pipe) for job in plan.jobs for place in (job.source, job.target)):
        raise QuietmicError("standard input and output do not reach the workers of a cluster", exit_code=2)
    journal = Journal(out, read=how.resume) if how.cluster or how.resume else None
    skipped = list(plan.left_out)
    todo = []
    for job in plan.jobs:
        kept = _kept(job, how.overwrite, journal if how.resume else None)
        skipped += [kept] if kept else []
        todo += [] if kept else [job]
    return Batch(name, todo, skipped, journal, how)


def _kept(job: FileJob, overwrite: bool, journal: Journal | None) -> FileResult | None:
    """The result of a file whose output stays as it is; None where it has to be made."""
    if journal:
        reason = f"{job.target} was made before from the same input"
        return FileResult(job.source, job.target, "skipped", reason) if journal.has(job) else None
    if job.target.exists() and not overwrite:
        return FileResult(job.source, job.target, "skipped", f"{job.target} exists", "overwrite")
    return None


def run_batch(batch: Batch, on_progress: Callable[[float], None] = lambda share: None) -> Iterator[FileResult]:
    """Results of the jobs, each as soon as it is done, entered into the journal where there is one.

    Args:
        batch: what is to be done; parts that an earlier run left behind are removed first.
        on_progress: hears the share of a file that is done, where files are enhanced in this process.

    Raises:
        QuietmicError: the cluster was lost.
    """
    jobs, how = batch.jobs, batch.options
    remove_parts(*(job.target for job in jobs))  # of a run that was killed
    for job, result in _on_cluster(jobs, how.cluster) if how.cluster else _finished(jobs, how.n_jobs, on_progress):
        yield _noted(batch.journal, job, result)


def _noted(journal: Journal | None, job: FileJob, result: FileResult) -> FileResult:
    """The result, once the journal has it; a journal that cannot be written stops no batch, but is told of."""
    if journal and result.status == "enhanced":
        try:
            journal.add(job)
        except QuietmicError as error:
            return replace(result, warnings=[*result.warnings, str(error)])
    return result


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
    assert not isinstance(job.source, Pipe) and not isinstance(job.target, Pipe)
    return FileJob(job.source.absolute(), job.target.absolute(), options)


def _n_bytes(job: FileJob) -> int:
    return 0 if isinstance(job.source, Pipe) else stamp(job.source)[0]


def _finished(
    jobs: list[FileJob], n_jobs: int, on_progress: Callable[[float], None]
) -> Iterator[tuple[FileJob, FileResult]]:
    if n_jobs == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, enhance_file(job, on_progress)
        return
    # Fresh processes: a fork would inherit the threads of ONNX Runtime half alive.
    for job, result in run_in_processes(enhance_file, jobs, n_jobs, "spawn"):
        if isinstance(result, WorkerDied):
            remove_parts(job.target)
            result = FileResult(job.source, job.target, "failed", result.reason)
        yield job, result


def summarise(model: str, results: list[FileResult], elapsed_s: float) -> dict[str, Any]:
    """Figures of a batch for JSON: how many files came to what, seconds of sound, seconds it took."""
    counts = {
        status: sum(result.status == status for result in results) for status in ("enhanced", "skipped", "failed")
    }
    audio_s = sum(result.audio_s for result in results)
    return {"model": model, **counts, "audio_s": audio_s, "elapsed_s": elapsed_s}
