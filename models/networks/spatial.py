"""What the microphones tell beside the reference, pooled so that their number and order do not matter."""

import torch
from torch import Tensor, nn

from quietmic.models.networks.blocks import MAGNITUDE_FLOOR


class ArrayFeatures(nn.Module):
    """Phases and levels of each microphone against the reference, through one shared layer, pooled over microphones.

    Pooled twice: their mean (transform, average, concatenate: Luo et al. 2020), and, with a query of the unit, their
    attention. The reference paired with itself is the zero of the scale: one microphone gives exactly zero.

    Args:
        width: frequencies of a unit.
        n_features: of each way of pooling.
        n_query: features of the unit that the attention asks with; 0 = no attention.
    """

    def __init__(self, width: int, n_features: int = 16, n_query: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * width + 1, n_features)
        self.query = nn.Linear(n_query, n_features) if n_query else None
        self.n_out = n_features * (2 if n_query else 1)

    def forward(self, noisy: Tensor, frequency: Tensor, unit: Tensor) -> Tensor:
        """Features [B, U, T, n_out].

        Args:
            noisy: [B, n_mics, U, W, T, 2].
            frequency: [U], 1 = Nyquist.
            unit: [B, U, T, n_query], what the attention asks with.
        """
        features = torch.relu(self.linear(_pairs(noisy, frequency)))  # [B, n_mics, U, T, n]
        relative = features - features[:, :1]
        n_pairs = (torch.ones_like(noisy[0, :, 0, 0, 0, 0]).sum() - 1).clamp(min=1)  # a tensor, so that ONNX keeps it
        mean = relative.sum(dim=1) / n_pairs
        if self.query is None:
            return mean
        query = self.query(unit)[:, None]  # [B, 1, U, T, n]
        scores = (query * features).sum(dim=-1, keepdim=True) / features.shape[-1] ** 0.5
        return torch.cat([mean, (torch.softmax(scores, dim=1) * relative).sum(dim=1)], dim=-1)


def _pairs(noisy: Tensor, frequency: Tensor) -> Tensor:
    """[B, n_mics, U, T, 3 W + 1]: cosines and sines of the phase differences, level differences, frequency."""
    reference = noisy[:, :1]
    power = noisy.square().sum(dim=-1) + MAGNITUDE_FLOOR**2
    cosine = (noisy * reference).sum(dim=-1)
    sine = noisy[..., 1] * reference[..., 0] - noisy[..., 0] * reference[..., 1]
    scale = torch.rsqrt(power * power[:, :1])
    level = torch.tanh(0.25 * (power.log() - power[:, :1].log()))
    pairs = torch.cat([cosine * scale, sine * scale, level], dim=3).transpose(3, 4)  # [B, n_mics, U, T, 3 W]
    place = frequency[:, None, None].expand_as(pairs[..., :1])
    return torch.cat([pairs, place], dim=-1)
