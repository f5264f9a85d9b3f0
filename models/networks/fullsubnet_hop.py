"""FullSubNet for one frame and one microphone at a time, of the same weights: what units hear is one look-up each.

With one microphone the beam is the reference and all that tells of the array is zero, so that the weights that read it
and the factors on it are left out. Streams of arrays take the graph for any number of frames.
"""

import copy

import torch
from torch import Tensor, nn

from quietmic.models.networks.hop import HopFeatures, Inputs, State, pack_level, unpack_level


class FullSubNetHop(nn.Module):
    """A `FullSubNet` for one signal and one frame; the same values to rounding.

    `inputs` names the spectra that it takes, with their shapes. Its states are those of the network but for the level
    and the past frames, which `pack` and `unpack` translate. It gives no speech presence: nothing steers a beam.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        config = network.config
        self.n_freqs, self.n_past = config.n_freqs, config.n_past
        self.inputs: Inputs = {"reference": (config.n_freqs, 2)}
        self.features = HopFeatures(network.level.decay, config.n_freqs)
        self.full, self.full_out = network.full, network.full_out
        self.bands = nn.ModuleList(_Band(band, config.n_freqs) for band in network.bands)
        self._place_filters(max(config.taps))

    def _place_filters(self, most: int) -> None:
        """Where the filters of each frequency lie among what all bands give, and what they are multiplied with.

        A complex product has four real ones, those of the taps below each other: 4 * most rows of frequencies.
        """
        sizes = [band.n_filters for band in self.bands]
        nothing = sum(sizes)  # a zero behind all filters
        place = torch.full((most, 2, self.n_freqs), nothing)
        for band, first in zip(self.bands, [sum(sizes[:i]) for i in range(len(sizes))], strict=True):
            place[: band.taps, :, band.frequencies] = first + band.place
        parts, signs = ([0, 0, 1, 1], [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 1.0]])
        self.register_buffer("place", place[:, parts].flatten(0, 1))
        self.register_buffer("signs", torch.tensor(signs * most))
        self.register_buffer("heard", torch.tensor([2 * k + part for k in range(most) for part in (0, 1, 1, 0)]))
        self.register_buffer("zero", torch.zeros(1))
        self.register_buffer("nothing", torch.zeros(2))

    def pack(self, state: State) -> State:
        """Level and past frames [1, F, n_past, 2] of the network as they are here: [2 * n_past, F], newest first."""
        packed = state | {"level": pack_level(state["level"])}
        if self.n_past:
            packed["past"] = state["past"].flip(2).permute(0, 2, 3, 1).flatten(0, 2)
        return packed

    def unpack(self, packed: State) -> State:
        """The reverse of `pack`."""
        state = packed | {"level": unpack_level(packed["level"])}
        if self.n_past:
            state["past"] = packed["past"].reshape(1, self.n_past, 2, -1).permute(0, 3, 1, 2).flip(2)
        return state

    def forward(self, reference: Tensor, state: State) -> tuple[Tensor, None, State]:
        """reference [F, 2] -> enhanced [F, 2], no presence, state."""
        rows, new = reference.T, {}
        spectrum, new["level"] = self.features(rows, state["level"])
        full = spectrum[None, 2:]
        for i, lstm in enumerate(self.full):
            full = _advance(lstm, full, f"full_{i}", state, new)
        full = torch.relu(self.full_out(full[0]))
        table = torch.cat([spectrum, full]).flatten()
        filters = [band(table, state, new).flatten() for band in self.bands]
        if self.n_past:
            rows = torch.cat([rows, state["past"]])
            new["past"] = rows[: 2 * self.n_past]
        products = torch.cat([*filters, self.zero])[self.place] * rows[self.heard]
        return torch.addmm(self.nothing, products.T, self.signs), None, new


class _Band(nn.Module):
    """The units of one width: the whole table [4 * F] -> their filters [n_units, .].

    Its four rows are real part, imaginary part, magnitude, and what the full-band part says.
    """

    def __init__(self, band: nn.Module, n_freqs: int) -> None:
        super().__init__()
        self.name, self.taps = band.name, band.taps
        own, n_units, width = band.own, band.n_units, band.width
        heard = [band.around + 2 * n_freqs, own + 3 * n_freqs, own, own + n_freqs]
        self.register_buffer("hears", torch.cat(heard, dim=1))
        first = copy.deepcopy(band.sub[0])
        _shorten(first, self.hears.shape[1])
        self.sub, self.out = nn.ModuleList([first, *band.sub[1:]]), band.out
        self.frequencies = own.flatten()
        n_out = 2 * (self.taps + 1) * width
        self.n_filters = n_units * n_out
        row = torch.arange(self.n_filters).view(n_units, self.taps + 1, 2, width)[:, : self.taps]
        self.place = row.permute(1, 2, 0, 3).flatten(2)  # [taps, 2, n_units * width] among the filters

    def forward(self, table: Tensor, state: State, new: State) -> Tensor:
        x = table[self.hears][None]
        for i, lstm in enumerate(self.sub):
            x = _advance(lstm, x, f"{self.name}_{i}", state, new)
        return self.out(x[0])


def _advance(lstm: nn.Module, x: Tensor, name: str, state: State, new: State) -> Tensor:
    """One step [1, N, n_in] -> [1, N, n_units] of an LSTM layer; its output is its hidden state."""
    hidden, cell = f"{name}h", f"{name}c"
    _, (new[hidden], new[cell]) = lstm(x, (state[hidden], state[cell]))
    return new[hidden]


def _shorten(layer: nn.Module, n_in: int) -> None:
    """Lets a recurrent layer, whole or factored, read the first of its inputs alone."""
    linear = [part for part in layer.modules() if isinstance(part, nn.Linear)]
    most = max((part.in_features for part in linear), default=0)
    for part in linear:
        if part.in_features == most:
            part.weight, part.in_features = nn.Parameter(part.weight[:, :n_in]), n_in
    if not linear:
        layer.weight_ih_l0, layer.input_size = nn.Parameter(layer.weight_ih_l0[:, :n_in]), n_in
