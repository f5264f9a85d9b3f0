"""Takes back latency that a stumble has left behind."""

import numpy as np

from quietmic.enhance.arrays import Array

_TOLERATED_S = 0.1


class Trimmer:
    """Leaves out hops when, for a while, more has waited than was ever needed.

    After an underrun the late samples still come, and the sound stays late by the gap. What never ran low for a
    whole window is too much: so many hops are left out, and the cut is cross-faded over a hop.
    """

    def __init__(self, hop_length: int, hop_s: float, window_s: float) -> None:
        """Begins to watch what waits.

        Args:
            hop_length: samples.
            hop_s: seconds.
            window_s: how long it looks before it judges, seconds.
        """
        self._fade_in = (np.arange(1, hop_length + 1) / hop_length).astype(np.float32)
        self._hop_s = hop_s
        self._n_window = round(window_s / hop_s)
        self._before_cut: Array | None = None
        self._n_to_drop = 0
        self._restart()

    def _restart(self) -> None:
        self._n_seen = 0
        self._least_s = np.inf

    def process(self, hop: Array, excess_s: float) -> Array | None:
        """The hop to be played, None for one that is left out.

        Args:
            hop: [hop_length].
            excess_s: buffered beyond what is wanted, seconds.
        """
        if self._n_to_drop:
            self._n_to_drop -= 1
            if self._before_cut is None:
                self._before_cut = hop
            return None
        if self._before_cut is not None:
            hop = self._before_cut + self._fade_in * (hop - self._before_cut)
            self._before_cut = None
        self._n_seen += 1
        self._least_s = min(self._least_s, excess_s)
        if self._n_seen == self._n_window:
            if self._least_s > _TOLERATED_S:
                self._n_to_drop = int(self._least_s / self._hop_s)
            self._restart()
        return hop
