"""Coupled groups and surgery: output of the smaller network equals output with gates."""

import pytest
import torch
import torch.nn.functional as F
from nets.lm import LanguageModel
from nets.mobilenet import PRUNED, MobileNetV3Large
from nets.resnet import resnet50_cifar, resnet56
from nets.vgg import Vgg
from torch import nn

from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.rnn import split_layers
from quietmic.compression.structure.surgery import cut, gated
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.count import count

IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SYMBOLS = torch.arange(10).view(2, 5)


def shake(model):
    """Norms with statistics and scales unlike those of the start."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.LayerNorm | nn.GroupNorm):
            for value in (module.weight, module.bias, getattr(module, "running_mean", None)):
                if value is not None:
                    value.data += 0.2 * torch.randn(value.shape, generator=generator)
    return model.eval()


def half(structure, seed=0):
    """Half of the units of each group, and random gates for those that stay."""
    generator = torch.Generator().manual_seed(seed)
    kept, gates = {}, {}
    for group in structure.groups:
        kept[group.name] = torch.zeros(group.n_units, dtype=torch.bool)
        kept[group.name][torch.randperm(group.n_units, generator=generator)[: (group.n_units + 1) // 2]] = True
        gates[group.name] = kept[group.name] * (0.6 + 0.4 * torch.rand(group.n_units, generator=generator))
    return kept, gates


def first(output):
    return output[0] if isinstance(output, tuple) else output


class Norms(nn.Module):
    """Layer norm, group norm, PReLU, grouped convolution, a bare scale and a transposed convolution in a row."""

    def __init__(self):
        super().__init__()
        self.a, self.group = nn.Conv1d(3, 12, 3), nn.GroupNorm(1, 12)
        self.prelu, self.scale = nn.PReLU(12), nn.Parameter(torch.rand(12, 1))
        self.grouped = nn.Conv1d(12, 8, 3, groups=4)
        self.up, self.layer = nn.ConvTranspose1d(8, 10, 4, stride=2), nn.LayerNorm(10)
        self.gru, self.out = nn.GRU(10, 14, bidirectional=True), nn.Linear(28, 2)

    def forward(self, x):
        x = self.grouped(self.prelu(self.group(self.a(x))) * self.scale)
        x = self.layer(self.up(x).permute(2, 0, 1))
        return self.out(self.gru(x)[0])


NETS = {
    "vgg": (Vgg, IMAGE),
    "resnet50": (resnet50_cifar, IMAGE),
    "resnet56": (resnet56, IMAGE),
    "mobilenet": (MobileNetV3Large, IMAGE),
    "lstm": (LanguageModel, SYMBOLS),
    "split lstm": (lambda: split_layers(LanguageModel()), SYMBOLS),
    "gru": (lambda: LanguageModel(kind="GRU"), SYMBOLS),
    "norms": (Norms, torch.randn(2, 3, 20)),
}


@pytest.mark.parametrize("name", NETS)
def test_surgery_equals_gates(name):
    torch.manual_seed(0)
    build, x = NETS[name]
    model = shake(build())
    structure = find_groups(model, (x[:1],))
    kept, gates = half(structure)
    with torch.no_grad():
        with gated(model, structure, gates):
            expected = first(model(x))
        smaller = cut(model, structure, kept, gates)
        actual = first(smaller(x))
    scale = expected.abs().max().clamp(min=1.0)
    assert (actual - expected).abs().max() < 1e-5 * scale
    assert (first(model(x)) - expected).abs().max() > 1e-3
    assert count(smaller, (x,)).parameters < 0.75 * count(model, (x,)).parameters


def test_groups_of_a_residual_stream_are_one():
    names = [group.name for group in find_groups(resnet50_cifar(), (IMAGE[:1],)).groups]
    assert "stages.0.conv3.0+stages.0.shortcut.0+stages.1.conv3.0+stages.2.conv3.0" in names
    assert len(names) == 1 + 16 * 2 + 4


def test_an_lstm_unit_owns_four_gates_and_two_consumers():
    structure = find_groups(split_layers(LanguageModel(n_hidden=6)), (SYMBOLS,))
    group = structure.group("rnn.layers.0")
    sizes = {(slot.name, slot.axis): int((group.position(slot) == 0).sum()) for slot in group.slots}
    assert sizes[("rnn.layers.0.weight_ih_l0", 0)] == 4
    assert sizes[("rnn.layers.0.weight_hh_l0", 0)] == 4
    assert sizes[("rnn.layers.0.weight_hh_l0", 1)] == 1
    assert sizes[("rnn.layers.1.weight_ih_l0", 1)] == 1
    assert sizes[("rnn.layers.0.bias_hh_l0", 0)] == 4


def test_channels_of_the_mobilenet_table():
    """Cutting the widths of Liu and Lei (2022), table 5, gives their 2.34M parameters."""
    model = MobileNetV3Large()
    structure = find_groups(model, (IMAGE[:1],))
    kept = {}
    for index, width in enumerate(PRUNED):
        group = next(g for g in structure.groups if f"blocks.{index}.up.0" in g.name.split("+"))
        kept[group.name] = torch.arange(group.n_units) < width
        squeeze = [g for g in structure.groups if g.name == f"blocks.{index}.se.fc1"]
        for group in squeeze:
            kept[group.name] = (
                torch.arange(group.n_units) < MobileNetV3Large(widths=PRUNED).blocks[index].se.fc1.out_channels
            )
    assert sum(p.numel() for p in cut(model, structure, kept).parameters()) == 2_339_846


def test_sub_band_units_share_their_columns():
    """A linear layer makes two values for each of five bands; a second one, shared by the bands, reads them."""

    class Bands(nn.Module):
        def __init__(self):
            super().__init__()
            self.full, self.sub, self.out = nn.Linear(4, 10), nn.Linear(3, 6), nn.Linear(6, 1)

        def forward(self, x):
            full = self.full(x).unflatten(-1, (5, -1))  # [B, 5, 2]
            units = torch.stack([x[:, :1].expand(-1, 5), *full.unbind(-1)], -1)
            return self.out(torch.relu(self.sub(units)))

    model = Bands()
    structure = find_groups(model, (torch.randn(2, 4),))
    assert [(group.name, group.n_units) for group in structure.groups] == [("full", 2), ("sub", 6)]
    rows = structure.group("full").slots[0]
    assert rows.units.tolist() == [rows.units[0].item(), rows.units[1].item()] * 5
    kept = {"full": torch.tensor([False, True])}
    smaller = cut(model, structure, kept)
    x = torch.randn(2, 4)
    with gated(model, structure, {"full": kept["full"].float()}):
        expected = model(x)
    assert smaller.full.out_features == 5
    assert torch.allclose(smaller(x), expected, atol=1e-6)


def test_unknown_operations_are_named_and_left_alone():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(3, 2)

        def forward(self, x):
            return self.out(F.softmax(self.a(x) @ self.b(x).transpose(1, 2), -1))

    structure = find_groups(Attention(), (torch.randn(1, 3, 4),))
    assert structure.groups == ()
    assert any("bmm" in reason for reason in structure.left_alone)


def test_a_group_keeps_at_least_one_unit():
    model = Vgg((4, "M", 4, "M", "M", "M", "M"))
    structure = find_groups(model, (IMAGE[:1],))
    with pytest.raises(QuietmicError, match=r"features\.0.*keep at least one"):
        cut(model, structure, {"features.0": torch.zeros(4, dtype=torch.bool)})
