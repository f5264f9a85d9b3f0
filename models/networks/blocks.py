"""Causal layers: forward(x, state) -> (y, state), the same code for a whole utterance and for one frame at a time.

A state is what a layer remembers of the past; zeros at the start of a stream.
"""

import math

import torch
from torch import Tensor, nn

POWER_FLOOR = 1e-9  # far below the quietest microphone: keeps silence finite
MAGNITUDE_FLOOR = 1e-8
COMPRESSION = 0.3


class RunningLevel(nn.Module):
    """Running mean of the spectrum's power, by which features are normalised: an exponential window, debiased.

    y_t = a y_{t-1} + (1 - a) x_t, divided by the weight seen so far, so that the first frame counts in full. It is
    written as one product with a triangular matrix, so that many frames cost one call.
    """

    def __init__(self, time_constant_frames: float = 190.0) -> None:
        super().__init__()
        self.decay = 1.0 - 1.0 / time_constant_frames

    def forward(self, power: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """power [B, T], state [B, 2] (mean, weight) -> level [B, T], state."""
        time = torch.arange(power.shape[1], device=power.device, dtype=power.dtype)
        lag = time[:, None] - time[None, :]
        window = torch.tril(torch.exp(lag.clamp_min(0.0) * math.log(self.decay)))
        past = self.decay ** (time + 1)
        mean = (1 - self.decay) * power @ window.T + past * state[:, :1]
        weight = 1 - past * (1 - state[:, 1:])
        return mean / weight, torch.stack([mean[:, -1], weight[:, -1]], dim=1)


def normalise(noisy: Tensor, level: Tensor) -> Tensor:
    """Spectra [B, ..., F, T, 2] divided by the running level [B, T] of the reference."""
    scale = torch.rsqrt(level + POWER_FLOOR)
    return noisy * scale.reshape(scale.shape[0], *[1] * (noisy.dim() - 3), scale.shape[1], 1)


def compress(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Spectrum [..., 2] to the power 0.3 with its phase kept [..., 2], and its magnitude [...]."""
    power = spectrum.square().sum(dim=-1) + MAGNITUDE_FLOOR
    gain = power ** ((COMPRESSION - 1) / 2)
    return spectrum * gain[..., None], power.sqrt() * gain


def complex_mask(mask: Tensor, spectrum: Tensor) -> Tensor:
    """Complex product of [..., 2] with [..., 2]."""
    real = mask[..., 0] * spectrum[..., 0] - mask[..., 1] * spectrum[..., 1]
    imag = mask[..., 0] * spectrum[..., 1] + mask[..., 1] * spectrum[..., 0]
    return torch.stack([real, imag], dim=-1)


def presence(real: Tensor, imag: Tensor) -> Tensor:
    """Speech presence [B, F, T] in 0..1 that a complex mask speaks of: its magnitude."""
    return (real.square() + imag.square()).add(1e-12).sqrt().clamp(max=1.0)


class CausalConv2d(nn.Module):
    """Convolution over [B, C, F, T], stride 2 over frequency, causal over time; norm and rectifier after it."""

    def __init__(self, n_in: int, n_out: int, kernel: tuple[int, int] = (5, 2)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride=(2, 1), padding=(kernel[0] // 2, 0))
        self.norm = nn.BatchNorm2d(n_out)
        self.act = nn.LeakyReLU(0.1)

    def initial_state(self, batch: int, n_freqs: int) -> Tensor:
        """Zeros [batch, n_in, n_freqs, kernel - 1]: the frames before the first."""
        return torch.zeros(batch, self.conv.in_channels, n_freqs, self.conv.kernel_size[1] - 1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([state, x], dim=3)
        return self.act(self.norm(self.conv(x))), x[:, :, :, -state.shape[3] :]


class UpConv2d(nn.Module):
    """Doubles the frequency resolution of [B, C, F, T]; needs no past."""

    def __init__(self, n_in: int, n_out: int, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(n_in, n_out, (5, 1), stride=(2, 1), padding=(2, 0))
        self.norm = nn.Identity() if last else nn.BatchNorm2d(n_out)
        self.act = nn.Identity() if last else nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":  # transposed convolutions in bfloat16 are slower than in float32 there
            with torch.autocast("cpu", enabled=False):
                return self.act(self.norm(self.conv(x.float())))
        return self.act(self.norm(self.conv(x)))


class DilatedBlock(nn.Module):
    """Residual block over [B, C, T]: dilated depthwise convolution, norm, two pointwise ones around a rectifier."""

    def __init__(self, n_channels: int, n_units: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(n_channels, n_channels, kernel, dilation=dilation, groups=n_channels)
        self.norm = nn.BatchNorm1d(n_channels)
        self.expand = nn.Conv1d(n_channels, n_units, 1)
        self.act = nn.LeakyReLU(0.1)
        self.project = nn.Conv1d(n_units, n_channels, 1)

    def initial_state(self, batch: int) -> Tensor:
        """Zeros [batch, n_channels, length]: the frames before the first that the kernel spans."""
        length = (self.depthwise.kernel_size[0] - 1) * self.depthwise.dilation[0]
        return torch.zeros(batch, self.depthwise.in_channels, length)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        past = torch.cat([state, x], dim=2)
        y = self.project(self.act(self.expand(self.norm(self.depthwise(past)))))
        return x + y, past[:, :, -state.shape[2] :]


Windows = tuple[Tensor, ...]  # of the spans of a memory, see `BandMemory.windows`


class BandMemory(nn.Module):
    """Residual block over [B, C, F, T]: what each band held before, as leaky means; one set of weights for all bands.

    A quarter of the units remembers over each of `FRAMES`. As in `RunningLevel`, many frames are one product with a
    triangular matrix. It starts as a wire, so that it can be put into a trained network.
    """

    FRAMES = (3.0, 12.0, 50.0, 200.0)

    def __init__(self, n_channels: int, n_units: int) -> None:
        super().__init__()
        self.n_units = n_units
        self.enter = nn.Conv2d(n_channels, n_units, 1)
        self.mix = nn.Conv2d(n_channels + n_units, n_units, 1)
        self.act = nn.LeakyReLU(0.1)
        self.back = nn.Conv2d(n_units, n_channels, 1)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)

    def initial_state(self, batch: int, n_freqs: int) -> Tensor:
        """Zeros [batch, n_units, n_freqs]: the means before the first frame."""
        return torch.zeros(batch, self.n_units, n_freqs)

    def own_macs(self, x: Tensor) -> int:
        """Multiply-accumulates of the means over x [B, C, F, T] as a stream takes them: one for each unit and frame."""
        return x.shape[0] * self.n_units * x.shape[2] * x.shape[3]

    @classmethod
    def keep(cls) -> Tensor:
        """What is left of a mean one frame later, over each of `FRAMES`."""
        return 1 - 1 / torch.tensor(cls.FRAMES)

    @classmethod
    def windows(cls, x: Tensor) -> Windows:
        """For each span what the state and each frame give to the mean of each later frame [1 + T, T], for x [..., T].

        They are the same for all memories of a network.
        """
        keep = cls.keep().to(x.device)[:, None, None]
        time = torch.arange(-1, x.shape[-1], device=x.device, dtype=torch.float32)
        lag = (time[1:] - time[:, None]).clamp_min(0.0)
        power = torch.triu(torch.exp(keep.log() * lag), diagonal=-1)  # a third of the time of a power
        return torch.cat([power[:, :1], power[:, 1:] * (1 - keep)], dim=1).unbind()

    def forward(self, x: Tensor, state: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
        entered = torch.cat([state[..., None], self.act(self.enter(x))], dim=3).chunk(len(windows), dim=1)
        means = torch.cat([part @ window for part, window in zip(entered, windows, strict=True)], dim=1)
        return x + self.back(self.act(self.mix(torch.cat([x, means], dim=1)))), means[..., -1]
