"""The head that tells how much speech there is in the bands above the network's: two small layers in NumPy.

As a graph of its own it would cost more to call than to compute. Its weights lie beside this file, written by
`tools/train_upper_band.py`.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from quietmic.enhance.arrays import Array, multiply

HEAD_FILE = Path(__file__).with_name("upperhead.npz")

N_BEFORE = 2  # frames before the present one that the head hears, too: what lasts is told from what begins

Layers = tuple[tuple[Array, Array], ...]


def run_head(clues: Array) -> Array:
    """Odds of speech in each band, natural logarithms: [N_BEFORE + n, n_clues] -> [n, n_bands]."""
    n = len(clues) - N_BEFORE
    values = np.concatenate([clues[k : k + n] for k in range(N_BEFORE + 1)], axis=1)
    *hidden, (last_weights, last_bias) = _read_layers()
    for weights, bias in hidden:
        values = multiply(values, weights)
        values += bias
        np.maximum(values, 0, out=values)
    return multiply(values, last_weights) + last_bias


@lru_cache(maxsize=1)
def _read_layers() -> Layers:
    """(weights [n_in, n_out], bias [n_out]) of each layer; the first hears the frame furthest back first."""
    with np.load(HEAD_FILE) as file:
        count = len(file.files) // 2
        return tuple(
            (file[f"weights_{k}"].astype(np.float32), file[f"bias_{k}"].astype(np.float32)) for k in range(count)
        )
