"""Layers of the band-shared TCN, on rows of frames and bands: maps over bands, taps over time, the block of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks import MAGNITUDE_FLOOR


class NearConv(nn.Module):
    """Convolution of [B, C, F, T] with its neighbours in frequency; norm and rectifier after it; needs no past."""

    def __init__(self, n_channels: int, reach: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_channels, n_channels, (2 * reach + 1, 1), padding=(reach, 0))
        self.norm = nn.BatchNorm2d(n_channels)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] -> the same."""
        return self.act(self.norm(self.conv(x)))


class BandMix(nn.Module):
    """Linear maps over bands, the same for every channel: n_maps mixtures of the bands for each new band.

    They stand side by side in the channels, so that a pointwise layer behind them chooses. They start as triangles
    over what lies near, the further maps wider, plus a little of everything.
    """

    def __init__(self, at_in: Tensor, at_out: Tensor, n_maps: int) -> None:
        """at_in [n_in], at_out [n_out]: where the bands lie, on a scale on which none are 2 apart."""
        super().__init__()
        self.n_maps = n_maps
        width = 2.0 ** torch.arange(n_maps)
        distance = (at_out[:, None] - at_in).abs()
        triangles = (1 - distance[:, None] / width[:, None]).clamp(min=0)  # [n_out, n_maps, n_in]
        triangles = triangles / triangles.sum(dim=2, keepdim=True)
        noise = torch.randn(triangles.shape) * 0.3 / len(at_in) ** 0.5
        self.weight = nn.Parameter((triangles + noise).flatten(0, 1))

    @property
    def output_macs(self) -> int:
        """Multiply-accumulates of one output element."""
        return self.weight.shape[1]

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [N * n_in, C] of N frames -> rows [N * n_out, n_maps * C]."""
        n_channels, n_in = int(rows.shape[1]), self.weight.shape[1]  # numbers in exported graphs, too
        x = rows if rows.shape[0] == n_in else rows.reshape(-1, n_in, n_channels)
        if self.training and x.dim() == 3:  # the quickest to train
            y = torch.bmm(self.weight.expand(len(x), -1, -1), x)
        else:
            y = torch.matmul(self.weight, x)
        return y.reshape(-1, self.n_maps * n_channels)


class TimeTaps(nn.Module):
    """Depthwise causal dilated convolution over time, the same for all bands, as a sum of shifted products."""

    def __init__(self, n_channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter((2 * torch.rand(kernel, n_channels) - 1) * kernel**-0.5)

    @property
    def output_macs(self) -> int:
        """Multiply-accumulates of one output element."""
        return self.weight.shape[0]

    def initial_state(self, n_rows: int) -> Tensor:
        """Zeros; n_rows is the batch times the bands."""
        return torch.zeros((self.weight.shape[0] - 1) * self.dilation * n_rows, self.weight.shape[1])

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Rows x [T * N, C], state [(kernel - 1) * dilation * N, C] -> rows, state."""
        length = int(state.shape[0])  # a number in exported graphs, too
        past = torch.cat([state, x])
        last = self.weight.shape[0] - 1
        if x.shape[0] * last * self.dilation == length:  # one frame: fewer operations, which is what a hop costs
            taps = past.reshape(last * self.dilation + 1, -1, self.weight.shape[1])[:: self.dilation]
            return (taps * self.weight[:, None]).sum(dim=0), past[-length:]
        y = x * self.weight[last]
        for i in range(last):
            begin = i * length // last
            y = y + past[begin : begin - length] * self.weight[i]
        return y, past[-length:]


class Pointwise(nn.Module):
    """One matrix product on rows [N, n_in] -> [N, n_out], norm and rectifier after it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.BatchNorm1d(n_out)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_in] -> [N, n_out]."""
        return self.act(self.norm(self.linear(x)))


class BandBlock(nn.Module):
    """Residual block: taps over time, maps over bands, two pointwise layers around a rectifier."""

    def __init__(self, n_bands: int, n_channels: int, n_units: int, n_maps: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.taps = TimeTaps(n_channels, kernel, dilation)
        bands = torch.arange(float(n_bands))
        self.mix = BandMix(bands, bands, n_maps)
        self.expand = Pointwise(n_maps * n_channels, n_units)
        self.project = nn.Linear(n_units, n_channels, bias=False)

    def initial_state(self, n_rows: int) -> Tensor:
        """Zeros; n_rows is the batch times the bands."""
        return self.taps.initial_state(n_rows)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Rows x [T * B * n_bands, C] -> the same, state."""
        y, state = self.taps(x, state)
        return x + self.project(self.expand(self.mix(y))), state


def turned(spectrum: Tensor) -> Tensor:
    """A spectrum [..., 2] times i."""
    return spectrum[..., [1, 0]] * torch.tensor([-1.0, 1.0], device=spectrum.device)


def complex_product(mask: Tensor, spectrum: Tensor, spectrum_turned: Tensor) -> Tensor:
    """Complex product of [..., 2] with [..., 2], which is also given times i."""
    return mask[..., :1] * spectrum + mask[..., 1:] * spectrum_turned


def lower_bins_filtered(enhanced: Tensor, spectrum: Tensor, weights: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """Adds what a filter over earlier frames gives at the lower bins (deep filtering, Mack and Habets 2020).

    Args:
        enhanced: [B, F, T, 2] of the mask, which is the filter's tap on the present frame.
        spectrum: [B, F, T, 2] that is filtered.
        weights: [B, n_lower, T, n_past * 2] complex taps on earlier frames, the earliest first.
        past: [B, n_lower, n_past, 2] the spectrum before its first frame.

    Returns:
        enhanced [B, F, T, 2] and the new past.
    """
    n_lower, n_past = past.shape[1:3]
    known = torch.cat([past, spectrum[:, :n_lower]], dim=2)
    known_turned = turned(known)
    lower = enhanced[:, :n_lower]
    for i in range(n_past):
        earlier = slice(i, i - n_past)
        tap = weights[..., 2 * i : 2 * i + 2]
        lower = lower + complex_product(tap, known[:, :, earlier], known_turned[:, :, earlier])
    return torch.cat([lower, enhanced[:, n_lower:]], dim=1), known[:, :, -n_past:]


def share_kept(enhanced: Tensor, spectrum: Tensor) -> Tensor:
    """Speech presence [B, F, T] in 0..1: the share of each bin's magnitude that was kept; spectra are [B, F, T, 2]."""
    kept, given = (torch.linalg.vector_norm(x, dim=-1) for x in (enhanced, spectrum))
    return (kept / (given + MAGNITUDE_FLOOR)).clamp(max=1.0)
