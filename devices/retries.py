"""Attempts to get lost devices back, with growing pauses."""

import time
from collections.abc import Callable, Iterator

FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 8.0  # between attempts, doubled each time
_TICK_S = 0.05


def attempts(
    is_over: Callable[[], bool], tick: Callable[[], None] | None, log: Callable[[str], None]
) -> Iterator[None]:
    """Gives a turn after each pause, until the run is over.

    Args:
        is_over: whether the run is.
        tick: called some twenty times a second meanwhile.
        log: takes messages for the person.
    """
    pause_s = FIRST_PAUSE_S
    while not is_over():
        log(f"trying again in {pause_s:g} s")
        end = time.monotonic() + pause_s
        while time.monotonic() < end and not is_over():
            time.sleep(_TICK_S)
            if tick:
                tick()
        pause_s = min(2 * pause_s, LAST_PAUSE_S)
        yield
