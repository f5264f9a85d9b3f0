"""Weighs what is lost in seconds of sound, not in events: one gap may last two seconds."""

from quietmic.devices.tally import Tally

_WINDOW_S = 5.0
_MOST_GAPS = 4
_MOST_LOST = 0.03  # of the time


class Losses:
    """Compares the sound that was processed with the time that has passed, while the devices are open.

    Attributes:
        lost_s: seconds for which the devices were open and nothing came.
    """

    def __init__(self, tally: Tally, hop_s: float, window_s: float = _WINDOW_S) -> None:
        """Starts with the devices closed.

        Args:
            tally: of the run.
            hop_s: seconds per hop.
            window_s: after which a judgement is given.
        """
        self._tally, self._hop_s, self._window_s = tally, hop_s, window_s
        self._finished_s = 0.0
        self._began: float | None = None

    def open(self, now_s: float) -> None:
        """The devices begin to work, or go on after something else; call it when the first sound is there."""
        self.close(now_s)
        self._began, self._n_began = now_s, self._tally.n_hops
        self._start_window(now_s)

    def close(self, now_s: float) -> None:
        """Notes that the devices stop."""
        self._finished_s = self.lost_s(now_s)
        self._began = None

    def _start_window(self, now_s: float) -> None:
        self._until, self._n_window, self._gaps = now_s + self._window_s, self._tally.n_hops, self._n_gaps()

    def _n_gaps(self) -> int:
        return self._tally.underruns + self._tally.overruns

    @property
    def is_open(self) -> bool:
        """Whether time is compared."""
        return self._began is not None

    def lost_s(self, now_s: float) -> float:
        """Seconds lost so far, over all connections."""
        if self._began is None:
            return self._finished_s
        return self._finished_s + max(0.0, now_s - self._began - (self._tally.n_hops - self._n_began) * self._hop_s)

    def judge(self, now_s: float) -> str | None:
        """What was lost in the window that ends now, in words; None while it lasts or if it was nothing to speak of."""
        if self._began is None or now_s < self._until:
            return None
        n_gaps = self._n_gaps() - self._gaps
        elapsed_s = now_s - self._until + self._window_s
        lost_s = elapsed_s - (self._tally.n_hops - self._n_window) * self._hop_s
        self._start_window(now_s)
        if lost_s > _MOST_LOST * elapsed_s + self._hop_s:
            return f"{lost_s:.1f} of {elapsed_s:.0f} s of sound were lost"
        return f"{n_gaps} gaps in {elapsed_s:.0f} s" if n_gaps >= _MOST_GAPS else None


def advise(latency: float | str, has_jitter: bool, one_clock: bool) -> str:
    """Why sound is lost, and what to try that has not been tried yet.

    Args:
        latency: asked of the devices.
        has_jitter: the person has chosen the jitter buffer.
        one_clock: drift between the devices is not corrected.
    """
    why = "this machine is too busy for so short a buffer" + (", or has two clocks" if one_clock else "")
    choices = {
        "a latency of 0.2 s": isinstance(latency, str) or latency < 0.2,
        "more jitter": not has_jitter,
        "two clocks": one_clock,
    }
    untried = " or ".join(text for text, is_untried in choices.items() if is_untried)
    return f"{why}; try {untried}" if untried else why
