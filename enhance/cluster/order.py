"""The order of a batch."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

J = TypeVar("J")


def longest_first(jobs: Iterable[J], size: Callable[[J], float], n_ahead: int) -> Iterator[J]:
    """The longest of the next `n_ahead` jobs each time, so that a long one does not begin last.

    Args:
        jobs: may be endless: no more than `n_ahead` are held.
        size: asked once for each job.
        n_ahead: jobs among which to choose.
    """
    heap: list[tuple[float, int, J]] = []
    for number, job in enumerate(jobs):
        heapq.heappush(heap, (-size(job), number, job))  # equal sizes keep their order
        if len(heap) >= n_ahead:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]
