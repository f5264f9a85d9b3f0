"""FullSubNet enhancer (Hao et al. 2021): a full-band LSTM, then one LSTM shared by all frequencies.

Differences to the paper: causal running normalisation, no look-ahead, compressed magnitudes, the centre frequency's
complex spectrum, the beamformer's output and pair features of the other microphones in the sub-band units, two masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quietmic.models.networks.blocks import RunningLevel, combine, compress, normalise
from quietmic.models.networks.spatial import PairFeatures

State = dict[str, Tensor]


@dataclass(frozen=True)
class FullSubNetConfig:
    """Sizes: units of both LSTM layers of each part, neighbours on each side, pooled pair features."""

    n_freqs: int = 257
    full_units: int = 512
    sub_units: int = 384
    n_neighbours: int = 15
    n_pair_features: int = 16


class FullSubNet(nn.Module):
    """Microphone and beamformer spectra in, enhanced spectrum and speech-presence mask out; causal, no look-ahead.

    In training only some bands go through the sub-band part (`bands`): gradients of a few bands are nearly as good.
    """

    family = "fullsubnet"

    def __init__(self, config: FullSubNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FullSubNetConfig()
        self.level = RunningLevel()
        self.full = nn.ModuleList(
            [nn.LSTM(config.n_freqs, config.full_units), nn.LSTM(config.full_units, config.full_units)]
        )
        self.full_out = nn.Linear(config.full_units, config.n_freqs)
        self.pairs = PairFeatures(config.n_pair_features)
        n_mono = 2 * config.n_neighbours + 1 + 1 + 2  # magnitudes around, full-band output, complex centre
        n_in = n_mono + 2 + config.n_pair_features  # what the beamformer changes, pair features
        self.sub = nn.ModuleList([nn.LSTM(n_in, config.sub_units), nn.LSTM(config.sub_units, config.sub_units)])
        self.sub_out = nn.Linear(config.sub_units, 4)
        self.register_buffer("neighbours", _neighbours(config.n_freqs, config.n_neighbours), persistent=False)
        self.register_buffer("frequency", torch.linspace(0, 1, config.n_freqs), persistent=False)
        with torch.no_grad():  # start from the noisy signal, with no use of the other microphones
            self.sub[0].weight_ih_l0[:, n_mono:] = 0
            self.sub_out.weight[2:] = 0
            self.sub_out.bias.copy_(torch.tensor([0.7, 0.0, 0.0, 0.0]))

    def initial_state(self, batch: int = 1, n_bands: int | None = None) -> State:
        """Zeros: level, and hidden and cell state of every LSTM, [1, n_sequences, n_units] each."""
        state = {"level": torch.zeros(batch, 2)}
        n_units = batch * (n_bands or self.config.n_freqs)
        for part, layers, n in (("full", self.full, batch), ("sub", self.sub, n_units)):
            for i, lstm in enumerate(layers):
                state[f"{part}{i}_h"] = torch.zeros(1, n, lstm.hidden_size)
                state[f"{part}{i}_c"] = torch.zeros(1, n, lstm.hidden_size)
        return state

    def forward(
        self, noisy: Tensor, beam: Tensor, state: State, bands: Tensor | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """noisy [B, n_mics, F, T, 2], beam [B, F, T, 2] -> enhanced [B, F, T, 2], presence [B, F, T], state.

        With `bands` [n_bands] (training) the outputs have these frequencies only, in their order.
        """
        reference = noisy[:, 0]
        new: State = {}
        level, new["level"] = self.level(reference.square().sum(dim=-1).mean(dim=1), state["level"])
        spectrum, magnitude = compress(normalise(reference, level))
        full = _run(self.full, magnitude.permute(2, 0, 1), "full", state, new)  # [T, B, F]
        full = torch.relu(self.full_out(full)).permute(1, 2, 0)  # [B, F, T]
        neighbours, frequency = self.neighbours, self.frequency
        if bands is not None:
            neighbours, frequency = neighbours[bands], frequency[bands]
            noisy, reference, beam = noisy[:, :, bands], reference[:, bands], beam[:, bands]
            spectrum, full = spectrum[:, bands], full[:, bands]
        around = magnitude[:, neighbours].transpose(2, 3)  # [B, F, 31, T] -> [B, F, T, 31]
        change, _ = compress(normalise(beam - reference, level))
        pairs = self.pairs(noisy, frequency)
        units = torch.cat([around, full[..., None], spectrum, change, pairs], dim=-1)  # [B, F, T, n_in]
        out = _run(self.sub, units.flatten(0, 1).transpose(0, 1), "sub", state, new)  # [T, B * F, n_units]
        masks = self.sub_out(out).unflatten(1, (-1, neighbours.shape[0])).permute(1, 2, 0, 3)  # [B, F, T, 4]
        enhanced, presence = combine(masks, reference, beam)
        return enhanced, presence, new


def _neighbours(n_freqs: int, n_each_side: int) -> Tensor:
    """Index [n_freqs, 2 * n_each_side + 1] of each frequency's neighbours, mirrored at both ends."""
    index = torch.arange(n_freqs)[:, None] + torch.arange(-n_each_side, n_each_side + 1)
    index = index.abs()
    return torch.where(index >= n_freqs, 2 * (n_freqs - 1) - index, index)


def _run(layers: nn.ModuleList, x: Tensor, part: str, state: State, new: State) -> Tensor:
    """x [T, N, n_in] through LSTM layers, their states taken from `state` and put into `new`.

    Never in mixed precision on a GPU: it may mean float16 there, in which gradients of a mean over all units vanish.
    """
    with torch.autocast("cuda", enabled=False):
        x = x.float() if x.is_cuda else x
        for i, lstm in enumerate(layers):
            x, (new[f"{part}{i}_h"], new[f"{part}{i}_c"]) = lstm(x, (state[f"{part}{i}_h"], state[f"{part}{i}_c"]))
    return x
