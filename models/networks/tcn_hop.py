"""The TCN for one frame at a time, of the same weights: a hop costs its arithmetic, not its number of operators.

What all blocks remember is one table of rows over time, [rows, width], of which one look-up gives all taps; a block is
then a scaled sum and two matrix products with constants on the right, which ONNX Runtime packs beforehand. A layer's
bias rides as one more unit, so that the product's own summand can be the residual. Frequencies lie on the last axis,
where the kernels of convolutions are fast.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from quietmic.models.networks.blocks import BandMemory, DilatedBlock
from quietmic.models.networks.hop import HopFeatures, Inputs, State, pack_level, unpack_level


class TcnHop(nn.Module):
    """A `Tcn` with folded norms, for one signal and one frame; the same values to rounding.

    `inputs` names the spectra that it takes, with their shapes. Its states are those of the network in another
    arrangement: `pack` and `unpack` translate. Blocks and memories that compression has taken out are not there.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        n_freqs = network.config.n_freqs
        self.features = HopFeatures(network.level.decay, n_freqs)
        heard, masked = (torch.tensor([1 - share, share]) for share in (network.HEARD, network.MASKED))
        real, imag = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        # From reference and beam: what is heard, and what the mask's real and imaginary part are multiplied with.
        rows = [torch.kron(heard, real), torch.kron(heard, imag)]
        rows += [torch.kron(masked, part) for part in (real, imag, -imag, real)]
        self.register_buffer("mix", torch.stack(rows))
        self.register_buffer("sums", 2**0.5 * torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 2))
        self.register_buffer("nothing", torch.zeros(2))
        self.inputs: Inputs = {"reference": (n_freqs, 2), "beam": (n_freqs, 2)}
        parts = {f"block{i}": block for i, block in enumerate(network.blocks)}
        parts |= {name: memory for name, (_, memory) in network.memories().items()}
        blocks = {name: part for name, part in parts.items() if isinstance(part, DilatedBlock)}
        memories = {name: part for name, part in parts.items() if isinstance(part, BandMemory)}
        self.unused = {name: parts[name].initial_state(1) for name in parts.keys() - blocks.keys() - memories.keys()}
        self.lengths = {name: block.initial_state(1).shape[2] for name, block in blocks.items()}
        self.encoder = nn.ModuleList(nn.Sequential(_lay_down(layer.conv), layer.act) for layer in network.encoder)
        self.memories = nn.ModuleDict({name: _Memory(memory) for name, memory in memories.items()})
        self.skips = nn.ModuleList(_lay_down(layer) for layer in network.skips)
        self.decoder = nn.ModuleList(_lay_down(layer.conv) for layer in network.decoder)
        _give_twice(self.decoder[0])
        self.acts = nn.ModuleList(layer.act for layer in network.decoder)
        self.squeeze, self.unsqueeze = _chain(network.squeeze), _chain(network.unsqueeze)
        self.blocks = nn.ModuleList(_Block(block) for block in blocks.values())
        self._place_rows([*blocks.values()])

    def _place_rows(self, blocks: list[DilatedBlock]) -> None:
        """Rows of the table that are taps, their weights, and where each row comes from in the next frame."""
        taps, follow, first, n_rows = [], [], 0, sum(self.lengths.values())
        for i, (block, length) in enumerate(zip(blocks, self.lengths.values(), strict=True)):
            taps.append(torch.arange(first, first + length, block.depthwise.dilation[0]))
            follow += [*range(first + 1, first + length), n_rows + i]
            first += length
        self.register_buffer("taps", torch.stack(taps, dim=1).flatten())
        self.register_buffer("follow", torch.tensor(follow))
        weights = [block.depthwise.weight[:, 0, :-1].T for block in blocks]
        self.register_buffer("weights", torch.cat(weights, dim=1))  # [taps, blocks * width]

    def pack(self, state: State) -> State:
        """States of the network [1, C, F, 1] and [1, width, length] as they are here."""
        packed = {"level": pack_level(state["level"])}
        for i in range(len(self.encoder)):
            packed[f"encoder{i}"] = state[f"encoder{i}"].transpose(2, 3)
        packed |= {name: memory.pack(state[name]) for name, memory in self.memories.items()}
        rows = torch.cat([state[name] for name in self.lengths], dim=2)
        return packed | {"past": rows[0].T}

    def unpack(self, packed: State) -> State:
        """The reverse of `pack`."""
        state = {"level": unpack_level(packed["level"])}
        for i in range(len(self.encoder)):
            state[f"encoder{i}"] = packed[f"encoder{i}"].transpose(2, 3)
        state |= {name: memory.unpack(packed[name]) for name, memory in self.memories.items()}
        rows = packed["past"].T[None].split([*self.lengths.values()], dim=2)
        return state | dict(zip(self.lengths, rows, strict=True)) | self.unused

    def forward(self, reference: Tensor, beam: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """reference, beam [F, 2] -> enhanced [F, 2], presence [F], state."""
        heard, crossed = (self.mix @ torch.cat([reference, beam], dim=1).T).split([2, 4])  # [2, F], [4, F]
        new: State = {}
        x, new["level"] = self.features(heard, state["level"])
        x = x.reshape(1, 3, 1, -1)
        levels = []
        for i, layer in enumerate(self.encoder):
            new[f"encoder{i}"] = x
            x = self._remember(f"encoder_memory{i}", layer(torch.cat([state[f"encoder{i}"], x], dim=2)), state, new)
            levels.append(x)
        y, new["past"] = self._dilated(self.squeeze(x.reshape(1, -1)), state["past"])
        x = self.unsqueeze(y).reshape(1, -1, 1, x.shape[3])
        for i in reversed(range(len(self.decoder))):
            x = self._remember(f"decoder_memory{i}", x + self.skips[i](levels[i]), state, new)
            x = self.acts[i](self.decoder[i](x))
        mask = x.reshape(4, -1)
        enhanced = torch.addmm(self.nothing, (mask * crossed).T, self.sums)
        return enhanced, mask.norm(dim=0).clamp(max=1.0), new

    def _remember(self, name: str, x: Tensor, state: State, new: State) -> Tensor:
        """A level [1, C, 1, F] with what the memory of that name adds, if there is one."""
        if name in self.memories:
            x, new[name] = self.memories[name](x, state[name])
        return x

    def _dilated(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Residual stream [1, width], table [rows, width] -> the same, one frame on."""
        # [taps, blocks * width], summed to what the past adds in each block
        rows = (past[self.taps].reshape(self.weights.shape) * self.weights).sum(dim=0).split(x.shape[1])
        inputs = []
        for block, row in zip(self.blocks, rows, strict=True):
            inputs.append(x)
            x = block(x, row)
        return x, torch.cat([past, *inputs])[self.follow]


class _Memory(nn.Module):
    """A `BandMemory` for one frame [1, C, 1, F]; its means lack the newest frame's share, which the weights carry."""

    def __init__(self, memory: nn.Module) -> None:
        super().__init__()
        self.enter, self.mix, self.back = (_lay_down(layer) for layer in (memory.enter, memory.mix, memory.back))
        self.act = memory.act
        keep = memory.keep().repeat_interleave(memory.n_units // len(memory.FRAMES))
        self.register_buffer("keep", keep[:, None, None])
        first = next(layer for layer in self.mix.modules() if isinstance(layer, nn.Conv2d))
        with torch.no_grad():
            first.weight[:, -memory.n_units :] *= 1 - self.keep

    def pack(self, state: Tensor) -> Tensor:
        """Means [1, n_units, F] of the network as they are here [1, n_units, 1, F]."""
        return state[:, :, None] / (1 - self.keep)

    def unpack(self, packed: Tensor) -> Tensor:
        """The reverse of `pack`."""
        return (packed * (1 - self.keep))[:, :, 0]

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = state * self.keep + self.act(self.enter(x))
        return x + self.back(self.act(self.mix(torch.cat([x, state], dim=1)))), state


class _Block(nn.Module):
    """A `DilatedBlock` whose past is known: [1, width], what the past adds [width] -> [1, width]."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        *first, last = _matrices(block.expand)
        *between, back = _matrices(block.project)
        self.act = block.act
        self.first, self.last = nn.ModuleList(first), _with_one(last)
        self.between = nn.ModuleList(_passing_one(layer) for layer in between)
        bias = back.bias / self.act(torch.ones(1)) if back.bias is not None else back.weight.new_zeros(len(back.weight))
        self.register_buffer("back", torch.cat([back.weight, bias[:, None]], dim=1).T.contiguous())
        self.register_buffer("newest", block.depthwise.weight[:, 0, -1].clone())
        self.register_buffer("zeros", torch.zeros(len(self.newest)))
        self.register_buffer("ones", torch.ones(len(self.newest)))
        entry = self.first[0] if first else self.last
        with torch.no_grad():  # the bias of the taps, once for all frames
            entry.bias += entry.weight @ block.depthwise.bias

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        y = functional.batch_norm(x, self.zeros, self.ones, self.newest, past, eps=1e-12)
        for layer in self.first:
            y = layer(y)
        y = self.act(self.last(y))
        for layer in self.between:
            y = layer(y)
        return torch.addmm(x, y, self.back)


def _matrices(layer: nn.Module) -> list[nn.Linear]:
    """A pointwise convolution, or several in a row, as matrices with biases."""
    found = []
    for conv in layer if isinstance(layer, nn.Sequential) else [layer]:
        linear = nn.Linear(conv.in_channels, conv.out_channels)
        linear.weight.data = conv.weight.data.flatten(1).clone()
        linear.bias.data = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.data.clone()
        found.append(linear)
    return found


def _with_one(layer: nn.Linear) -> nn.Linear:
    """The layer with one more output, which is always one."""
    layer.weight.data = functional.pad(layer.weight.data, (0, 0, 0, 1))
    layer.bias.data = functional.pad(layer.bias.data, (0, 1), value=1.0)
    return layer


def _passing_one(layer: nn.Linear) -> nn.Linear:
    """The layer with one more input, which it passes on as one more output."""
    layer.weight.data = functional.pad(layer.weight.data, (0, 1, 0, 1))
    layer.weight.data[-1, -1] = 1
    layer.bias.data = functional.pad(layer.bias.data, (0, 1))
    return layer


def _chain(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(*_matrices(layer))


def _lay_down(layer: nn.Module) -> nn.Module:
    """A copy of a convolution over [B, C, F, T], or of several in a row, for [B, C, T, F]."""
    layer = copy.deepcopy(layer)
    for conv in layer.modules():
        if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            conv.weight.data = conv.weight.data.transpose(2, 3).contiguous()
            for name in ("kernel_size", "stride", "padding", "dilation", "output_padding"):
                setattr(conv, name, getattr(conv, name)[::-1])
    return layer


def _give_twice(layer: nn.Module) -> None:
    """Lets a transposed convolution give both parts of a complex mask twice, for the four real products with it.

    Scaled so that the magnitude of the four is the mask's.
    """
    conv = [part for part in layer.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)][-1]
    outs = 1 if isinstance(conv, nn.ConvTranspose2d) else 0
    conv.weight.data = 0.5**0.5 * conv.weight.data.repeat_interleave(2, dim=outs)
    conv.bias.data = 0.5**0.5 * conv.bias.data.repeat_interleave(2)
    conv.out_channels = 4
