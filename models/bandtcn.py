"""Band-shared TCN: a convolution over frequency, learned bands, blocks over time and bands, masks for every bin.

The weights of a block are the same for all bands, as in the dual-path networks (Luo et al. 2020) and FullSubNet; what
differs between bands goes through learned linear maps over them. Inside, frames and bands are rows and channels are
columns, [T * B * n_bands, n_channels], so that a pointwise layer is one matrix product with its weights on the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.bandlayers import (
    BandBlock,
    BandMix,
    NearConv,
    Pointwise,
    complex_product,
    lower_bins_filtered,
    share_kept,
    turned,
)
from models.blocks import CausalConv2d, RunningLevel, level_features, presence

State = dict[str, Tensor]


@dataclass(frozen=True)
class BandTcnConfig:
    """Sizes.

    first: channels of the convolution over frequency, at every fourth bin. n_bands, width: bands and channels of the
    residual stream. n_units: inside a block. n_maps: linear maps over bands in each block. kernel, dilations: of the
    blocks over time. filter_taps: frames that a filter on the lower 130 bins reaches over; 1 = a mask as above them.
    """

    n_freqs: int = 257
    first: int = 48
    n_bands: int = 32
    width: int = 96
    n_units: int = 256
    n_maps: int = 2
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8) * 3
    filter_taps: int = 1


class BandTcn(nn.Module):
    """Reference and beamformer spectra in, enhanced spectrum and speech presence out; causal, no look-ahead.

    What it hears and what its mask goes on are mixtures of both, as in `models.tcn.Tcn`; with one microphone they are
    the same signal.
    """

    family = "tcn-bands"
    N_FEATURES = 3  # real part, imaginary part, magnitude
    HEARD, MASKED = 0.7, 0.5  # the beamformer's share of what features are made of, and of what the mask goes on
    STRIDE = 4  # bins of a position
    BEND_HZ = 1500.0  # below, bands begin equally wide
    N_FILTERED = 33  # positions whose bins are filtered over time, where filter_taps > 1

    def __init__(self, config: BandTcnConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BandTcnConfig()
        self.level = RunningLevel()
        self.n_positions = (config.n_freqs - 1) // self.STRIDE + 1
        self.encoder = CausalConv2d(self.N_FEATURES, config.first, (2 * self.STRIDE + 1, 2), self.STRIDE)
        self.near = NearConv(config.first)
        bands, positions = torch.arange(float(config.n_bands)), self._bands_of_positions()
        self.to_bands = BandMix(positions, bands, config.n_maps)
        self.enter = Pointwise(config.n_maps * config.first, config.width)
        self.blocks = nn.ModuleList(
            BandBlock(config.n_bands, config.width, config.n_units, config.n_maps, config.kernel, d)
            for d in config.dilations
        )
        self.leave = nn.Linear(config.width, config.first)
        self.from_bands = BandMix(bands, positions, config.n_maps)
        self.merge = Pointwise((config.n_maps + 1) * config.first, config.first)
        self.head = nn.Linear(config.first, 2 * self.STRIDE)
        n_more = 2 * self.STRIDE * (config.filter_taps - 1)
        self.past_head = nn.Linear(config.first, n_more) if n_more else None
        self._start_like_a_wire()

    def _bands_of_positions(self) -> Tensor:
        """Where each position lies on the scale of bands, which are narrow at low frequencies, as in hearing."""
        hertz = torch.arange(self.n_positions) * (8000 / (self.n_positions - 1))
        warped = torch.log1p(hertz / self.BEND_HZ)
        return warped * ((self.config.n_bands - 1) / warped[-1])

    def _start_like_a_wire(self) -> None:
        """A mask near one: training starts from the noisy signal."""
        with torch.no_grad():
            self.head.weight *= 0.3
            self.head.bias.copy_(torch.tensor([0.7, 0.0]).repeat(self.STRIDE))
            if self.past_head is not None:
                self.past_head.weight *= 0.3
                self.past_head.bias.zero_()
            for block in self.blocks:
                block.project.weight *= 0.3

    def initial_state(self, batch: int = 1) -> State:
        """Zeros: what every layer remembers before the first frame."""
        state = {"level": torch.zeros(batch, 2), "encoder": self.encoder.initial_state(batch, self.config.n_freqs)}
        for i, block in enumerate(self.blocks):
            state[f"block{i}"] = block.initial_state(batch * self.config.n_bands)
        if self.past_head is not None:
            n_bins = self._bins(self.N_FILTERED)
            state["filter"] = torch.zeros(batch, n_bins, self.config.filter_taps - 1, 2)
        return state

    def _bins(self, n_positions: int) -> int:
        """Bins of the first positions: position i stands for the bins from 4 i - 2 to 4 i + 1."""
        return min(n_positions * self.STRIDE - self.STRIDE // 2, self.config.n_freqs)

    def forward(self, noisy: Tensor, beam: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """noisy [B, n_mics, F, T, 2], beam [B, F, T, 2] -> enhanced [B, F, T, 2], presence [B, F, T], state."""
        reference, change = noisy[:, 0], beam - noisy[:, 0]
        heard, masked = reference + self.HEARD * change, reference + self.MASKED * change
        new: State = {}
        power = heard.square().sum(dim=-1, keepdim=True)  # [B, F, T, 1]
        level, new["level"] = self.level(power.mean(dim=(1, 3)), state["level"])
        x = level_features(heard, power, level).permute(0, 3, 1, 2)  # [B, F, T, 3] -> [B, 3, F, T]
        x, new["encoder"] = self.encoder(x, state["encoder"])
        fine = self.near(x).permute(3, 0, 2, 1).flatten(0, 2)  # [B, C, P, T] -> [T * B * P, C]
        x = self.enter(self.to_bands(fine))
        for i, block in enumerate(self.blocks):
            x, new[f"block{i}"] = block(x, state[f"block{i}"])
        x = self.merge(torch.cat([self.from_bands(self.leave(x)), fine], dim=1))
        mask = self._spread(self.head(x), len(masked), self.n_positions)
        enhanced = complex_product(mask, masked, turned(masked))
        if self.past_head is None:
            return enhanced, presence(mask), new
        lower = x.unflatten(0, (-1, self.n_positions))[:, : self.N_FILTERED].flatten(0, 1)
        taps = self._spread(self.past_head(lower), len(masked), self.N_FILTERED)
        enhanced, new["filter"] = lower_bins_filtered(enhanced, masked, taps, state["filter"])
        return enhanced, share_kept(enhanced, masked), new

    def _spread(self, rows: Tensor, n_batch: int, n_positions: int) -> Tensor:
        """Rows [T * B * P, bins * values] of positions -> [B, F, T, values] of their bins."""
        half, n_bins = self.STRIDE // 2, self._bins(n_positions)
        n_values = int(rows.shape[1]) // self.STRIDE
        bins = rows.reshape(-1, n_batch, n_positions * self.STRIDE, n_values)
        return bins[:, :, half : half + n_bins].permute(1, 2, 0, 3)
