"""Samples as streams take them: floats, and none of them without a value."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array

_LARGEST = 1e6  # beyond it the power of a frame overflows; counted as not finite


def to_float32(samples: NDArray[Any]) -> Array:
    """The same samples in single precision; what is too large for it becomes infinite.

    Raises:
        ValueError: they are no floats.
    """
    if samples.size and samples.dtype.kind != "f":
        raise ValueError(f"block of {samples.dtype}, but samples are floats in -1..1: divide int16 by 32768")
    with np.errstate(over="ignore"):
        return samples.astype(np.float32, copy=False)


def silence_non_finite(samples: Array) -> tuple[Array, int]:
    """The same samples, with zeros where they are NaN, infinite or absurdly large, and how many those are."""
    if np.vdot(samples, samples) <= _LARGEST**2:  # no sample is larger than the root of their energy
        return samples, 0
    good = np.abs(samples) <= _LARGEST  # false for NaN as well
    return np.where(good, samples, np.float32(0)), int(good.size - np.count_nonzero(good))
