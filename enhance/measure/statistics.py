"""Means, medians and bootstrap intervals of figures that may be missing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 2000
SEED = 20240


def summarise(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and median of what was measured, with the mean's 95% interval.

    Args:
        values: one per file; None = not measured.

    Returns:
        {"mean", "median", "low", "high", "n", "missing"}; the first four are None when nothing was measured. The
        interval is the percentile bootstrap over files (Efron 1979), always of the same draws; None below two values.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    summary: dict[str, Any] = {"mean": None, "median": None, "low": None, "high": None}
    if known.size:
        summary |= {"mean": float(known.mean()), "median": float(np.median(known))}
    if known.size > 1:
        low, high = np.percentile(known[_draws(known.size)].mean(axis=1), [2.5, 97.5])
        summary |= {"low": float(low), "high": float(high)}
    return summary | {"n": int(known.size), "missing": len(values) - int(known.size)}


def paired_difference(first: Sequence[float | None], second: Sequence[float | None]) -> dict[str, Any]:
    """Summary of first - second over the files where both were measured; the files are resampled, not the systems."""
    pairs = zip(first, second, strict=True)
    return summarise([None if a is None or b is None else a - b for a, b in pairs])


def _draws(n_values: int) -> NDArray[np.int64]:
    return np.random.default_rng(SEED).integers(n_values, size=(N_RESAMPLES, n_values))
