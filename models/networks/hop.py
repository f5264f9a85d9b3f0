"""What the networks for one frame at a time begin with: the features that both families hear."""

import torch
from torch import Tensor, nn

from quietmic.models.networks.blocks import COMPRESSION, MAGNITUDE_FLOOR, POWER_FLOOR

State = dict[str, Tensor]
Inputs = dict[str, tuple[int | str, ...]]


class HopFeatures(nn.Module):
    """Compressed spectrum and magnitude of one frame, normalised by the running level; few operators.

    The level's state carries the floor of the power in its mean, so that no step has to add it.
    """

    def __init__(self, decay: float, n_freqs: int) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("floor", torch.full((1, n_freqs), MAGNITUDE_FLOOR**0.5))
        self.register_buffer("gain", (1 - decay) * torch.tensor([[1 / n_freqs, 0.0], [POWER_FLOOR, 1.0]]))

    def forward(self, heard: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """heard [2, F], level [1, 2] -> real and imaginary part and magnitude [3, F], level."""
        power = heard.square().sum(dim=(0, 1), keepdim=True)
        level = torch.addmm(level, torch.cat([power, torch.ones_like(power)], dim=1), self.gain, beta=self.decay)
        mean, weight = level.split(1, dim=1)
        spectrum = heard / (mean / weight).sqrt()
        magnitude = torch.cat([spectrum, self.floor]).norm(dim=0, keepdim=True)
        return torch.cat([spectrum, magnitude]) * magnitude ** (COMPRESSION - 1), level


def pack_level(level: Tensor) -> Tensor:
    """State [1, 2] of `RunningLevel` as `HopFeatures` keeps it."""
    return level @ level.new_tensor([[1.0, 0.0], [POWER_FLOOR, 1.0]])


def unpack_level(level: Tensor) -> Tensor:
    """The reverse of `pack_level`."""
    return level @ level.new_tensor([[1.0, 0.0], [-POWER_FLOOR, 1.0]])
