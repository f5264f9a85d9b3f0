"""The head that tells how much speech there is in the bands above the network's: two small layers in NumPy.

As a graph of its own it would cost more to call than to compute. Its weights lie beside this file, written by
`tools/train_upper_band.py`.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from quietmic.enhance.arrays import Array

HEAD_FILE = Path(__file__).with_name("upperhead.npz")

Layers = tuple[tuple[Array, Array], ...]


def run_head(clues: Array) -> Array:
    """Odds of speech in each band, natural logarithms: [n, n_clues] -> [n, n_bands]."""
    *hidden, (weights, bias) = _read_layers()
    values = clues
    for hidden_weights, hidden_bias in hidden:
        values = np.maximum(values @ hidden_weights + hidden_bias, 0)
    return values @ weights + bias


@lru_cache(maxsize=1)
def _read_layers() -> Layers:
    """(weights [n_in, n_out], bias [n_out]) of each layer."""
    with np.load(HEAD_FILE) as file:
        count = len(file.files) // 2
        return tuple(
            (file[f"weights_{k}"].astype(np.float32), file[f"bias_{k}"].astype(np.float32)) for k in range(count)
        )
