"""Small networks of the kinds people have: each is cut rightly, or left alone with a reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Chain(nn.Module):
    """Layers by name, and a function that runs them."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


@dataclass(frozen=True)
class Odd:
    """A network, its example, the groups that are cut, and what is said of the rest.

    Attributes:
        build: makes the network.
        example: makes its example inputs.
        groups: name -> units.
        reason: found in what is left alone.
    """

    build: Callable[[], nn.Module]
    example: Callable[[], Any]
    groups: dict[str, int]
    reason: str = ""


def shuffle(net: Any, x: Tensor) -> Tensor:
    h = torch.cat([net.a(x), net.b(x)], 1)
    n, c, t = h.shape
    return net.out(torch.relu(h.view(n, 2, c // 2, t).transpose(1, 2).reshape(n, c, t)))


def cat_chunk(net: Any, x: Tensor) -> Tensor:
    u, v = torch.cat([torch.relu(net.a(x)), torch.relu(net.b(x))], 1).chunk(2, 1)
    return net.p(u) + net.q(v)


def attention(net: Any, x: Tensor) -> Tensor:
    b, t, d = x.shape
    q, k, v = (part.view(b, t, 4, -1).transpose(1, 2) for part in net.qkv(x).split(d, 2))
    x = x + net.p(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view(b, t, d))
    return x + net.down(F.gelu(net.up(x)))


def packed(net: Any, x: Tensor) -> Tensor:
    rows = pack_padded_sequence(torch.relu(net.a(x)), torch.tensor([7, 5, 2]), batch_first=True)
    return net.out(pad_packed_sequence(net.rnn(rows)[0], batch_first=True)[0])


def units_of_frequencies(net: Any, x: Tensor) -> Tensor:
    """Outputs of one layer stand beside what has no unit, and are read by columns of four neighbours."""
    full = torch.relu(net.full(x))  # [B, 12]
    heard = torch.stack([full, x], 2).unflatten(1, (3, 4)).permute(0, 1, 3, 2).flatten(2)  # [B, 3, 8]
    return net.out(torch.relu(net.sub(heard)))


def in_place(net: Any, x: Tensor) -> Tensor:
    """Two layers write their outputs into one buffer."""
    a, b = net.a(x), net.b(x)
    h = a.new_zeros(a.shape[0], a.shape[1] + b.shape[1], a.shape[2])
    h[:, : a.shape[1]] = a
    h[:, a.shape[1] :] = b
    return net.out(h.relu_())


class ChannelsFirst(nn.LayerNorm):
    """Layer norm over axis 1, as networks for images have it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.a = nn.Parameter(torch.randn(1, 1, 12)), nn.Linear(5, 12)
        self.norm, self.b, self.out = nn.LayerNorm(12), nn.Linear(12, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat([self.token.expand(len(x), -1, -1), self.a(x)], 1)
        return self.out(h + torch.relu(self.b(self.norm(h))))


def conv(n_in: int, n_out: int, k: int = 1, **settings: Any) -> nn.Conv1d:
    return nn.Conv1d(n_in, n_out, k, padding=k // 2, **settings)


def signal() -> Tensor:
    return torch.randn(3, 3, 20)


def image() -> Tensor:
    return torch.randn(2, 3, 8, 8)


def branch(net: Any, x: Tensor) -> Tensor:
    """One layer or another by what is heard; the example is loud."""
    h = torch.relu(net.b(torch.relu(net.a(x))))
    return net.out(torch.relu(net.loud(h) if float(x.abs().max()) > 1e-3 else net.quiet(h)))


def head_in_training(net: Any, x: Tensor) -> Tensor:
    h = torch.relu(net.norm(net.a(x)))
    y = net.out(torch.relu(net.b(h)))
    return y + net.head(h) if net.training else y


def two_layers(net: Any, x: Tensor) -> Tensor:
    return net.out(torch.relu(net.a(x)))


def weights_to_functions(net: Any, x: Tensor) -> Tensor:
    """Each layer's weights are handed to a function, one of them by name."""
    h = F.conv1d(x, net.a.weight, net.a.bias, padding=1)
    h = F.relu(F.linear(h.transpose(1, 2), weight=net.b.weight, bias=net.b.bias))
    return F.linear(h, net.out.weight, net.out.bias) + F.embedding(torch.tensor(1), net.shift.weight)


def other_function(net: Any, x: Tensor) -> Tensor:
    """The function does not do what the layer would: no bias, another stride."""
    return F.conv1d(torch.relu(F.conv1d(x, net.a.weight)), net.out.weight, net.out.bias, stride=2)


def spectra(net: Any, x: Tensor) -> Tensor:
    """The short-time transform turns its result in place."""
    window = torch.hann_window(16)
    spectrum = torch.stft(x, 16, 4, window=window, return_complex=True)
    mask = net.out(torch.relu(net.a(spectrum.abs())))
    return torch.istft(spectrum * torch.sigmoid(mask), 16, 4, window=window)


def turned_in_place(net: Any, x: Tensor) -> Tensor:
    h = torch.relu(net.a(x))
    h.transpose_(1, 2)
    h.unsqueeze_(1)
    return net.out(torch.relu(net.b(h)))


class Scaled(nn.Module):
    """Scales that are computed from bare parameters, a mask of channels, and a comparison that is turned."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = conv(3, 12), conv(12, 10), conv(10, 2)
        self.gain, self.decay = nn.Parameter(torch.randn(12, 1)), nn.Parameter(torch.randn(12))
        self.register_buffer("on", torch.rand(12) > 0.3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x) * self.gain.exp() * F.softplus(-self.decay.exp() + self.decay)[:, None]
        h = h * (h > 0).transpose(1, 2).transpose(1, 2) * self.on[:, None]
        return self.out(torch.relu(self.b(h)))


class ComplexValued(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(5, 16, dtype=torch.cfloat), nn.Linear(16, 3, dtype=torch.cfloat)
        self.gain = nn.Parameter(torch.randn(16, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.a(x) * self.gain).abs()


def last_state(net: Any, x: Tensor) -> Tensor:
    return net.out(net.rnn(x)[1][0][-1])


ODD = {
    "shuffle": Odd(lambda: Chain(shuffle, a=conv(3, 8), b=conv(3, 8), out=conv(16, 4)), signal, {"a+b": 8}),
    "cat and chunk": Odd(
        lambda: Chain(cat_chunk, a=conv(3, 8), b=conv(3, 8), p=conv(8, 4), q=conv(8, 4)), signal, {"a+b": 8}
    ),
    "attention": Odd(
        lambda: Chain(
            attention, qkv=nn.Linear(16, 48), p=nn.Linear(16, 16), up=nn.Linear(16, 32), down=nn.Linear(32, 16)
        ),
        lambda: torch.randn(2, 9, 16), {"up": 32}, "scaled_dot_product",
    ),
    "multihead attention": Odd(
        lambda: nn.TransformerEncoderLayer(12, 3, 20, batch_first=True), lambda: torch.randn(2, 5, 12), {"linear1": 20},
        "self_attn",
    ),
    "a width in the forward": Odd(
        lambda: Chain(lambda n, x: n.out(n.b(torch.relu(n.a(x))).view(-1, 16 * 20)), a=conv(3, 12), b=conv(12, 16),
                      out=nn.Linear(320, 2)),
        signal, {"a": 12}, "group 'b' is left alone: the network does not run",
    ),
    "an arithmetic with the width": Odd(
        lambda: Chain(lambda n, x: n.out((h := torch.relu(n.a(x))) * h.shape[1]), a=conv(3, 12), out=conv(12, 2)),
        signal, {}, "gated differ by",
    ),
    "packed sequences": Odd(
        lambda: Chain(packed, a=nn.Linear(4, 10), rnn=nn.LSTM(10, 12, batch_first=True), out=nn.Linear(12, 2)),
        lambda: torch.randn(3, 7, 4), {"a": 10, "rnn": 12},
    ),
    "last state": Odd(
        lambda: Chain(last_state, rnn=nn.LSTM(4, 10, 2), out=nn.Linear(10, 2)), lambda: torch.randn(5, 2, 4),
        {"rnn": 10},
    ),
    "units of frequencies": Odd(
        lambda: Chain(units_of_frequencies, full=nn.Linear(12, 12), sub=nn.Linear(8, 10), out=nn.Linear(10, 1)),
        lambda: torch.randn(2, 12), {"sub": 10}, "outputs of layer 'full'",
    ),
    "written in place": Odd(
        lambda: Chain(in_place, a=conv(3, 6), b=conv(3, 8), out=conv(14, 2)), signal, {"a": 6, "b": 8}
    ),
    "layer norm over axis 1": Odd(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), ChannelsFirst(8), nn.Conv2d(8, 8, 1), nn.GELU(),
                              nn.Conv2d(8, 2, 1)),
        image, {"0": 8, "2": 8},
    ),
    "group norm of several groups": Odd(
        lambda: nn.Sequential(nn.Conv2d(3, 12, 1), nn.GroupNorm(3, 12), nn.ReLU(), nn.Conv2d(12, 2, 1)), image, {"0": 4}
    ),
    "grouped transposed convolution": Odd(
        lambda: nn.Sequential(conv(3, 12), nn.ReLU(), nn.ConvTranspose1d(12, 8, 4, stride=2, groups=4), nn.ReLU(),
                              conv(8, 2)),
        signal, {"0": 3, "2": 2},
    ),
    "depthwise transposed convolution": Odd(
        lambda: nn.Sequential(conv(3, 8), nn.ConvTranspose1d(8, 8, 4, stride=2, groups=8), nn.ReLU(), conv(8, 2)),
        signal, {"0": 8},
    ),
    "gated linear unit": Odd(lambda: nn.Sequential(conv(3, 16), nn.GLU(1), conv(8, 2)), signal, {"0": 8}),
    "class token": Odd(ClassToken, lambda: torch.randn(2, 4, 5), {"a+b": 12}),
    "keyword only": Odd(
        lambda: Chain(lambda n, *, x: n.out(torch.relu(n.a(x))), a=nn.Linear(4, 10), out=nn.Linear(10, 2)),
        lambda: {"x": torch.randn(3, 4)}, {"a": 10},
    ),
    "outputs by name": Odd(
        lambda: Chain(lambda n, x: {"y": n.out(torch.relu(n.a(x)))}, a=nn.Linear(4, 10), out=nn.Linear(10, 2)),
        lambda: torch.randn(3, 4), {"a": 10},
    ),
    "float64": Odd(
        lambda: Chain(two_layers, a=conv(3, 8), out=conv(8, 2)).double(), lambda: signal().double(), {"a": 8}
    ),
    "bfloat16": Odd(
        lambda: nn.Sequential(conv(3, 8), nn.GroupNorm(2, 8), conv(8, 2)).bfloat16(), lambda: signal().bfloat16(),
        {"0": 4},
    ),
    "weights given to functions": Odd(
        lambda: Chain(weights_to_functions, a=conv(3, 8, 3), b=nn.Linear(8, 12), out=nn.Linear(12, 2),
                      shift=nn.Embedding(3, 2)),
        signal, {"a": 8, "b": 12},
    ),
    "weights given to other functions": Odd(
        lambda: Chain(other_function, a=conv(3, 8), out=conv(8, 2)), signal, {}, "'out' (Conv1d) is of a kind",
    ),
    "short-time spectra": Odd(
        lambda: Chain(spectra, a=conv(9, 12), out=conv(12, 9)), lambda: torch.randn(2, 64), {"a": 12}
    ),
    "turned in place": Odd(
        lambda: Chain(turned_in_place, a=conv(3, 12), b=nn.Linear(12, 10), out=nn.Linear(10, 2)), signal,
        {"a": 12, "b": 10},
    ),
    "scales that are computed": Odd(Scaled, signal, {"a": 12, "b": 10}),
    "complex values": Odd(ComplexValued, lambda: torch.randn(4, 5, dtype=torch.cfloat), {"a": 16}),
    "one vector": Odd(
        lambda: nn.Sequential(nn.Linear(10, 16), nn.LayerNorm(16), nn.PReLU(), nn.Linear(16, 12), nn.Tanh(),
                              nn.Linear(12, 2)),
        lambda: torch.randn(10), {"0": 16, "3": 12},
    ),
    "one signal": Odd(
        lambda: nn.Sequential(conv(3, 20), nn.InstanceNorm1d(20, affine=True), nn.ReLU(), conv(20, 2)),
        lambda: torch.randn(3, 20), {"0": 20},
    ),
    "a branch by what is heard": Odd(
        lambda: Chain(branch, a=conv(3, 12), b=conv(12, 8), loud=conv(8, 10), quiet=conv(8, 10), out=conv(10, 2)),
        signal, {"a": 12}, "layer 'quiet', which the example inputs do not run, may have to do with its units",
    ),
    "a head in training": Odd(
        lambda: Chain(head_in_training, a=conv(3, 8), norm=nn.BatchNorm1d(8), b=conv(8, 10), out=conv(10, 2),
                      head=conv(8, 2)),
        signal, {"a": 8, "b": 10},
    ),
}  # fmt: skip
