"""Samples that are no numbers, which must not get into the memory of a stream."""

import numpy as np

from quietmic.enhance.arrays import Array

_LARGEST = 1e6  # beyond it the power of a frame overflows; counted as not finite


def silence_non_finite(samples: Array) -> tuple[Array, int]:
    """The same samples, with zeros where they are NaN, infinite or absurdly large, and how many those are."""
    if np.vdot(samples, samples) <= _LARGEST**2:  # no sample is larger than the root of their energy
        return samples, 0
    good = np.abs(samples) <= _LARGEST  # false for NaN as well
    return np.where(good, samples, np.float32(0)), int(good.size - np.count_nonzero(good))
