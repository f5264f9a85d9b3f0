"""The time for which a run has closed the devices, as nobody uses the virtual one."""

import time
from collections.abc import Callable


class Rest:
    """Measures how long a run rests, over all its rests.

    Attributes:
        is_on: whether it rests now.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts awake, with no rest behind it.

        Args:
            clock: seconds; for tests.
        """
        self._clock = clock
        self.is_on = False
        self._before_s = self._began = 0.0

    @property
    def seconds(self) -> float:
        """Time of rest so far, the present one included."""
        return self._before_s + (self._clock() - self._began if self.is_on else 0.0)

    def begin(self) -> None:
        """The devices have been closed."""
        self.is_on, self._began = True, self._clock()

    def end(self) -> None:
        """The devices are needed; harmless when they were open."""
        self._before_s, self.is_on = self.seconds, False
