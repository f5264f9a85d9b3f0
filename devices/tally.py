"""Counts of a live run, over all its connections."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_N_TIMES = 8192  # hops over which the percentiles are taken: two minutes


@dataclass
class Tally:
    """What happened so far. Each field has one writer: a callback or the worker.

    Attributes:
        overruns: callbacks for which input was lost.
        underruns: callbacks for which output was missing.
        n_blocks_dropped: input blocks thrown away because the worker had fallen behind.
        n_hops: hops enhanced.
    """

    overruns: int = 0
    underruns: int = 0
    n_blocks_dropped: int = 0
    n_hops: int = 0
    _times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_N_TIMES))

    def add_hop(self, elapsed_s: float) -> None:
        """Takes in the time of one hop, seconds."""
        self._times[self.n_hops % _N_TIMES] = elapsed_s
        self.n_hops += 1

    def hop_times_s(self) -> tuple[float, float]:
        """(median, 99th percentile) of the last two minutes' hops, seconds."""
        times = self._times[: min(self.n_hops, _N_TIMES)]
        if not len(times):
            return 0.0, 0.0
        p50_s, p99_s = np.percentile(times, [50, 99])
        return float(p50_s), float(p99_s)
