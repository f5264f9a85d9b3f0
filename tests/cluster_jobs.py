"""What the tests let workers do; workers import it by name."""

import os
import signal
import time
from dataclasses import dataclass

from quietmic.enhance.files.batch import FileJob, FileResult, enhance_file
from quietmic.enhance.files.parts import PartFile


@dataclass(frozen=True)
class Number:
    """A trivial job."""

    value: int


def double(job: Number) -> int:
    return 2 * job.value


def fail_at_seven(job: Number) -> int:
    if job.value == 7:
        raise ValueError("seven")
    return job.value


def die_at_seven(job: Number) -> int:
    if job.value == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.value


def enhance_or_die(job: FileJob) -> FileResult:
    """Enhances a file, but a poisonous one kills the worker, leaving a half-written output."""
    if "poison" in job.source.name:
        with (job.target.parent.parent / "deaths").open("a") as file:
            file.write("x")
        PartFile(job.target).file.write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return enhance_file(job)


def enhance_slowly(job: FileJob) -> FileResult:
    """Enhances a file and takes long enough to be killed in the middle."""
    time.sleep(0.2)
    return enhance_file(job)


def process_id(job: Number) -> int:
    return os.getpid()


def loaded_sessions() -> tuple[int, int]:
    """(process, how often it opened a session)."""
    from quietmic.enhance.network import load_network

    return os.getpid(), load_network.cache_info().misses
