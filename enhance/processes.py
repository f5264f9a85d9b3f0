"""Processes that share work, and end with the one that started them.

Each has a line of its own to the process that started it. Where lines are shared, as in the pools of the standard
library, one that is ended in the middle of a result leaves a reader that waits for the rest of it for ever.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from traceback import format_exception
from typing import Any, Generic, TypeVar

from quietmic.enhance.errors import QuietmicError

J = TypeVar("J")
R = TypeVar("R")

BEFORE_END: list[Callable[[], None]] = []
"""What a worker does when it is ended in the middle of its work, such as removing half a file."""

_END_S = 5  # after which workers that do not end are killed
_MOST_ON_WINDOWS = 60  # it waits for 63 things at a time


@dataclass(frozen=True)
class WorkerDied:
    """Stands for the result of a job whose worker process died before it was done."""

    reason: str = "its worker process died before it was done, as where memory is short"


def run_in_processes(
    function: Callable[[J], R], jobs: Iterable[J], n_workers: int, method: str | None = None
) -> Iterator[tuple[J, R | WorkerDied]]:
    """Jobs with their results, in the order in which they end; the workers end when whoever reads them stops.

    Args:
        function: of a module, so that it travels by its name; what it raises is raised here.
        jobs: plain data, taken one by one as workers are free for them.
        n_workers: processes; no more than 60 of them on Windows.
        method: how they are started, as in "spawn"; None for what is usual on this system.
    """
    waiting = iter(jobs)
    n_workers = min(n_workers, _MOST_ON_WINDOWS) if sys.platform == "win32" else n_workers
    context = multiprocessing.get_context(method)
    workers: list[_Worker[J, R]] = []
    try:
        for job in islice(waiting, n_workers):
            workers.append(_Worker(context, function, job))
        while busy := {worker.line: worker for worker in workers if worker.is_busy}:
            for line in wait(list(busy)):
                worker = busy[line]
                done, result = worker.job, worker.result()
                if isinstance(result, WorkerDied):
                    workers.remove(worker)
                for job in islice(waiting, 1):
                    if worker in workers:
                        worker.give(job)
                    else:
                        workers.append(_Worker(context, function, job))
                yield done, result
    except BaseException:  # whoever reads the results may also simply stop
        for worker in workers:
            worker.process.terminate()
        raise
    finally:
        _see_off(workers)


def map_in_processes(
    function: Callable[[J], R], jobs: Sequence[J], n_workers: int, method: str | None = None
) -> Iterator[R]:
    """Results in the order of the jobs; see `run_in_processes`.

    Raises:
        QuietmicError: a worker died.
    """
    early: dict[int, R] = {}
    n_given = 0
    for (index, job), result in run_in_processes(partial(_second, function), enumerate(jobs), n_workers, method):
        if isinstance(result, WorkerDied):
            raise QuietmicError(f"{job}: {result.reason}")
        early[index] = result
        while n_given in early:
            yield early.pop(n_given)
            n_given += 1


def _second(function: Callable[[J], R], numbered: tuple[int, J]) -> R:
    return function(numbered[1])


class _Worker(Generic[J, R]):
    """A process, and the job that it was given last."""

    def __init__(self, context: Any, function: Callable[[J], R], job: J) -> None:
        self.line, theirs = context.Pipe()
        # The interpreter ends it at its own end, should an interrupt come before anybody knows of it.
        self.process = context.Process(target=_work, args=(function, theirs), daemon=True)
        with _interrupts_held_back(context):
            self.process.start()
        theirs.close()
        self.give(job)

    def give(self, job: J) -> None:
        self.job, self.is_busy = job, True
        with suppress(OSError):  # it died: seen when the result is read
            self.line.send((job,))

    def result(self) -> R | WorkerDied:
        """Of its job, which is done or died with it."""
        self.is_busy = False
        try:
            error, result = self.line.recv()
        except (EOFError, OSError):
            self.process.join(_END_S)
            return WorkerDied()
        if error is not None:
            raise error
        found: R = result
        return found


def _see_off(workers: "list[_Worker[J, R]]") -> None:
    for worker in workers:
        with suppress(OSError):  # it ended already
            worker.line.send(None)
    end = time.monotonic() + _END_S
    for worker in workers:
        worker.process.join(max(0, end - time.monotonic()))
        worker.process.kill()
        worker.line.close()


@contextmanager
def _interrupts_held_back(context: Any) -> Iterator[None]:
    """What is started meanwhile hears of no interrupt of the terminal before it has settled to listen to none."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    if context.get_start_method() != "fork":
        resource_tracker.ensure_running()  # started in between, it would let interrupts through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(function: Callable[[J], R], line: Connection) -> None:
    """A worker's life: an interrupt of the terminal is for the parent, which ends its workers; so does its death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: _end())
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # for what it starts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # the parent died
        while order := line.recv():
            line.send(_answer(function, *order))


def _answer(function: Callable[[J], R], job: J) -> tuple[Exception | None, R | None]:
    try:
        return None, function(job)
    except Exception as error:
        if not isinstance(error, QuietmicError):
            error.add_note("In a worker process:\n" + "".join(format_exception(error)))
        return error, None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        _end()


def _end() -> None:
    for clean in BEFORE_END:
        clean()
    os._exit(1)
