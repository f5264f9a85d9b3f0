"""A batch over the workers of a dask cluster: a few jobs per worker at a time, results as they come.

The function that does one job is the one that processes of this machine call; enhance/cluster/remote.py runs it on the
worker.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from quietmic.enhance.cluster.connect import CONNECT_S, Cluster, connect
from quietmic.enhance.cluster.order import longest_first
from quietmic.enhance.cluster.remote import Needs, Refusal, needs_of, run_checked
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.processes import WorkerDied

J = TypeVar("J")
R = TypeVar("R")

logger = logging.getLogger(__name__)

WINDOW = 4  # jobs per worker that the scheduler knows of
LOOK_AHEAD = 16  # jobs per worker among which the longest goes first
MAX_DEATHS = 3  # workers that one job may take with it
_TICK_S = 1.0


def run_on_cluster(
    function: Callable[[J], R],
    jobs: Iterable[J],
    cluster: Cluster,
    models: Iterable[Path] = (),
    size: Callable[[J], float] | None = None,
    on_death: Callable[[J], None] = lambda job: None,
) -> Iterator[tuple[J, R | WorkerDied]]:
    """Jobs with their results, in the order in which they end.

    Args:
        function: of a module, so that it travels by its name; what it raises is raised here.
        jobs: plain data.
        cluster: where to run them.
        models: files that every worker must have, the same to the bit.
        size: the longest of the next few jobs goes first.
        on_death: called when a worker died that may have had the job at hand, before it is tried again; also for
            the jobs at hand when the batch is given up, as by an interrupt.

    Raises:
        QuietmicError: no cluster, no worker that may take the work, or the scheduler was lost.
    """
    batch: _Batch[J, R] | None = None
    try:
        with connect(cluster) as client:
            batch = _Batch(client, cluster.address, function, needs_of(models), size, on_death)
            yield from batch.results(jobs)
    except BaseException:  # whoever reads the results may also simply stop
        for job in batch.at_hand() if batch else ():
            on_death(job)
        raise


@dataclass(eq=False)
class _Ticket(Generic[J]):
    """A job on its way; `workers` are those it may go to, None for any."""

    job: J
    deaths: int = 0
    workers: list[str] | None = field(default=None)


class _Batch(Generic[J, R]):
    """One batch: what runs, what must run again, and which workers refused."""

    def __init__(
        self, client: Any, address: str, function: Callable[[J], R], needs: Needs,
        size: Callable[[J], float] | None, on_death: Callable[[J], None],
    ) -> None:  # fmt: skip
        self._client, self._address, self._function, self._needs = client, address, function, needs
        self._size, self._on_death = size, on_death
        self._running: dict[Any, _Ticket[J]] = {}
        self._again: list[_Ticket[J]] = []
        self._refused: dict[str, str] = {}
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._alive: list[str] = []  # workers that did not refuse
        self._counted = 0.0  # when
        self._n_submitted = 0

    def results(self, jobs: Iterable[J]) -> Iterator[tuple[J, R | WorkerDied]]:
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise QuietmicError(f"no workers at {self._address}") from error
        self._look_after()
        waiting = iter(jobs)
        if self._size:
            waiting = longest_first(waiting, self._size, LOOK_AHEAD * len(self._alive))
        while True:
            self._submit(waiting)
            if not self._running:
                return
            for future, result in self._next_results():
                ticket = self._running.pop(future)
                if isinstance(result, Refusal):
                    self._refuse(result, ticket)
                elif not isinstance(result, WorkerDied) or self._died(ticket):
                    yield ticket.job, result

    def at_hand(self) -> list[J]:
        """Jobs that were sent and gave no result."""
        return [ticket.job for ticket in self._running.values()]

    def _submit(self, waiting: Iterator[J]) -> None:
        """Fills the window: a few jobs per worker, or one while a job may have killed its worker.

        With one job on each worker the next death tells which job it was.
        """
        suspects = any(ticket.deaths for ticket in (*self._again, *self._running.values()))
        if suspects or time.monotonic() > self._counted + _TICK_S:
            self._look_after()
        limit = max(1, len(self._alive)) * (1 if suspects else WINDOW)
        while len(self._running) < limit:
            if self._again:
                ticket = self._again.pop()
            elif (job := next(waiting, None)) is not None:
                ticket = _Ticket(job)
            else:
                return
            ticket.workers = self._alive if self._refused else None
            self._n_submitted += 1
            future = self._client.submit(
                run_checked, self._function, ticket.job, self._needs, key=f"quietmic-{id(self)}-{self._n_submitted}",
                pure=False, workers=ticket.workers,
            )  # fmt: skip
            self._running[future] = ticket
            future.add_done_callback(self._ended.put)

    def _next_results(self) -> list[tuple[Any, Any]]:
        """What ended since the last call; waits for something, not for ever."""
        try:
            ended = [self._ended.get(timeout=_TICK_S)]
        except Empty:
            self._look_after()
            return []
        while not self._ended.empty():
            ended.append(self._ended.get())
        ended = [future for future in ended if future in self._running]
        if any(future.status in ("cancelled", "lost") for future in ended):
            raise self._lost()
        good = [future for future in ended if future.status == "finished"]
        results = self._ask(lambda: self._client.gather(good, errors="skip"))
        pairs = list(zip(good, results, strict=False)) if len(results) == len(good) else []
        known = {future for future, _ in pairs}
        return pairs + [(future, self._one_result(future)) for future in ended if future not in known]

    def _one_result(self, future: Any) -> Any:
        from distributed import KilledWorker

        error = self._ask(future.exception)
        if error is None:
            return self._ask(future.result)
        if isinstance(error, KilledWorker):
            return WorkerDied(f"its worker process died {MAX_DEATHS} times")
        if isinstance(error, ImportError):
            raise QuietmicError(f"a worker lacks this version of quietmic or what it needs: {error}") from error
        raise error

    def _died(self, ticket: _Ticket[J]) -> bool:
        """Counts a death of a worker against its job, and says whether the job is given up."""
        ticket.deaths += 1
        self._on_death(ticket.job)
        if ticket.deaths < MAX_DEATHS:
            self._again.append(ticket)
        return ticket.deaths >= MAX_DEATHS

    def _refuse(self, refusal: Refusal, ticket: _Ticket[J]) -> None:
        self._again.append(ticket)
        if refusal.worker not in self._refused:
            self._refused[refusal.worker] = refusal.reason
            logger.warning("worker %s takes no work: %s", refusal.worker, refusal.reason)
        self._look_after()
        if not self._alive:
            raise QuietmicError(f"no worker may take the work: {'; '.join(sorted(set(self._refused.values())))}")

    def _look_after(self) -> None:
        """Counts the workers that did not refuse; notices what sends no result.

        That is: no workers, a lost scheduler, jobs whose permitted workers are gone.
        """
        if self._client.status != "running":
            raise self._lost()
        found = self._ask(self._client.nthreads)
        if not found and self._alive:
            logger.warning("no workers at %s: waiting for one", self._address)
        self._alive, self._counted = [worker for worker in found if worker not in self._refused], time.monotonic()
        for future, ticket in list(self._running.items()):
            if ticket.workers and self._alive and not set(self._alive) & set(ticket.workers):
                self._again.append(self._running.pop(future))
                future.cancel()

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (OSError, CancelledError, RuntimeError) as error:
            raise self._lost() from error

    def _lost(self) -> QuietmicError:
        return QuietmicError(
            f"the scheduler at {self._address} was lost; the same command goes on where this one stopped"
        )
