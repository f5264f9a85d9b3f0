"""What each microphone tells beside the reference, pooled so that their number and order do not matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quietmic.models.networks.blocks import MAGNITUDE_FLOOR


class PairFeatures(nn.Module):
    """Phase and level difference of each microphone to the reference, through one small shared layer, averaged.

    The reference paired with itself is the zero of the scale: one microphone gives exactly zero.
    """

    def __init__(self, n_out: int = 16) -> None:
        super().__init__()
        self.linear = nn.Linear(4, n_out)

    def forward(self, noisy: Tensor, frequency: Tensor) -> Tensor:
        """noisy [B, n_mics, F, T, 2], frequency [F] (1 = Nyquist) -> [B, F, T, n_out]."""
        features = torch.relu(self.linear(self._pairs(noisy, frequency)))
        n_pairs = (torch.ones_like(noisy[0, :, 0, 0, 0]).sum() - 1).clamp(min=1)  # a tensor, so that ONNX keeps it open
        return (features - features[:, :1]).sum(dim=1) / n_pairs

    @staticmethod
    def _pairs(noisy: Tensor, frequency: Tensor) -> Tensor:
        """[B, n_mics, F, T, 4]: cosine and sine of the phase difference, level difference, frequency."""
        reference = noisy[:, :1]
        power = noisy.square().sum(dim=-1) + MAGNITUDE_FLOOR**2
        cosine = (noisy * reference).sum(dim=-1)
        sine = noisy[..., 1] * reference[..., 0] - noisy[..., 0] * reference[..., 1]
        scale = torch.rsqrt(power * power[:, :1])
        level = torch.tanh(0.25 * (power.log() - power[:, :1].log()))
        return torch.stack([cosine * scale, sine * scale, level, frequency[:, None].expand_as(level)], dim=-1)
