"""The wall clock of a training run, the same for all processes of a team."""

import time

from quietmic.models.training.parallel import Team


class Clock:
    """Says how much time is left for steps, how far the learning rate has fallen, and what is due.

    Attributes:
        reserve: minutes at the end that steps leave to what comes after them; the same for all processes.

    Args:
        minutes: wall clock of the run.
        decay_minutes: at the end, in which the learning rate falls to zero; 0 = it does not.
        team: whose first process's clock all follow.
    """

    def __init__(self, minutes: float, decay_minutes: float, team: Team) -> None:
        self._minutes, self._decay_minutes, self._team = minutes, decay_minutes, team
        self._start = self._now = team.same(time.monotonic())
        self._done: dict[str, float] = {}
        self.reserve = 0.0

    def tick(self) -> None:
        """Reads the clock; between two ticks it stands still."""
        self._now = self._team.same(time.monotonic())

    @property
    def left(self) -> float:
        """Minutes that are left for steps, negative beyond their end."""
        return self._minutes - self.reserve - self.passed

    @property
    def passed(self) -> float:
        """Minutes from the start to the last tick."""
        return (self._now - self._start) / 60

    @property
    def decay(self) -> float:
        """Factor 0..1 of the learning rate."""
        return min(1.0, max(self.left, 0.0) / self._decay_minutes) if self._decay_minutes else 1.0

    def elapsed(self) -> float:
        """Minutes since the start, read now."""
        return (time.monotonic() - self._start) / 60

    def is_beyond(self, minutes: float) -> bool:
        """Whether so many minutes have passed by now."""
        return self.elapsed() > minutes

    def due(self, what: str, every_minutes: float) -> bool:
        """Whether it is time for `what`, which happens every so many minutes; asking takes it as done."""
        if self._now - self._done.setdefault(what, self._start) <= 60 * every_minutes:
            return False
        self._done[what] = self._now
        return True
