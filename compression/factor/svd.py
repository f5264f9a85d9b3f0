"""One matrix as the product of two: the best factors of a rank, the rank, and whether they save anything."""

import torch
from torch import Tensor


def svd_low_rank(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Best factors of one weight matrix at a given rank (Eckart-Young): weight ~ B @ A.

    The squared error is the sum of the dropped squared singular values. It saves multiplications
    only when rank < n_out * n_in / (n_out + n_in).

    Args:
        weight: [n_out, n_in]; one gate of an LSTM counts as one matrix.
        rank: 1 .. min(n_out, n_in).

    Returns:
        (B, A): [n_out, rank] and [rank, n_in], dtype and device of `weight`.

    Raises:
        ValueError: rank outside 1 .. min(n_out, n_in).
    """
    if not 1 <= rank <= min(weight.shape):
        raise ValueError(f"rank {rank} outside 1 .. {min(weight.shape)}")
    u, s, v = torch.linalg.svd(weight.detach(), full_matrices=False)
    root = s[:rank].sqrt()  # shared by both factors, so that both train alike
    return u[:, :rank] * root, root[:, None] * v[:rank]


def rank_by_threshold(weight: Tensor, thresh: float) -> int:
    """Number of singular values that are at least `thresh` times the largest one; at least 1.

    (Lai 2022 leaves open whether its threshold is absolute; relative to the largest, it does not depend on scale.)
    """
    s = torch.linalg.svdvals(weight.detach())
    return max(1, int((s >= thresh * s[0]).sum()))


def saves(weight: Tensor, rank: int) -> bool:
    """Whether two factors hold fewer numbers than the matrix."""
    n_out, n_in = weight.shape
    return rank * (n_out + n_in) < n_out * n_in
