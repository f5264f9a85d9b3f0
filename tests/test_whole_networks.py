"""Networks as people hand them over: what they return, what they keep between calls, and what cannot be read."""

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from nets.odd import Chain, conv, signal
from test_any_network import recipe, square
from torch import nn

from quietmic.compression import Budget, Recipe, compress, plain_weights
from quietmic.compression.cost import CostModel
from quietmic.compression.criteria.context import Context
from quietmic.compression.criteria.influence import batch_influences
from quietmic.compression.criteria.reconstruct import gram_matrices
from quietmic.compression.recipe import FineTune, Prune
from quietmic.compression.structure.check import checked_cut, fit_groups
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.surgery import gated
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.count import count

HALF = Budget("units", 0.5)


@dataclass
class Heads:
    """What a network may return."""

    scores: torch.Tensor
    features: torch.Tensor


def with_features(make):
    def forward(net, x):
        features = torch.relu(net.b(torch.relu(net.a(x))))
        return make(scores=net.out(features), features=features)

    return Chain(forward, a=conv(3, 12), b=conv(12, 8), out=conv(8, 2))


@pytest.mark.parametrize("make", [Heads, SimpleNamespace, dict])
def test_what_stands_in_an_object_is_an_output(make):
    """Features in a data class were cut, without a comparison of the networks."""

    def read(result, name):
        return result[name] if make is dict else getattr(result, name)

    model, x = with_features(make), signal()
    result = compress(model, x, lambda net, batch: read(net(batch), "scores").square().mean(), [x], recipe(HALF))
    assert list(result.kept[0]) == ["a"]
    assert read(result.model(x), "features").shape == (3, 8, 20)


def test_what_cannot_be_compared_is_refused():
    class Hidden:
        __slots__ = ("value",)

    def forward(net, x):
        result = Hidden()
        result.value = net.out(torch.relu(net.a(x)))
        return result

    model = Chain(forward, a=conv(3, 12), out=conv(12, 2))
    with pytest.raises(QuietmicError, match=r"what the network returns \(Hidden\) has no tensor"):
        compress(model, signal(), lambda net, x: net(x).value.square().mean(), [signal()], recipe(HALF))


def test_codes_alone_are_compared():
    """Of whole numbers nothing was compared: an arithmetic with a width passed."""

    def forward(net, x):
        h = torch.relu(net.a(x))
        return (10 * net.out(h * h.shape[1])).long()

    model, x = Chain(forward, a=conv(3, 12), out=conv(12, 2)), signal()
    structure = fit_groups(model, find_groups(model, x), x)
    assert structure.groups == ()
    assert "gated differ by" in " ".join(structure.left_alone)


class Streaming(nn.Module):
    """Keeps the last samples in a buffer or an attribute, and what it saw in another."""

    def __init__(self, in_buffer):
        super().__init__()
        self.a, self.b, self.out = conv(3, 12), nn.Conv1d(12, 10, 3), conv(10, 2)
        self.last = self.seen = None
        if in_buffer:
            del self.last
            self.register_buffer("last", torch.zeros(1, 12, 2))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        h = torch.relu(self.a(x))
        last = h.new_zeros(len(h), h.shape[1], 2) if self.last is None else self.last
        h = torch.cat([last, h], -1)
        self.last, self.seen = h[..., -2:].detach(), h
        self.calls += 1
        return self.out(torch.relu(self.b(h)))


@pytest.mark.parametrize("in_buffer", [True, False])
def test_what_a_network_keeps_between_calls_is_as_it_was(in_buffer):
    """The compressed network began with the end of the example, and a frozen graph hung at it."""
    torch.manual_seed(0)
    model, x = Streaming(in_buffer), torch.randn(1, 3, 20)
    count(model, x)
    find_groups(model, x)
    trained = Recipe(prune=Prune("units", "influence", steps=2), finetune=FineTune(steps=2), budget=HALF)
    smaller = compress(model, x, square, [x], recipe(HALF) if in_buffer else trained).model
    for network in (model, copy.deepcopy(smaller)):
        assert network.seen is None
        assert network.last is None or not network.last.any()
    assert model.calls == 0
    assert smaller.calls == (0 if in_buffer else 4)  # gates and fine-tuning count


def test_a_network_just_trained_is_copied():
    """Tensors of its last forward, in its attributes, have a history, with which nothing can be copied."""
    model, x = Streaming(False), torch.randn(1, 3, 20)
    loss = model(x).square().mean()
    assert compress(model, x, square, [x], recipe(HALF)).model.out.in_channels == 5
    loss.backward()
    assert model.out.weight.grad.any()


def scripted():
    return nn.Sequential(nn.Linear(4, 8), torch.jit.script(nn.Sequential(nn.Linear(8, 2))))


def test_a_cut_network_trains_as_it_did():
    """A forward that couples layers in training alone (a mean of weights) failed at the first batch after the cut."""

    def forward(net, x):
        if net.training:
            with torch.no_grad():
                net.slow.weight.lerp_(net.a.weight, 0.1)
        return net.out(torch.relu(net.a(x))) - net.out2(torch.relu(net.slow(x))) + net.d(torch.relu(net.c(x)))

    layers = {name: conv(3, 12) for name in ("a", "slow", "c")} | {name: conv(12, 2) for name in ("out", "out2", "d")}
    model, x = Chain(forward, **layers), signal()
    before = copy.deepcopy(model.state_dict())
    structure = fit_groups(model, find_groups(model, x), x)
    kept = {name: torch.arange(12) < n for name, n in (("a", 6), ("slow", 7), ("c", 5))}
    done = checked_cut(model, structure, kept, x)
    assert list(done.kept) == ["c"]
    assert done.undone["a"].startswith("in training the network does not run without its units (")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


UNREADABLE = {
    "scripted": (scripted, "layer '1' is compiled"),
    "compiled": (lambda: torch.compile(nn.Linear(4, 2)), "the network is compiled"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 2)), "layer '0' has no weights yet: run the network"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused(name):
    build, message = UNREADABLE[name]
    x = torch.randn(3, 4)
    for call in (plain_weights, lambda model: find_groups(model, x)):
        with pytest.raises(QuietmicError, match=message):
            call(build())


def test_criteria_of_complex_weights():
    """They had no influence, so that the units that they read went first; ThiNet saw their real parts."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6, dtype=torch.cfloat), nn.Linear(6, 3, dtype=torch.cfloat))
    x = torch.randn(40, 5, dtype=torch.cfloat)
    task, structure = (
        Task(lambda net, batch: net(batch).abs().square().mean(), [x], n_calibration=1),
        find_groups(model, x),
    )
    influences = batch_influences(model, structure, task)["0"][0]
    for unit in range(6):
        losses = []
        for factor in (1.001, 0.999):
            gate = torch.ones(6)
            gate[unit] = factor
            with torch.no_grad(), gated(model, structure, {"0": gate}):
                losses.append(float(task.scalar(model, x)))
        assert influences[unit] == pytest.approx((losses[0] - losses[1]) / 0.002, rel=0.02, abs=1e-3)
    context = Context(model, structure, task, CostModel(model, structure, x), Budget("params", 1))
    energy = (model(x) - model[1].bias).abs().square().sum().item()
    assert float(gram_matrices(context)["0"].sum()) == pytest.approx(energy, rel=1e-4)
