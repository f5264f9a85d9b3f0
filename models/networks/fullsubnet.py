"""FullSubNet enhancer (Hao et al. 2021): a full-band LSTM, then LSTMs shared by units of neighbouring frequencies.

A unit is one frequency where voices have their harmonics and four or eight above, as in the improved recipe of the
official repository: 72 units in place of 257, with LSTMs of its own for each width. Differences to the paper: causal
running normalisation, no look-ahead, compressed magnitudes, the unit's complex spectra, several complex taps over time
on the lower frequencies (deep filtering, Schroeter et al. 2022), the beamformer's output and the other microphones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quietmic.models.networks.blocks import RunningLevel, complex_mask, compress, normalise
from quietmic.models.networks.fullsubnet_hop import FullSubNetHop
from quietmic.models.networks.spatial import ArrayFeatures

State = dict[str, Tensor]
Units = list[Tensor]  # the units [n_chosen] of each width that are computed, in training

MIN_POWER = 1e-12  # keeps the presence of silence finite


@dataclass(frozen=True)
class FullSubNetConfig:
    """Sizes: units of both LSTM layers of each part, neighbours on each side, features of the array.

    groups: (width, number) of the units, from the lowest frequency up; frequencies beyond the last are silenced.
    taps: for each width, how many frames the complex filter of a frequency spans, the newest included.
    attention: whether a unit also attends to the other microphones, beside taking their mean.
    heard, masked: the beamformer's share of what features are made of, and of what the filters go on. With one
        microphone both are the reference, so that arrays gain without training on them.
    """

    n_freqs: int = 257
    full_units: int = 512
    sub_units: int = 192
    n_neighbours: int = 15
    n_pair_features: int = 16
    groups: tuple[tuple[int, int], ...] = ((1, 32), (4, 24), (8, 16))
    taps: tuple[int, ...] = (3, 3, 1)
    attention: bool = True
    heard: float = 0.7
    masked: float = 0.5

    @property
    def n_past(self) -> int:
        """Frames before the newest that the longest filter spans."""
        return max(self.taps) - 1


class Band(nn.Module):
    """The units of one width: from what they hear to the complex filters of their frequencies.

    Args:
        config: sizes of the network.
        index: which of its groups.
    """

    def __init__(self, config: FullSubNetConfig, index: int) -> None:
        super().__init__()
        (self.width, self.n_units), self.taps = config.groups[index], config.taps[index]
        self.name = f"sub{index}"
        n_mono = self.width + 2 * config.n_neighbours + 3 * self.width  # magnitudes, full-band output, complex spectra
        self.array = ArrayFeatures(self.width, config.n_pair_features, n_mono if config.attention else 0)
        n_in = n_mono + 2 * self.width + self.array.n_out  # what the beamformer changes, the other microphones
        self.sub = nn.ModuleList([nn.LSTM(n_in, config.sub_units), nn.LSTM(config.sub_units, config.sub_units)])
        self.out = nn.Linear(config.sub_units, 2 * (self.taps + 1) * self.width)
        first = sum(width * number for width, number in config.groups[:index])
        own = first + torch.arange(self.n_units * self.width).view(self.n_units, self.width)
        self.register_buffer("own", own, persistent=False)
        self.register_buffer("around", _around(own, config.n_neighbours, config.n_freqs), persistent=False)
        self.register_buffer("frequency", own.float().mean(dim=1) / (config.n_freqs - 1), persistent=False)
        self._start_like_a_wire(n_mono)

    @torch.no_grad()
    def _start_like_a_wire(self, n_mono: int) -> None:
        """A filter near 0.7 of the newest frame, and no use of the other microphones."""
        self.sub[0].weight_ih_l0[:, n_mono:] = 0
        self.out.weight[2 * self.taps * self.width :] = 0
        self.out.bias.zero_()
        self.out.bias[: self.width] = 0.7

    def forward(
        self, features: Tensor, magnitude: Tensor, noisy: Tensor, state: State, new: State, units: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Complex filters, and the frequencies [n] that they are for.

        Args:
            features: [B, F, T, 5] full-band output, complex spectrum, and complex change by the beamformer.
            magnitude: [B, F, T].
            noisy: [B, n_mics, F, T, 2].
            state, new: from which and into which the LSTMs' states go.
            units: [n_chosen], or all.

        Returns:
            [B, n, T, taps + 1, 2]: the taps over time from the newest back, and the factor on the change.
        """
        own, around, frequency = self.own, self.around, self.frequency
        if units is not None:
            own, around, frequency = own[units], around[units], frequency[units]
        flat = own.flatten()
        mono, change = _by_unit(features[:, flat], self.width).split([3 * self.width, 2 * self.width], dim=-1)
        mono = torch.cat([magnitude[:, around].transpose(2, 3), mono], dim=-1)  # [B, U, around, T] -> [B, U, T, .]
        array = self.array(noisy[:, :, flat].unflatten(2, (-1, self.width)), frequency, mono)
        inputs = torch.cat([mono, change, array], dim=-1)  # [B, U, T, n_in]
        out = run_lstms(self.sub, inputs.flatten(0, 1).transpose(0, 1), self.name, state, new)
        filters = self.out(out).unflatten(1, (-1, own.shape[0])).permute(1, 2, 0, 3)  # [T, B * U, .] -> [B, U, T, .]
        filters = filters.unflatten(3, (-1, 2, self.width)).permute(0, 1, 5, 2, 3, 4)  # -> [B, U, W, T, taps + 1, 2]
        return filters.flatten(1, 2), flat


class FullSubNet(nn.Module):
    """Microphone and beamformer spectra in, enhanced spectrum and speech-presence mask out; causal, no look-ahead.

    In training some units may go through the sub-band part alone (`units`): their gradients are nearly as good.
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
        self.bands = nn.ModuleList(Band(config, i) for i in range(len(config.groups)))

    def for_hops(self) -> nn.Module:
        """What `export` writes for streams of one microphone: the same for one frame at a time."""
        return FullSubNetHop(self)

    def initial_state(self, batch: int = 1, units: Units | None = None) -> State:
        """Zeros: level, past frames of the reference, and hidden and cell state of every LSTM."""
        config = self.config
        state = {"level": torch.zeros(batch, 2)}
        if config.n_past:
            state["past"] = torch.zeros(batch, config.n_freqs, config.n_past, 2)
        _add_states(state, "full", self.full, batch)
        for i, band in enumerate(self.bands):
            _add_states(state, band.name, band.sub, batch * (band.n_units if units is None else len(units[i])))
        return state

    def draw_units(self, share: float, generator: torch.Generator) -> Units:
        """A drawn share of the units of each width, at least one of each."""
        return [
            torch.randperm(band.n_units, generator=generator)[: max(1, round(share * band.n_units))].sort().values
            for band in self.bands
        ]

    def frequencies(self, units: Units | None = None) -> Tensor:
        """The frequencies [n] of units, in the order in which `forward` gives them."""
        parts = [band.own if units is None else band.own[units[i]] for i, band in enumerate(self.bands)]
        return torch.cat([part.flatten() for part in parts])

    def forward(
        self, noisy: Tensor, beam: Tensor, state: State, units: Units | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """noisy [B, n_mics, F, T, 2], beam [B, F, T, 2] -> enhanced [B, F, T, 2], presence [B, F, T], state.

        With `units` (training) the outputs have the frequencies of these units only.
        """
        difference = beam - noisy[:, 0]
        heard, masked = (noisy[:, 0] + share * difference for share in (self.config.heard, self.config.masked))
        new: State = {}
        level, new["level"] = self.level(heard.square().sum(dim=-1).mean(dim=1), state["level"])
        spectrum, magnitude = compress(normalise(heard, level))
        change, _ = compress(normalise(difference, level))
        full = run_lstms(self.full, magnitude.permute(2, 0, 1), "full", state, new)  # [T, B, F]
        full = torch.relu(self.full_out(full)).permute(1, 2, 0)  # [B, F, T]
        features = torch.cat([full[..., None], spectrum, change], dim=-1)
        past = self._past(masked, state, new)
        filtered = []
        for i, band in enumerate(self.bands):
            filters, own = band(features, magnitude, noisy, state, new, None if units is None else units[i])
            filtered.append(_filter(filters, past[:, own], difference[:, own], self.config.n_past))
        kept, added = (torch.cat(parts, dim=1) for parts in zip(*filtered, strict=True))
        given = masked if units is None else masked[:, self.frequencies(units)]
        if units is None:
            rest = (0, 0, 0, 0, 0, masked.shape[1] - kept.shape[1])
            kept, added = (nn.functional.pad(x, rest) for x in (kept, added))
        return kept + added, _presence(kept, given), new

    def _past(self, masked: Tensor, state: State, new: State) -> Tensor:
        """What the filters go on, with the frames before it: [B, F, n_past + T, 2]."""
        if not self.config.n_past:
            return masked
        past = torch.cat([state["past"], masked], dim=2)
        new["past"] = past[:, :, -self.config.n_past :]
        return past


def _add_states(state: State, name: str, layers: nn.ModuleList, n_sequences: int) -> None:
    """Zeros [1, n_sequences, n_units] for hidden and cell state of each layer."""
    for i, lstm in enumerate(layers):
        for part in ("h", "c"):
            state[f"{name}_{i}{part}"] = torch.zeros(1, n_sequences, lstm.hidden_size)


def _around(own: Tensor, n_each_side: int, n_freqs: int) -> Tensor:
    """Indices [U, W + 2 n_each_side] of each unit's frequencies [U, W] and their neighbours, mirrored at both ends."""
    index = own[:, :1] + torch.arange(-n_each_side, own.shape[1] + n_each_side)
    index = index.abs()
    return torch.where(index >= n_freqs, 2 * (n_freqs - 1) - index, index)


def _by_unit(x: Tensor, width: int) -> Tensor:
    """[B, U * W, T, n] -> [B, U, T, n * W]."""
    return x.unflatten(1, (-1, width)).permute(0, 1, 3, 4, 2).flatten(3)


def _filter(filters: Tensor, past: Tensor, change: Tensor, n_past: int) -> tuple[Tensor, Tensor]:
    """Filtered signal and weighted change, [B, n, T, 2] each.

    Args:
        filters: [B, n, T, taps + 1, 2].
        past: [B, n, n_past + T, 2] of the signal, the newest T frames last.
        change: [B, n, T, 2].
        n_past: frames before the first.
    """
    n_taps = filters.shape[3] - 1
    masked = complex_mask(filters[..., 0, :], past[:, :, n_past:])
    for k in range(1, n_taps):
        masked = masked + complex_mask(filters[..., k, :], past[:, :, n_past - k : -k])
    return masked, complex_mask(filters[..., n_taps, :], change)


def _presence(kept: Tensor, given: Tensor) -> Tensor:
    """Speech presence [B, F, T] in 0..1: how much of the magnitude the filters keep."""
    kept, given = kept.square().sum(dim=-1), given.square().sum(dim=-1)
    return ((kept + MIN_POWER) / (given + MIN_POWER)).sqrt().clamp(max=1.0)


def run_lstms(layers: nn.ModuleList, x: Tensor, name: str, state: State, new: State) -> Tensor:
    """x [T, N, n_in] through LSTM layers, their states taken from `state` and put into `new`.

    Never in mixed precision on a GPU: it may mean float16 there, in which gradients of a mean over all units vanish.
    """
    with torch.autocast("cuda", enabled=False):
        x = x.float() if x.is_cuda else x
        for i, lstm in enumerate(layers):
            keys = f"{name}_{i}h", f"{name}_{i}c"
            x, (new[keys[0]], new[keys[1]]) = lstm(x, (state[keys[0]], state[keys[1]]))
    return x
