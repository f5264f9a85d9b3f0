"""TCN enhancer: convolutional encoder over frequency, dilated residual blocks over time, decoder with skips.

Layout after Pandey and Wang 2019 (TCNN), on spectra; depthwise blocks as in Conv-TasNet (Luo and Mesgarani 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.blocks import (
    COMPRESSION,
    MAGNITUDE_FLOOR,
    POWER_FLOOR,
    BandMemory,
    CausalConv2d,
    DilatedBlock,
    RunningLevel,
    UpConv2d,
    Windows,
    presence,
)
from quietmic.models.networks.tcn_hop import TcnHop

State = dict[str, Tensor]
MEMORIES = ("encoder_memories", "decoder_memories")  # sizes that a trained network can be given


@dataclass(frozen=True)
class TcnConfig:
    """Sizes: channels of each encoder level, width of the residual stream, units inside a block, dilations.

    Memories are units of the `BandMemory` of each level, the first one first, behind the encoder's layer and before the
    decoder's: multiples of four; 0 is none.

    Raises:
        QuietmicError: memories that cannot be.
    """

    n_freqs: int = 257
    encoder: tuple[int, ...] = (24, 32, 48, 64)
    width: int = 320
    n_units: int = 688
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8) * 3
    encoder_memories: tuple[int, ...] = ()
    decoder_memories: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in MEMORIES:
            _check_memories(name, getattr(self, name), len(self.encoder))


class Tcn(nn.Module):
    """Reference and beamformer spectra in, enhanced spectrum and speech-presence mask out; causal, no look-ahead.

    Its mask is computed from mostly the beamformer's output, in which speech is easiest to tell from noise, and goes on
    the mean of the two, as the beamformer alone would move the talker's phase. With one microphone all are the same
    signal, so that it needs no training on arrays.
    """

    family = "tcn"
    N_FEATURES = 3  # real part, imaginary part, magnitude
    HEARD, MASKED = 0.7, 0.5  # the beamformer's share of what features are made of, and of what the mask goes on

    def __init__(self, config: TcnConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TcnConfig()
        self.level = RunningLevel()
        channels = (self.N_FEATURES, *config.encoder)
        self.encoder = nn.ModuleList(CausalConv2d(a, b) for a, b in pairwise(channels))
        self.encoder_memories = _memories(config.encoder, config.encoder_memories)
        self.skips = nn.ModuleList(nn.Conv2d(c, c, 1) for c in config.encoder)
        n_flat = config.encoder[-1] * self._freqs()[-1]
        self.squeeze = nn.Conv1d(n_flat, config.width, 1)
        self.blocks = nn.ModuleList(
            DilatedBlock(config.width, config.n_units, config.kernel, d) for d in config.dilations
        )
        self.unsqueeze = nn.Conv1d(config.width, n_flat, 1)
        self.decoder_memories = _memories(config.encoder, config.decoder_memories)
        outs = (2, *config.encoder[:-1])
        self.decoder = nn.ModuleList(
            UpConv2d(a, b, last=i == 0) for i, (a, b) in enumerate(zip(config.encoder, outs, strict=True))
        )
        self._start_like_a_wire()

    def _start_like_a_wire(self) -> None:
        """A mask near one: training starts from the noisy signal."""
        with torch.no_grad():
            head = self.decoder[0].conv
            head.weight *= 0.3
            head.bias.copy_(torch.tensor([0.7, 0.0]))
            for block in self.blocks:
                block.project.weight *= 0.3

    def _freqs(self) -> list[int]:
        """Number of frequencies at the input of each encoder level and behind the last."""
        freqs = [self.config.n_freqs]
        for _ in self.config.encoder:
            freqs.append((freqs[-1] + 1) // 2)
        return freqs

    def give_memories(self, config: TcnConfig) -> None:
        """Fresh memories as a configuration of the same other sizes has them; they change nothing until they learn.

        Levels that compression has narrowed get them for the channels that are left.
        """
        self.config = config
        self.encoder_memories = _memories([layer.conv.out_channels for layer in self.encoder], config.encoder_memories)
        self.decoder_memories = _memories([skip.out_channels for skip in self.skips], config.decoder_memories)

    def for_hops(self) -> nn.Module:
        """What `export` writes for streams: the same for one frame at a time, once its norms are folded."""
        return TcnHop(self)

    def initial_state(self, batch: int = 1) -> State:
        """Zeros: what every layer remembers before the first frame."""
        state = {"level": torch.zeros(batch, 2)}
        for i, layer in enumerate(self.encoder):
            state[f"encoder{i}"] = layer.initial_state(batch, self._freqs()[i])
        for name, (level, memory) in self.memories().items():
            state[name] = memory.initial_state(batch, self._freqs()[level + 1])
        for i, block in enumerate(self.blocks):
            state[f"block{i}"] = block.initial_state(batch)
        return state

    def memories(self) -> dict[str, tuple[int, nn.Module]]:
        """Level and layer of each memory, by the name of its state."""
        return {
            f"{part}_memory{i}": (int(i), memory)
            for part in ("encoder", "decoder") for i, memory in getattr(self, f"{part}_memories").items()
        }  # fmt: skip

    def _remember(self, part: str, i: int, x: Tensor, windows: Windows, state: State, new: State) -> Tensor:
        """The level [B, C, F, T] with what its memory of that part adds, if there is one."""
        memories, name = getattr(self, f"{part}_memories"), f"{part}_memory{i}"
        if str(i) in memories:
            x, new[name] = memories[str(i)](x, state[name], windows)
        return x

    def forward(self, noisy: Tensor, beam: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """noisy [B, n_mics, F, T, 2], beam [B, F, T, 2] -> enhanced [B, F, T, 2], presence [B, F, T], state."""
        reference = noisy[:, 0]
        change = beam - reference
        heard, masked = (reference + share * change for share in (self.HEARD, self.MASKED))
        real, imag = heard.unbind(dim=3)  # [B, F, T]: products whose innermost axis is two would be slow
        power = real.square() + imag.square()
        new: State = {}
        level, new["level"] = self.level(power.mean(dim=1), state["level"])
        scale = torch.rsqrt(level + POWER_FLOOR)[:, None]
        power = power * scale.square() + MAGNITUDE_FLOOR
        gain = (power.log() * ((COMPRESSION - 1) / 2)).exp()  # half the time of a power in ONNX Runtime
        x = torch.stack([real * scale, imag * scale, power.sqrt()], dim=1) * gain[:, None]
        levels, windows = [], BandMemory.windows(x)
        for i, layer in enumerate(self.encoder):
            x, new[f"encoder{i}"] = layer(x, state[f"encoder{i}"])
            x = self._remember("encoder", i, x, windows, state, new)
            levels.append(x)
        x = self.squeeze(levels[-1].flatten(1, 2))  # [B, C, F, T] -> [B, C * F, T] -> [B, width, T]
        for i, block in enumerate(self.blocks):
            x, new[f"block{i}"] = block(x, state[f"block{i}"])
        x = self.unsqueeze(x).unflatten(1, (-1, self._freqs()[-1]))
        for i in reversed(range(len(self.decoder))):
            x = self._remember("decoder", i, x + self.skips[i](levels[i]), windows, state, new)
            x = self.decoder[i](x)
        mask, (real, imag) = x.unbind(dim=1), masked.unbind(dim=3)
        enhanced = [mask[0] * real - mask[1] * imag, mask[0] * imag + mask[1] * real]
        return torch.stack(enhanced, dim=-1), presence(*mask), new


def _check_memories(name: str, units: Sequence[int], n_levels: int) -> None:
    """What else would stop a run at its first step, at its export, or never, is refused at once."""
    spans = len(BandMemory.FRAMES)
    if not all(type(n) is int and n >= 0 and n % spans == 0 for n in units):
        message = f"{name} = {[*units]}, but it is a list of units, a multiple of {spans} or 0 for each level"
        raise QuietmicError(message, exit_code=2)
    if len(units) > n_levels:
        message = f"{name} has {len(units)} numbers, but the encoder has {n_levels} levels: give one for each at most"
        raise QuietmicError(message, exit_code=2)


def _memories(channels: Sequence[int], units: tuple[int, ...]) -> nn.ModuleDict:
    return nn.ModuleDict({str(i): BandMemory(c, n) for i, (c, n) in enumerate(zip(channels, units, strict=False)) if n})
