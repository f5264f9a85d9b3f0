"""Notices a machine that is too slow, as opposed to one that stumbled once."""

from dataclasses import dataclass


@dataclass
class Watchdog:
    """Counts by how much the worker is behind; late for a whole second means too slow.

    Each hop adds what it took and pays back what it lasts. A single stall is paid back at once by a machine that is
    fast enough; a machine that is too slow never gets out of debt.

    Attributes:
        hop_s: seconds of audio per hop.
        patience_s: seconds of debt until the machine counts as too slow.
        n_missed: hops that took longer than they last.
    """

    hop_s: float
    patience_s: float = 1.0
    n_missed: int = 0

    def __post_init__(self) -> None:
        self.forgive()

    def forgive(self) -> None:
        """Starts anew, after something was changed."""
        self._debt_s = 0.0
        self._late_s = 0.0

    def is_too_slow(self, elapsed_s: float) -> bool:
        """Takes in one hop and says whether the machine has been too slow for a second.

        Args:
            elapsed_s: what the hop took, seconds.
        """
        self.n_missed += elapsed_s > self.hop_s
        was_late = self._debt_s > self.hop_s
        debt_s = max(0.0, self._debt_s + elapsed_s - self.hop_s)
        self._debt_s = min(debt_s, self.patience_s / 4)
        # A stall itself does not count as lateness, only what follows it.
        self._late_s = self._late_s + elapsed_s if was_late and self._debt_s > self.hop_s else 0.0
        return self._late_s >= self.patience_s
