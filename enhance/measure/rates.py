"""Whole signals at another sample rate, for measures and peers that know one rate; live streams have their own."""

from typing import Any

import soxr
from numpy.typing import NDArray


def at_rate(samples: NDArray[Any], rate: int, wanted: int) -> NDArray[Any]:
    """A signal [n_samples] at the wanted rate in Hz (soxr: linear phase, no delay); itself where that is its rate."""
    return samples if rate == wanted else soxr.resample(samples, rate, wanted)
