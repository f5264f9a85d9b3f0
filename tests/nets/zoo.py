"""Networks of strangers for `pytest -m zoo`: torchvision's, and small ones of other kinds than `odd.py` has."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nets.odd import Chain, conv

TORCHVISION = {  # name -> size of the image (of a clip of four for r3d_18); 224 where the pooling is made for it
    "alexnet": 224, "convnext_tiny": 64, "densenet121": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64,
    "fcn_resnet50": 64, "googlenet": 64, "inception_v3": 80, "lraspp_mobilenet_v3_large": 64, "mnasnet1_0": 64,
    "mobilenet_v2": 64, "mobilenet_v3_large": 64, "mobilenet_v3_small": 64, "r3d_18": 32, "regnet_x_400mf": 64,
    "regnet_y_400mf": 64, "resnet18": 64, "resnet50": 64, "resnext50_32x4d": 64, "shufflenet_v2_x1_0": 64,
    "squeezenet1_1": 64, "swin_t": 64, "vgg11_bn": 224, "vit_b_16": 64,
}  # fmt: skip
WIDTHS_OF_CLASSES = (1000, 400, 21)  # of these networks, and of none of their inner layers


def torchvision_network(name: str) -> tuple[nn.Module, Tensor]:
    """One of them with fresh weights, and an input."""
    from torchvision import models

    size, settings = TORCHVISION[name], {}
    if name == "vit_b_16":
        settings = {"image_size": size}
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": False}
    if name in ("fcn_resnet50", "lraspp_mobilenet_v3_large"):
        settings = {"weights_backbone": None}
    model = models.get_model(name, weights=None, **settings)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.any():  # the head of vit_b_16: all outputs were zero
            layer.reset_parameters()
    return model.eval(), torch.randn(2, 3, 4, size, size) if name == "r3d_18" else torch.randn(2, 3, size, size)


def lm_of_tied_weights() -> nn.Module:
    model = Chain(
        lambda n, x: n.out(n.rnn(n.embedding(x))[0]), embedding=nn.Embedding(50, 16),
        rnn=nn.LSTM(16, 16, batch_first=True), out=nn.Linear(16, 50, bias=False),
    )  # fmt: skip
    model.out.weight = model.embedding.weight
    return model


def convolution_used_twice() -> nn.Module:
    model = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8, 3), nn.ReLU(), conv(8, 8, 3), nn.ReLU(), conv(8, 2))
    model[4].weight = model[2].weight
    return model


def cells(kind: type[nn.Module]) -> nn.Module:
    """A loop over time that is written out."""

    def forward(net: Any, x: Tensor) -> Tensor:
        state: Any = None
        outputs = []
        for step in x.unbind(1):
            state = net.cell(step, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return net.out(torch.stack(outputs, 1))

    return Chain(forward, cell=kind(6, 12), out=nn.Linear(12, 2))


def multi_query(net: Any, x: Tensor) -> Tensor:
    """Attention of four heads that share keys and values, products written as sums over indices."""
    q, k, v = net.q(x).unflatten(-1, (4, 8)), net.k(x), net.v(x)
    weights = torch.einsum("bthd,bsd->bhts", q, k).div(math.sqrt(8)).softmax(-1)
    x = x + net.out(torch.einsum("bhts,bsd->bthd", weights, v).flatten(2))
    return x + net.down(torch.relu(net.up(x)))


def swiglu(net: Any, x: Tensor) -> Tensor:
    h = net.first(x)
    a, b = net.up(net.norm(h)).chunk(2, -1)
    return net.out(h + net.down(F.silu(a) * b))


def gated_residual(net: Any, x: Tensor) -> Tensor:
    """Dilated convolutions with gates, as networks of waves have them."""
    h, skip = net.first(x), torch.zeros(())
    for gates, rest, skipped in zip(net.gates, net.rest, net.skips, strict=True):
        a, b = gates(h).chunk(2, 1)
        z = torch.tanh(a) * torch.sigmoid(b)
        h, skip = h + rest(z), skip + skipped(z)
    return net.out(torch.relu(skip))


def packed_both_ways(net: Any, x: Tensor) -> Tensor:
    rows = pack_padded_sequence(x, torch.tensor([9, 4]), batch_first=True)
    return net.out(pad_packed_sequence(net.rnn(rows)[0], batch_first=True)[0])


def skip_connections(net: Any, x: Tensor) -> Tensor:
    a = torch.relu(net.down1(x))
    b = torch.relu(net.down2(a))
    return net.up1(torch.cat([torch.relu(net.up2(b)), a], 1))


def mixer(net: Any, x: Tensor) -> Tensor:
    """Steps are mixed by one pair of layers, features by another."""
    x = net.first(x)
    x = x + net.steps_out(F.gelu(net.steps(net.norm1(x).transpose(1, 2)))).transpose(1, 2)
    return net.out((x + net.features_out(F.gelu(net.features(net.norm2(x))))).mean(1))


def experts(net: Any, x: Tensor) -> Tensor:
    h = torch.relu(net.first(x))
    outputs = torch.stack([torch.relu(expert(h)) for expert in net.experts], -1)
    return net.out((outputs * net.choice(h).softmax(-1).unsqueeze(1)).sum(-1))


def highway(net: Any, x: Tensor) -> Tensor:
    h = net.first(x)
    t = torch.sigmoid(net.gate(h))
    return net.out(t * torch.relu(net.inner(h)) + (1 - t) * h)


def conditioned(net: Any, x: Tensor, c: Tensor) -> Tensor:
    scale, shift = net.condition(c).chunk(2, -1)
    return net.out(torch.relu(net.a(x) * scale.unsqueeze(-1) + shift.unsqueeze(-1)))


def siamese(net: Any, x: Tensor, y: Tensor) -> Tensor:
    def features(z: Tensor) -> Tensor:
        return torch.relu(net.b(torch.relu(net.a(z))))

    return net.out((features(x) - features(y)).abs())


def shuffled_images(net: Any, x: Tensor) -> Tensor:
    """A unit of ShuffleNet: half passes, half is convolved, then both are interleaved."""
    passed, h = torch.relu(net.first(x)).chunk(2, 1)
    h = torch.cat([passed, torch.relu(net.b(net.depthwise(torch.relu(net.a(h)))))], 1)
    h = h.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
    return net.out(h.mean((2, 3)))


def positions(net: Any, x: Tensor) -> Tensor:
    """Learned positions, of which a shorter text takes the first."""
    h = net.embedding(x) + net.places[:, : x.shape[1]]
    return net.out(h + torch.relu(net.b(net.norm(h))))


def masks_on_a_basis(net: Any, x: Tensor) -> Tensor:
    """Two masks on a learned basis, each decoded by the same transposed convolution."""
    h = torch.relu(net.encoder(x))
    masks = torch.sigmoid(net.masks(torch.relu(net.inner(h)))).unflatten(1, (2, -1))
    return net.decoder((masks * h.unsqueeze(1)).flatten(0, 1)).unflatten(0, (len(x), 2))


def by_positions() -> nn.Module:
    model = Chain(
        positions, embedding=nn.Embedding(30, 12), norm=nn.LayerNorm(12), b=nn.Linear(12, 12), out=nn.Linear(12, 3)
    )
    model.places = nn.Parameter(torch.randn(1, 20, 12))
    return model


def vectors(size: int = 10) -> Tensor:
    return torch.randn(6, size)


def sequences(size: int = 6) -> Tensor:
    return torch.randn(2, 9, size)


def signals(channels: int = 3) -> Tensor:
    return torch.randn(3, channels, 20)


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8)


def recurrent(net: Any, x: Tensor) -> Tensor:
    return net.out(net.rnn(x)[0])


L, Conv2, Modules = nn.Linear, nn.Conv2d, nn.ModuleList
SMALL: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "plain RNN of two layers": (
        lambda: Chain(recurrent, rnn=nn.RNN(6, 12, 2, batch_first=True), out=L(12, 2)), sequences),
    "GRU of two layers, both ways": (
        lambda: Chain(recurrent, rnn=nn.GRU(6, 10, 2, bidirectional=True, batch_first=True), out=L(20, 2)), sequences),
    "LSTM cell in a loop": (lambda: cells(nn.LSTMCell), sequences),
    "GRU cell in a loop": (lambda: cells(nn.GRUCell), sequences),
    "packed sequences, both ways": (
        lambda: Chain(packed_both_ways, rnn=nn.LSTM(6, 10, bidirectional=True, batch_first=True), out=L(20, 2)),
        sequences),
    "language model of tied weights": (lm_of_tied_weights, lambda: torch.randint(0, 50, (3, 7))),
    "convolution used twice": (convolution_used_twice, signals),
    "transformer, encoder and decoder": (
        lambda: Chain(
            lambda n, x, y: n.out(n.decoder(y, n.encoder(x))),
            encoder=nn.TransformerEncoderLayer(12, 3, 20, batch_first=True),
            decoder=nn.TransformerDecoderLayer(12, 3, 20, batch_first=True), out=L(12, 2)),
        lambda: (sequences(12), sequences(12))),
    "attention of shared keys": (
        lambda: Chain(multi_query, q=L(16, 32), k=L(16, 8), v=L(16, 8), out=L(32, 16), up=L(16, 40), down=L(40, 16)),
        lambda: sequences(16)),
    "SwiGLU behind RMS norm": (
        lambda: Chain(swiglu, first=L(6, 16), norm=nn.RMSNorm(16), up=L(16, 48), down=L(24, 16), out=L(16, 3)),
        sequences),
    "gated residual convolutions": (
        lambda: Chain(
            gated_residual, first=conv(3, 8), gates=Modules([conv(8, 12, 3), conv(8, 12, 3)]),
            rest=Modules([conv(6, 8), conv(6, 8)]), skips=Modules([conv(6, 10), conv(6, 10)]), out=conv(10, 2)),
        signals),
    "weight norm and spectral norm": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(conv(3, 16, 3)), nn.ReLU(),
            nn.utils.parametrizations.spectral_norm(conv(16, 12)), nn.ReLU(), conv(12, 2)),
        signals),
    "channels shuffled by a layer": (
        lambda: nn.Sequential(conv(3, 12), nn.ReLU(), nn.ChannelShuffle(3), conv(12, 12, 3), nn.ReLU(), conv(12, 2)),
        signals),
    "halves interleaved": (
        lambda: Chain(shuffled_images, first=Conv2(3, 16, 3, padding=1), a=Conv2(8, 8, 1),
                      depthwise=Conv2(8, 8, 3, padding=1, groups=8), b=Conv2(8, 8, 1), out=L(16, 3)),
        images),
    "pixels shuffled": (
        lambda: nn.Sequential(Conv2(3, 32, 3, padding=1), nn.PixelShuffle(2), nn.ReLU(), Conv2(8, 2, 1)), images),
    "skip connections": (
        lambda: Chain(skip_connections, down1=Conv2(3, 8, 3, padding=1), down2=Conv2(8, 16, 3, stride=2, padding=1),
                      up2=nn.ConvTranspose2d(16, 8, 2, stride=2), up1=Conv2(16, 3, 1)),
        images),
    "mixer": (
        lambda: Chain(mixer, first=L(6, 16), norm1=nn.LayerNorm(16), norm2=nn.LayerNorm(16), steps=L(9, 20),
                      steps_out=L(20, 9), features=L(16, 24), features_out=L(24, 16), out=L(16, 3)),
        sequences),
    "experts": (
        lambda: Chain(experts, first=L(10, 16), choice=L(16, 3), experts=Modules(L(16, 12) for _ in range(3)),
                      out=L(12, 2)),
        vectors),
    "highway": (lambda: Chain(highway, first=L(10, 12), gate=L(12, 12), inner=L(12, 12), out=L(12, 2)), vectors),
    "scale and shift by a condition": (
        lambda: Chain(conditioned, condition=L(5, 24), a=conv(3, 12, 3), out=conv(12, 2)),
        lambda: (signals(), torch.randn(3, 5))),
    "siamese": (
        lambda: Chain(siamese, a=L(10, 16), b=L(16, 12), out=L(12, 1)), lambda: (vectors(), vectors())),
    "learned positions": (by_positions, lambda: torch.randint(0, 30, (2, 7))),
    "masks on a learned basis": (
        lambda: Chain(masks_on_a_basis, encoder=nn.Conv1d(1, 16, 8, stride=4), inner=conv(16, 12), masks=conv(12, 32),
                      decoder=nn.ConvTranspose1d(16, 1, 8, stride=4)),
        lambda: torch.randn(3, 1, 64)),
    "convolutions in three dimensions": (
        lambda: nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2),
                              nn.Conv3d(8, 2, 1)),
        lambda: torch.randn(2, 1, 4, 4, 4)),
}  # fmt: skip
