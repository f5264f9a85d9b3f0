"""Processes that share work, and end with the one that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

BEFORE_END: list[Callable[[], None]] = []
"""What a worker does when it is ended in the middle of its work, such as removing half a file."""

_END_S = 5  # after which a worker that does not end is killed


@contextmanager
def worker_pool(n_workers: int, method: str | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers end when the context is left by an error, an interrupt or the end of this process.

    Args:
        n_workers: processes.
        method: how they are started, as in "spawn"; None for what is usual on this system.
    """
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(n_workers, multiprocessing.get_context(method), initializer=_begin)
    try:
        yield pool
    except BaseException:  # whoever reads the results may also simply stop
        pool.shutdown(wait=False, cancel_futures=True)
        workers = set(multiprocessing.active_children()) - before
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(_END_S)
            worker.kill()
        raise
    finally:
        pool.shutdown()


def _begin() -> None:
    """In a worker: an interrupt of the terminal is for the parent, which ends its workers; so does its death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: _end())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        _end()


def _end() -> None:
    for clean in BEFORE_END:
        clean()
    os._exit(1)
