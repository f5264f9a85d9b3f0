"""Quality of models and peers on a folder of recordings: every file, every system, every measure.

One function does one file with one system (job.py); a pool of processes runs them; each result is kept in a
cache, so that a run that was stopped goes on where it was, and a second one costs nothing.
"""

import json
import logging
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from quietmic.enhance.cluster.connect import Cluster
from quietmic.enhance.cluster.distribute import run_on_cluster
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.hashes import hash_file, hash_files
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure import metrics
from quietmic.enhance.measure.job import CEILING, Job, absolute_job, ceilings_of, try_job
from quietmic.enhance.measure.metrics import metric_versions
from quietmic.enhance.measure.recognition import WORD_ERROR, WORDS_FACT, recogniser_versions
from quietmic.enhance.measure.recordings import Recording, find_recordings, pair_folders
from quietmic.enhance.measure.records import DEFAULT_FOLDER, write_record
from quietmic.enhance.measure.statistics import SEED
from quietmic.enhance.measure.summary import GAIN_NAMES, Row, summarise_rows
from quietmic.enhance.measure.systems import NOISY, System, describe_system, noisy_system
from quietmic.enhance.measure.wideband import WIDEBAND_NAMES, WIDEBAND_REVISION
from quietmic.enhance.processes import WorkerDied, run_in_processes
from quietmic.enhance.progress import Progress, silent

logger = logging.getLogger(__name__)

DEFAULT_CACHE = Path("out/cache/evaluate")
LeaveOut = Callable[[Recording, QuietmicError], None]
_MAX_DIFFERENCE_S = 0.05  # noisy and clean file differ by more than this: one of them may be the wrong one


@dataclass(frozen=True)
class EvaluationOptions:
    """How an evaluation is run; nothing of it changes a figure of a recording.

    Attributes:
        n_jobs: processes.
        cache: folder of finished results.
        records: folder where the record of the run goes.
        cluster: workers to use instead of processes.
        progress: hears of each result.
        fast: DNSMOS, the slowest of the measures, is left out.
        asr: word error is measured of recordings whose words are known.
        skip_bad: recordings that cannot be read or are damaged are left out and counted, in place of ending the run.
        only_cached: nothing is computed: the result is of what an earlier run finished.
    """

    n_jobs: int = 1
    cache: Path = DEFAULT_CACHE
    records: Path = DEFAULT_FOLDER
    cluster: Cluster | None = None
    progress: Progress = silent
    fast: bool = False
    asr: bool = False
    skip_bad: bool = False
    only_cached: bool = False


def evaluate(recordings: list[Recording], systems: list[System], options: EvaluationOptions) -> dict[str, Any]:
    """Figures of every system on every recording, and what they come to.

    Args:
        recordings: the recordings; those with fewer channels than a system needs are left out for it, with a warning.
        systems: what to compare; the noisy signal is added.
        options: how to run it.

    Returns:
        {"systems", "rows", "summary", "splits", "paired", "ceilings", "skipped", "unfinished"}: plain data for JSON;
        "ceilings" is like "summary", of the clean targets and the reverberant speech, as far as they are there, and
        "unfinished" the number of results that a stopped run still lacks.

    Raises:
        QuietmicError: a file cannot be read or is damaged (all of them, where bad ones are skipped), a system needs
            more channels than any recording has, or a worker died.
    """
    systems = [noisy_system(), *systems]
    skipped: dict[str, str] = {}

    def leave_out(recording: Recording, error: QuietmicError) -> None:
        if not options.skip_bad:
            raise error
        skipped[recording.name] = str(error)
        logger.warning("left out: %s", error)
        if len(skipped) == len(recordings):
            raise QuietmicError(f"none of the {len(recordings)} recordings can be read, the last one: {error}")

    jobs = _plan(recordings, systems, options, leave_out)
    rows = {job.key: row for job in jobs if (row := _read_cached(options.cache, job)) is not None}
    todo = [] if options.only_cached else [job for job in jobs if job.key not in rows]
    # Closed at once where the run is stopped: workers must not go on while what is there is being written.
    with closing(_run(todo, options.n_jobs, options.cluster)) as results:
        for job, result in results:
            if isinstance(result, QuietmicError):
                leave_out(job.recording, result)
                continue
            write_json(result, _cache_path(options.cache, job.key))
            rows[job.key] = result
            options.progress("evaluating", len(rows), len(jobs), f"{job.recording.name[:24]} {job.system.label}")
    asked = [job for job in jobs if job.recording.name not in skipped]
    done = _finished(asked, rows)
    labelled = _add_gains([_label(rows[job.key], job) for job in done])
    limits, ordered = ([row for job, row in zip(done, labelled, strict=True) if (job.system.kind == CEILING) == wanted]
                       for wanted in (True, False))  # fmt: skip
    measured = {row["system"] for row in ordered}
    facts = {
        "systems": [describe_system(system) for system in systems if system.label in measured],
        "rows": ordered,
        "skipped": [{"scene": name, "reason": reason} for name, reason in skipped.items()],
        "unfinished": len(asked) - len(done),
    }
    return facts | summarise_rows(ordered) | {"ceilings": summarise_rows(limits)["summary"]}


def _finished(jobs: list[Job], rows: dict[str, Row]) -> list[Job]:
    """Those with a result, on recordings whose noisy signal has one, without which there are no gains."""
    heard = {job.recording.name for job in jobs if job.system.kind == NOISY and job.key in rows}
    return [job for job in jobs if job.key in rows and job.recording.name in heard]


def _plan(
    recordings: list[Recording], systems: list[System], options: EvaluationOptions, leave_out: LeaveOut
) -> list[Job]:
    fast, recogniser = options.fast, _find_recogniser(recordings) if options.asr else ""
    known: list[tuple[Recording, audio.AudioInfo]] = []
    for recording in recordings:
        try:
            known.append((recording, _check_recording(recording)))
        except QuietmicError as error:
            leave_out(recording, error)
    _tell_left_out(systems, [info.n_channels for _, info in known])
    versions = json.dumps(metrics.metric_versions(), sort_keys=True) + ("\nfast" if fast else "")
    jobs = []
    for recording, info in known:
        words = str(recording.facts.get(WORDS_FACT, "")) if recogniser else ""
        files = hash_file(recording.noisy) + (hash_file(recording.clean) if recording.clean else "")
        spoken = [recogniser, words] if words else []
        more = [f"wideband {WIDEBAND_REVISION}"] if info.sample_rate > metrics.METRIC_RATE else []
        more += spoken
        for system in systems:
            if system.n_mics <= info.n_channels:
                text = "\n".join([files, system.kind, system.fingerprint, str(system.n_mics), versions, *more])
                jobs.append(Job(recording, system, fast, words, sha256(text.encode()).hexdigest()))
        for system, path in ceilings_of(recording, fast, words):
            text = "\n".join([system.label, hash_file(path), hash_file(recording.clean or path), versions, *spoken])
            jobs.append(Job(recording, system, fast, words, sha256(text.encode()).hexdigest()))
    return jobs


def _find_recogniser(recordings: list[Recording]) -> str:
    """What measures word error, for the keys of the cache.

    Raises:
        QuietmicError: it is not installed, or nothing is known of what is said.
    """
    versions = json.dumps(recogniser_versions(), sort_keys=True)
    if not any(recording.facts.get(WORDS_FACT) for recording in recordings):
        message = f"word error needs a column '{WORDS_FACT}' in manifest.csv: what is said in each recording"
        raise QuietmicError(message, exit_code=2)
    return versions


def _check_recording(recording: Recording) -> audio.AudioInfo:
    """What the noisy file is; warns of a clean file of another length.

    Raises:
        QuietmicError: a file cannot be read, or is damaged as far as its header tells.
    """
    noisy = audio.read_info(recording.noisy)
    if recording.clean:
        clean = audio.read_info(recording.clean)
        noisy_s, clean_s = noisy.n_samples / noisy.sample_rate, clean.n_samples / clean.sample_rate
        if abs(noisy_s - clean_s) > _MAX_DIFFERENCE_S:
            logger.warning(
                "%s has %.2f s, %s %.2f s: only as much as both have is measured",
                recording.noisy, noisy_s, recording.clean, clean_s,
            )  # fmt: skip
    return noisy


def _tell_left_out(systems: list[System], counts: list[int]) -> None:
    """Says which systems do not get all recordings, whose channels are counted in `counts`.

    Raises:
        QuietmicError: a system gets none.
    """
    for system in systems:
        n_left_out = sum(n_channels < system.n_mics for n_channels in counts)
        if n_left_out == len(counts):
            message = f"{system.label}: no recording has {system.n_mics} channels"
            raise QuietmicError(message, exit_code=2, argument="mics")
        if n_left_out:
            logger.warning(
                "%s: %d of %d recordings are left out, having fewer than %d channels",
                system.label, n_left_out, len(counts), system.n_mics,
            )  # fmt: skip


def _run(jobs: list[Job], n_jobs: int, cluster: Cluster | None) -> Generator[tuple[Job, Row | QuietmicError]]:
    """Results as they come."""
    if cluster:
        yield from _on_cluster(jobs, cluster)
        return
    if n_jobs <= 1:
        for job in jobs:
            yield job, try_job(job)
        return
    for job, row in run_in_processes(try_job, jobs, n_jobs, "spawn"):
        yield job, _or_raise(row, job)


def _on_cluster(jobs: list[Job], cluster: Cluster) -> Generator[tuple[Job, Row | QuietmicError]]:
    """The same on a cluster, whose workers get absolute paths, since they run elsewhere."""
    asked = {job.key: job for job in jobs}
    models = {Path(job.system.target).absolute() for job in jobs if job.system.kind == "model"}
    finished = run_on_cluster(
        try_job, map(absolute_job, jobs), cluster, models, lambda job: job.recording.noisy.stat().st_size
    )
    for job, row in finished:
        yield asked[job.key], _or_raise(row, job)


def _or_raise(row: Row | QuietmicError | WorkerDied, job: Job) -> Row | QuietmicError:
    if isinstance(row, WorkerDied):
        message = f"{job.recording.name} with {job.system.label}: {row.reason}"
        raise QuietmicError(f"{message}; the same command goes on where this one stopped")
    return row


def _cache_path(cache: Path, key: str) -> Path:
    return cache / key[:2] / f"{key}.json"


def _read_cached(cache: Path, job: Job) -> Row | None:
    try:
        return json.loads(_cache_path(cache, job.key).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or cut off in the middle of being written
        return None


def _label(row: Row, job: Job) -> Row:
    """The names come first as columns, and once more because a manifest's columns may have the same names."""
    names = {"scene": job.recording.name, "system": job.system.label}
    unmeasured = dict.fromkeys((*WIDEBAND_NAMES, WORD_ERROR))  # in rows that were kept before these measures were there
    return names | job.recording.facts | names | {"mics_used": job.system.n_mics} | unmeasured | row


def _add_gains(rows: list[Row]) -> list[Row]:
    noisy = {row["scene"]: row for row in rows if row["system"] == NOISY}
    for row in rows:
        for gain in GAIN_NAMES:
            name = gain.removesuffix("_gain")
            value, before = row[name], noisy[row["scene"]][name]
            row[gain] = None if value is None or before is None else value - before
    return rows


def run_evaluation(
    folder: Path, systems: list[System], options: EvaluationOptions, clean: Path | None = None
) -> dict[str, Any]:
    """Evaluates a folder and leaves a record; the record is what is returned, with its path.

    Args:
        folder: of recordings; with `clean`, of the noisy ones alone.
        systems: what to compare.
        options: how to run it.
        clean: folder of the clean files, under the same names.
    """
    recordings = pair_folders(folder, clean) if clean else find_recordings(folder)
    versions = metric_versions()
    if lacking := [package for package, number in versions.items() if number is None]:
        logger.warning('not measured without %s: pip install "quietmic[metrics]"', ", ".join(lacking))
    result = evaluate(recordings, systems, options)
    facts = {
        "data": str(folder),
        "data_sha256": hash_files(_files_of(recordings)),
        "seed": SEED,
        "metric_versions": versions,
    }
    path = write_record("evaluate", result, options.records, **facts)
    return {"kind": "evaluate", **facts, "figures": result, "path": str(path)}


def _files_of(recordings: list[Recording]) -> list[Path]:
    return [path for recording in recordings for path in (recording.noisy, recording.clean) if path]
