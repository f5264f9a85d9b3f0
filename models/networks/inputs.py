"""What a network is fed where only shapes matter: to count, to fold, to find what couples, to trace."""

from typing import Any

import torch
from torch import Tensor

from quietmic.enhance.card import StftConfig

EXAMPLE_FRAMES = 10


def example_inputs(
    network: Any, stft: StftConfig | None = None, n_mics: int = 1
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Arguments of a network's `forward` for EXAMPLE_FRAMES frames of noise, always the same.

    Returns:
        noisy [1, n_mics, n_freqs, T, 2], beam [1, n_freqs, T, 2], and a stream's first state, which fits its widths.
    """
    shape = (1, n_mics, (stft or StftConfig()).n_freqs, EXAMPLE_FRAMES, 2)
    noisy = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return noisy, noisy[:, 0].clone(), network.initial_state()
