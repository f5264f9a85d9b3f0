"""One recording through one system: its measures, wherever they are computed."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.measure import metrics
from quietmic.enhance.measure.rates import at_rate
from quietmic.enhance.measure.recognition import WORD_ERROR, word_error
from quietmic.enhance.measure.recordings import Recording
from quietmic.enhance.measure.summary import Row
from quietmic.enhance.measure.systems import NOISY, System, run_system
from quietmic.enhance.measure.wideband import measure_wideband

CEILING = "ceiling"
CLEAN = System("clean target", CEILING)
REVERBERANT = System("reverberant speech", CEILING)


@dataclass(frozen=True)
class Job:
    """One recording through one system.

    Attributes:
        recording: what is enhanced.
        system: what enhances it.
        fast: DNSMOS is left out.
        words: what is said, to measure word error by; empty where it is not measured.
        key: SHA-256 over the files, the words, the system and the versions of the measures.
    """

    recording: Recording
    system: System
    fast: bool
    words: str
    key: str


def ceilings_of(recording: Recording, fast: bool, words: str) -> list[tuple[System, Path]]:
    """What a system is to be held against beside the noisy input, and the file of it.

    The clean target is what a perfect system gives, of which DNSMOS and word error alone have to be measured; the
    reverberant speech is what one gives that takes the noise away and leaves the room.
    """
    clean = [(CLEAN, recording.clean)] if recording.clean and (words or not fast) else []
    return clean + ([(REVERBERANT, recording.reverberant)] if recording.clean and recording.reverberant else [])


def evaluate_job(job: Job) -> Row:
    """Measures of one file and one system: the same function in this process, in a pool or on a cluster.

    Measures are taken at 16 kHz, above that those of the whole band as well; both signals are cut to the shorter one.
    """
    if job.system.kind == CEILING:
        return _measure_ceiling(job)
    noisy, sample_rate = audio.read_undamaged(job.recording.noisy)
    begin = time.perf_counter()
    enhanced = run_system(job.system, noisy, sample_rate)
    elapsed_s = time.perf_counter() - begin
    wideband = measure_wideband(*_cut(_read_clean(job.recording.clean, sample_rate), enhanced), sample_rate)
    clean = _read_clean(job.recording.clean, metrics.METRIC_RATE)
    clean, enhanced = _cut(clean, at_rate(enhanced, sample_rate, metrics.METRIC_RATE))
    seconds = noisy.shape[1] / sample_rate
    rtf = None if job.system.kind == NOISY or not seconds else elapsed_s / seconds
    measured = metrics.measure(clean, enhanced, metrics.METRIC_RATE, job.fast)
    return {"seconds": seconds, "pool_rtf": rtf} | measured | wideband | _measure_words(job, enhanced)


def _measure_words(job: Job, heard: Array) -> Row:
    return {WORD_ERROR: word_error(job.words, heard, metrics.METRIC_RATE) if job.words else None}


def _measure_ceiling(job: Job) -> Row:
    """Measures of one that is a file: DNSMOS, word error, and where it is not the clean target itself, the others."""
    path = dict(ceilings_of(job.recording, job.fast, job.words))[job.system]
    samples, sample_rate = audio.read_undamaged(path)
    reference = None if job.system == CLEAN else _read_clean(job.recording.clean, metrics.METRIC_RATE)
    reference, heard = _cut(reference, at_rate(samples[0], sample_rate, metrics.METRIC_RATE))
    measured = metrics.measure(reference, heard, metrics.METRIC_RATE, job.fast)
    return {"seconds": samples.shape[1] / sample_rate, "pool_rtf": None} | measured | _measure_words(job, heard)


def try_job(job: Job) -> Row | QuietmicError:
    """The same, or why there are no measures: what a worker gives back."""
    try:
        return evaluate_job(job)
    except QuietmicError as error:
        return error


def absolute_job(job: Job) -> Job:
    """The same job for a worker whose current folder is another."""
    recording, system = job.recording, job.system
    clean = recording.clean and recording.clean.absolute()
    reverberant = recording.reverberant and recording.reverberant.absolute()
    recording = replace(recording, noisy=recording.noisy.absolute(), clean=clean, reverberant=reverberant)
    if system.kind == "model":
        system = replace(system, target=str(Path(system.target).absolute()))
    elif system.weights:
        system = replace(system, weights=system.weights.absolute())
    return replace(job, recording=recording, system=system)


def _read_clean(path: Path | None, wanted_rate: int) -> Array | None:
    if path is None:
        return None
    samples, sample_rate = audio.read_undamaged(path)
    return at_rate(samples[0], sample_rate, wanted_rate)


def _cut(clean: Array | None, enhanced: Array) -> tuple[Array | None, Array]:
    """Both as long as the shorter one."""
    if clean is None:
        return None, enhanced
    n_samples = min(clean.size, enhanced.size)
    return clean[:n_samples], enhanced[:n_samples]
