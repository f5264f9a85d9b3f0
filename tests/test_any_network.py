"""Networks of the kinds people have: cut rightly or left alone by name, counted by hand."""

import copy

import pytest
import torch
from nets.odd import ODD, Chain, conv, signal
from torch import nn

from quietmic.compression import Budget, Recipe, compress, plain_weights
from quietmic.compression.cost import CostModel
from quietmic.compression.criteria.context import Context
from quietmic.compression.criteria.influence import batch_influences
from quietmic.compression.criteria.reconstruct import gram_matrices
from quietmic.compression.factor.lowrank import choose_ranks
from quietmic.compression.factor.quantize import kmeans
from quietmic.compression.finetune import finetune
from quietmic.compression.recipe import FineTune, Prune
from quietmic.compression.structure.check import checked_cut, fit_groups
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.rnn import split_layers
from quietmic.compression.structure.surgery import gated
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.count import count
from quietmic.models.networks.run import example, outputs_of, run


def square(model, batch):
    return sum(value.float().square().mean() for value in outputs_of(run(model, example(batch, model))))


def recipe(budget, criterion="l1", steps=0, **prune):
    return Recipe(prune=Prune(criterion=criterion, **prune), finetune=FineTune(steps=steps), budget=budget)


def n_parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ODD)
def test_the_cut_network_is_the_gated_one(name):
    """Shuffled channels, halves of a chunk, widths in a forward: each crashed, or differed as much as the output."""
    torch.manual_seed(0)
    odd = ODD[name]
    model, inputs = split_layers(odd.build().eval()), odd.example()
    structure = fit_groups(model, find_groups(model, inputs), inputs)
    found = {group.name.split(".layers")[0]: group.n_units for group in structure.groups}
    assert found == odd.groups
    assert odd.reason in " ".join(structure.left_alone)
    kept = {group.name: torch.arange(group.n_units) % 2 == 0 for group in structure.groups}
    done = checked_cut(model, structure, kept, inputs)
    assert done.undone == {}
    with torch.no_grad():
        with gated(model, structure, {n: mask.to(next(model.parameters()).dtype) for n, mask in kept.items()}):
            expected = outputs_of(run(model, example(inputs, model)))[0].double()
        actual = outputs_of(run(done.model, example(inputs, done.model)))[0].double()
    tolerance = 1e-5 if next(model.parameters()).dtype != torch.bfloat16 else 0.05
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()
    assert not kept or n_parameters(done.model) < n_parameters(model)


@pytest.mark.parametrize(
    "name", ["attention", "packed sequences", "keyword only", "float64", "bfloat16", "a head in training"]
)
@pytest.mark.parametrize("criterion", ["influence", "thinet", "activation-l1"])
def test_criteria_run_on_any_network(name, criterion):
    torch.manual_seed(0)
    odd = ODD[name]
    model, inputs = odd.build(), odd.example()
    budget = Budget("params", 0.75 * n_parameters(model))
    result = compress(model, inputs, square, [inputs] * 2, recipe(budget, criterion, steps=2))
    assert 0.65 * budget.value < n_parameters(result.model) <= budget.value
    assert next(result.model.parameters()).dtype == next(model.parameters()).dtype


class Tied(nn.Module):
    """The output layer shares the embedding's weight."""

    def __init__(self, n=100, d=24):
        super().__init__()
        self.embedding, self.hidden, self.out = nn.Embedding(n, d), nn.Linear(d, d), nn.Linear(d, n, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x):
        return self.out(torch.relu(self.hidden(self.embedding(x))))


def test_tied_weights_stay_tied():
    """Surgery gave each holder a copy of its own: a budget of 1500 ended at 2782 parameters, and the copies parted."""
    torch.manual_seed(0)
    x = torch.randint(0, 100, (4, 9))
    budget = Budget("params", 1500)
    result = compress(Tied(), x, square, [x], recipe(budget, steps=3))
    assert result.model.out.weight is result.model.embedding.weight
    assert 0.9 * 1500 < n_parameters(result.model) <= 1500
    assert n_parameters(result.model) == result.steps[-1].parameters
    assert set(choose_ranks(Tied(), 0.9)) <= {"hidden"}


def test_a_frozen_reader_counts_as_a_free_one():
    """Influences came from the gradients of what trains: units that a frozen layer reads had none."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    x = torch.randn(32, 10)
    task, structure = Task(square, [x], n_calibration=1), find_groups(model, x)
    free = batch_influences(model, structure, task)
    model.requires_grad_(False)
    frozen = batch_influences(model, structure, task)
    assert all(torch.allclose(free[name], frozen[name], atol=1e-6) for name in free)
    assert frozen["0"].abs().max() > 1e-3


class PlainRnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.RNN(8, 24, batch_first=True), nn.Linear(24, 3)
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)

    def forward(self, x):
        y = self.rnn(x)[0]
        return self.out(self.attention(y, y, y, need_weights=False)[0])


def cells(net, x):
    h = c = x.new_zeros(len(x), 6)
    for t in range(x.shape[1]):
        h, c = net.lstm(x[:, t], (h, c))
    return net.out(net.gru(h))


MACS = {
    "rnn and attention": (
        PlainRnn, lambda: torch.randn(4, 9, 8), 36 * (24 * (8 + 24) + 4 * 24 * 24 + 24 * 3) + 2 * 4 * 9 * 9 * 24
    ),
    "cells": (
        lambda: Chain(cells, lstm=nn.LSTMCell(4, 6), gru=nn.GRUCell(6, 5), out=nn.Linear(5, 1)),
        lambda: torch.randn(2, 3, 4), 2 * (3 * 4 * 6 * (4 + 6) + 3 * 5 * (6 + 5) + 5),
    ),
    "attention": (ODD["attention"].build, ODD["attention"].example, 18 * 16 * (48 + 16 + 64) + 2 * 2 * 9 * 9 * 16),
    "packed sequences": (
        ODD["packed sequences"].build, ODD["packed sequences"].example, 21 * 4 * 10 + 14 * 48 * 22 + 21 * 12 * 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MACS)
def test_multiplications_by_hand(name):
    """Attention, plain RNNs and cells counted as nothing: half of a vision transformer was missing."""
    build, inputs, macs = MACS[name]
    model, given = build(), inputs()
    figures = count(model, given)
    assert figures.macs == macs
    assert figures.not_counted == ()
    structure = find_groups(model, given)
    costs = CostModel(model, structure, given)
    assert costs.cost("macs", costs.everything()) == macs


def test_what_cannot_be_counted_is_named():
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(4, 5))

        def forward(self, x):
            return x + self.table.cumsum(0)[:1]

    model, x = nn.Sequential(Lookup(), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(2, 5)
    assert count(model, x).not_counted == ("0 (Lookup)",)
    result = compress(model, x, square, [x], recipe(Budget("params", 60)))
    assert result.steps[0].notes == ("products of layer '0 (Lookup)' are not counted",)  # nobody was told
    assert not any("not counted" in note for note in result.steps[1].notes)


def test_modes_of_submodules_are_left_alone():
    """`train(model.training)` at the end woke the norms that a user had put to rest."""
    model = nn.Sequential(conv(3, 8), nn.BatchNorm1d(8), nn.ReLU(), conv(8, 2)).train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    x, mean = signal(), model[1].running_mean.clone()
    find_groups(model, x)
    count(model, x)
    task = Task(square, [x])
    task.mean_loss(model)
    finetune(model, task, 2, 1e-3)
    compress(model, x, square, [x], recipe(Budget("params", 40), "influence-static", steps=2))
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model[1].running_mean, mean)


def test_budgets_are_met_or_refused():
    model = nn.Sequential(conv(3, 15), nn.ReLU(), conv(15, 7), nn.ReLU(), conv(7, 2))
    x = signal()
    for fraction in (0.25, 0.4, 0.5, 0.73):
        result = compress(model, x, square, None, recipe(Budget("units", fraction)))
        stays = sum(int(mask.sum()) for mask in result.kept[0].values())
        assert abs(stays - 22 * fraction) <= 0.5
    with pytest.raises(
        QuietmicError, match=r"5% of the units cannot be met: .* 13\.6% of the units stay; lower the floor"
    ):
        compress(model, x, square, None, recipe(Budget("units", 0.05)))
    with pytest.raises(QuietmicError, match=r"nothing can be cut from this network: the outputs of layer '0'"):
        compress(nn.Sequential(nn.Linear(4, 2)), torch.randn(2, 4), square, None, recipe(Budget("params", 5)))


def test_widths_are_rounded():
    model = nn.Sequential(conv(3, 20), nn.ReLU(), conv(20, 30), nn.ReLU(), conv(30, 2))
    budget = Budget("params", 0.5 * n_parameters(model))
    result = compress(model, signal(), square, None, recipe(budget, round_to=4))
    assert {int(mask.sum()) % 4 for mask in result.kept[0].values()} == {0}
    assert n_parameters(result.model) <= budget.value


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_windows_come_from_the_whole_map_padded_as_the_layer_pads(mode):
    """Windows at a fixed stride all came from one padded column of a map of 32 by 32: their energy was half of it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 3, 3, padding=1, padding_mode=mode))
    x = torch.rand(16, 1, 32, 32) + 1
    structure = find_groups(model, x[:1])
    task = Task(square, [x], n_calibration=1)
    given = Context(model, structure, task, CostModel(model, structure, x[:1]), Budget("params", 1))
    y = model(x) - model[1].bias[:, None, None]
    energy = y.square().sum(1).mean().item()
    assert gram_matrices(given)["0"].sum().item() / 512 == pytest.approx(energy, rel=0.05)


def test_centres_are_used_where_values_have_outliers():
    """Centres evenly over the range: ten of 256 were used where two weights lay far out."""
    values = torch.cat([torch.randn(5000, generator=torch.Generator().manual_seed(0)), torch.tensor([80.0, -90.0])])
    centres, index = kmeans(values, 256)
    assert len(index.unique()) == 256
    assert (centres[index] - values).square().mean() < 1e-3
    repeated, index = kmeans(torch.tensor([0.0] * 1000 + [1.0, 2.0, 3.0]), 4)
    assert sorted(repeated[index.unique()].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm, nn.utils.parametrizations.spectral_norm]
)
def test_weights_computed_anew_are_made_plain(norm):
    torch.manual_seed(0)
    model = nn.Sequential(norm(conv(3, 16, 3)), nn.ReLU(), conv(16, 2)).eval()
    x = signal()
    with pytest.raises(QuietmicError, match=r"layer '0' is computed anew at each use.*plain_weights"):
        find_groups(model, x)
    expected = model(x)
    assert torch.allclose(plain_weights(model)(x), expected, atol=1e-6)
    for _ in range(2):  # and the network itself is as it was
        result = compress(model, x, square, None, recipe(Budget("units", 0.5)))
    assert result.model[0].out_channels == 8
    assert torch.equal(model(x), expected)


def nan_weights(model):
    model[2].weight.data[0, 0] = float("nan")


WRONG = {
    "all frozen": (lambda m: m.requires_grad_(False), {}, "all parameters are frozen"),
    "no scalar": (None, {"loss": lambda m, b: m(b).square().mean(0)}, r"must be a tensor of one number.*\[2, 20\]"),
    "no tensor": (None, {"loss": lambda m, b: 3.0}, r"must be a tensor of one number.*float"),
    "weights": (nan_weights, {}, r"weights of layer '2' \(2\.weight\) are not finite"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("criterion", ["l1", "apoz", "influence-static"])
def test_what_is_wrong_is_said(name, criterion):
    change, given, message = WRONG[name]
    model = nn.Sequential(conv(3, 16), nn.ReLU(), conv(16, 2))
    if change:
        change(model)
    x = signal()
    with pytest.raises(QuietmicError, match=message):
        compress(model, x, given.get("loss", square), [x], recipe(Budget("units", 0.5), criterion, steps=1))


class Extra(nn.Linear):
    """A layer with a version and extra state."""

    _version = 3

    def get_extra_state(self):
        return {"seen": 4}

    def set_extra_state(self, state):
        self.seen = state["seen"]

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        assert metadata.get("version") == 3
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_versions_and_extra_states_survive(tmp_path):
    """Weights travelled as bare tensors: layers that ask for their version took them for those of an older one."""
    model, x = nn.Sequential(Extra(4, 12), nn.ReLU(), Extra(12, 2)), torch.randn(3, 4)
    for _ in range(2):  # the second time from the folder
        result = compress(copy.deepcopy(model), x, square, [x], recipe(Budget("units", 0.5), steps=1), folder=tmp_path)
    assert result.model[0].out_features == 6


def test_groups_and_structures_print_themselves():
    model = nn.Sequential(conv(3, 16), nn.ReLU(), conv(16, 2))
    structure = find_groups(model, signal())
    assert str(structure).splitlines() == [
        "0: 16 units, read by 2",
        "the outputs of layer '2' are outputs of the network or fixed by its inputs",
    ]
    with pytest.raises(QuietmicError, match="no group 'x'; groups: 0"):
        structure.group("x")


def test_small_budgets_are_written_out():
    assert str(Budget("params", 1500)) == "1,500 parameters"
    assert str(Budget("params", 812_345, Budget("macs", 250))) == "0.812M parameters and 250 MACs per second"
