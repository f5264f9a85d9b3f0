"""Types of the arrays that go through the run time, and how large products of them may be."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]  # samples in -1..1, a network's values
Spectra = NDArray[np.complex64]

# OpenBLAS, with which NumPy comes, wakes threads on all cores for larger products. Those at run time take microseconds,
# but the threads then wait busily for 30 ms: a second process on the same machine pays for them.
ONE_THREAD_PRODUCT = 1 << 18
"""Multiplications that a product of two matrices may have and stay on one thread."""

ONE_THREAD_MATRIX = 9216
"""Values of a matrix whose product with a vector stays on one thread."""


def multiply(left: Array, right: Array) -> Array:
    """The product of matrices [n, k] and [k, m], on one thread: piece by piece where it is large."""
    n, most = len(left), max(4, ONE_THREAD_PRODUCT // right.size)
    if n <= most:
        return left @ right if n > 1 or right.size < ONE_THREAD_MATRIX else (np.repeat(left, 2, axis=0) @ right)[:1]
    product = np.empty((n, right.shape[1]), np.float32)
    n_pieces = -(-n // most)
    for begin, end in pairwise(n * piece // n_pieces for piece in range(n_pieces + 1)):
        np.matmul(left[begin:end], right, out=product[begin:end])
    return product
