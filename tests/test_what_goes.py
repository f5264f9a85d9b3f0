"""What must go, criterion by criterion: a network with a dead unit, twins, a loud unit that nobody hears, a quiet one
that matters. Each criterion has its own view of these, and each view is stated here."""

import pytest
import torch
from torch import nn

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.calibration import activation_statistics
from quietmic.compression.criteria.context import Context
from quietmic.compression.criteria.table import CRITERIA
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.task import Task

TWIN, DEAD, OTHER_TWIN, LOUD, QUIET, PLAIN = range(6)
# Criterion -> units of which `n` go, those that must be among them, those that must not.
GOES: dict[str, tuple[int, set[int], set[int]]] = {
    "influence": (2, {DEAD, LOUD}, {QUIET}),
    "influence-static": (2, {DEAD, LOUD}, {QUIET}),
    "taylor": (2, {DEAD, LOUD}, {QUIET}),
    "curl": (2, {DEAD, LOUD}, {QUIET}),
    "thinet": (2, {DEAD, LOUD}, {QUIET}),
    "channel-lasso": (2, {DEAD, LOUD}, {QUIET}),
    "autopruner": (1, {DEAD}, {LOUD}),
    "l1": (1, {QUIET}, {DEAD, LOUD}),
    "sparsity": (1, {QUIET}, {DEAD, LOUD}),
    "fpgm": (1, set(), {DEAD, LOUD, QUIET, PLAIN}),  # one of the twins
    "apoz": (1, {DEAD}, {LOUD}),
    "activation-mean": (2, {DEAD, QUIET}, {LOUD}),
    "activation-std": (2, {DEAD, QUIET}, {LOUD}),
    "activation-l1": (2, {DEAD, QUIET}, {LOUD}),
    "activation-l2": (2, {DEAD, QUIET}, {LOUD}),
    "activation-var-l2": (2, {DEAD, QUIET}, {LOUD}),
}


def network():
    """Six units of eight positive inputs, three outputs."""
    made = torch.zeros(6, 8)
    made[TWIN, :4] = made[OTHER_TWIN, :4] = 0.5
    made[DEAD], made[LOUD], made[QUIET] = -1.0, 2.0, 0.02
    made[PLAIN] = torch.tensor([0.4, 0.3, -0.2, 0.5, 0.4, 0.6, -0.1, 0.3])
    read = torch.tensor(
        [[1.0, -1.0, 0.5], [1.0, 1.0, 1.0], [0.8, 0.9, -0.7], [1e-3, 1e-3, -1e-3], [10.0, -12.0, 8.0], [0.6, 0.5, -0.8]]
    )
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.copy_(made)
        model[0].bias.zero_()
        model[2].weight.copy_(read.T)
    return model


def context(model, n_kept, **settings):
    generator = torch.Generator().manual_seed(0)
    data = []
    for _ in range(6):
        x = torch.rand(32, 8, generator=generator) + 0.1
        with torch.no_grad():
            data.append((x, model.eval()(x) + 0.3 * torch.randn(32, 3, generator=generator)))
    task = Task(lambda m, b: (m(b[0]) - b[1]).square().mean(), data, predict=lambda m, b: m(b[0]))
    structure = find_groups(model, data[0][0])
    costs = CostModel(model, structure, data[0][0])
    budget = Budget("units", n_kept / structure.groups[0].n_units)
    return Context(model, structure, task, costs, budget, **{"steps": 30, "lr": 1e-4, "floor": 0.0, **settings})


@pytest.mark.parametrize("name", GOES)
def test_what_must_go(name):
    torch.manual_seed(0)
    n, gone, stays = GOES[name]
    kept = CRITERIA[name].decide(context(network(), 6 - n)).kept["0"]
    went = set((~kept).nonzero().flatten().tolist())
    assert len(went) == n
    assert gone <= went
    assert not stays & went


@pytest.mark.parametrize("name", ["influence-static", "taylor"])
def test_influences_of_changing_sign_do_not_cancel(name):
    """Unit 0 pushes the loss up on one batch and down on the next, unit 1 half as far up on both: unit 1 goes."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[1].weight.fill_(1.0)
    data = [torch.tensor([[sign, 0.5]]) for sign in (1.0, -1.0)]
    task = Task(lambda m, x: m(x).mean(), data, n_calibration=2)
    structure = find_groups(model, data[0])
    costs = CostModel(model, structure, data[0])
    kept = CRITERIA[name].decide(Context(model, structure, task, costs, Budget("units", 0.5), floor=0.0)).kept["0"]
    assert kept.tolist() == [True, False]


def test_curl_takes_a_unit_away_whole():
    """Half of unit 0 costs as much as all of it, behind a threshold; unit 1 costs more, but half of it less."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 2), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [0.5]]))
        model[1].weight.copy_(torch.eye(2))
        model[1].bias.copy_(torch.tensor([-0.6, 0.0]))
    x = torch.ones(1, 1)
    task = Task(lambda m, b: m(b).mean(), [x], predict=lambda m, b: m(b))
    structure = find_groups(model, x)
    found = Context(model, structure, task, CostModel(model, structure, x), Budget("units", 0.5), floor=0.0)
    assert CRITERIA["curl"].decide(found).kept["0"].tolist() == [False, True]


def test_activations_have_a_size_whatever_their_sign():
    """Without a rectifier: unit 0 swings about zero, unit 1 stays small."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    x = torch.tensor([[3.0, 0.1], [-3.0, 0.1]])
    task = Task(lambda m, b: m(b).mean(), [x])
    found = activation_statistics(model, find_groups(model, x), task)
    assert found["mean"]["0"].tolist() == pytest.approx([0.0, 0.1], abs=1e-6)
    assert found["l1"]["0"].tolist() == pytest.approx([3.0, 0.1])
    assert found["l2"]["0"].tolist() == pytest.approx([3.0, 0.1])


@pytest.mark.parametrize("name", ["thinet", "channel-lasso"])
def test_the_rest_is_rescaled_to_make_up_for_a_twin(name):
    """Twins that the next layer reads alike: one goes, and the other is read twice as much."""
    model = network()
    with torch.no_grad():
        model[2].weight[:, OTHER_TWIN] = model[2].weight[:, TWIN]
    decision = CRITERIA[name].decide(context(model, 3))
    kept, gates = decision.kept["0"], decision.gates["0"]
    assert not kept[DEAD]
    assert not kept[LOUD]
    if kept[TWIN] != kept[OTHER_TWIN]:
        assert gates[TWIN if kept[TWIN] else OTHER_TWIN].item() == pytest.approx(2.0, abs=0.05)
    else:
        assert name == "channel-lasso"  # it shares the weight between twins


def test_a_unit_that_the_budget_brings_back_starts_at_half():
    """Two steps shut more gates than the budget asks; the best of those stay all the same, and are read."""
    torch.manual_seed(0)
    decision = CRITERIA["influence"].decide(context(network(), 4, steps=2))
    kept, gates = decision.kept["0"], decision.gates["0"]
    assert (gates[kept] == 0.5).any()
    assert (gates[kept] >= 0.5).all()
    assert not gates[~kept].any()


@pytest.mark.parametrize(("name", "goes"), [("gamma", 1), ("slimming-sparsity", 3)])
def test_scales_of_norms(name, goes):
    """Unit 1 has the smallest scale; unit 3 a small one, and weights of which most lie below the mean."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.fill_(0.5)
        model[0].weight[3] = torch.tensor([1.0, 1.0, 0, 0, 0, 0, 0, 0])
        model[1].weight.copy_(torch.tensor([1.0, 0.2, 0.9, 0.5, 1.1, 1.0]))
    kept = CRITERIA[name].decide(context(model, 5, steps=1)).kept["0"]
    assert (~kept).nonzero().flatten().tolist() == [goes]


def test_norms_behind_filters_count_as_their_weights():
    """Sums of bare weights took unit 0, which its norm makes loud, and left unit 4, which its norm makes quiet."""
    torch.manual_seed(0)
    layers = (nn.Conv1d(8, 6, 1), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3))
    model = nn.Sequential(nn.Unflatten(1, (8, 1)), *layers)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.3, 0.5, 0.6, 0.7, 0.8, 0.4])[:, None, None].expand(6, 8, 1))
        model[2].weight.copy_(torch.tensor([3.0, 1.0, 1.0, 1.0, 0.2, 1.0]))
    kept = CRITERIA["l1"].decide(context(model, 5)).kept["1"]
    assert (~kept).nonzero().flatten().tolist() == [4]


def test_controls():
    """random: another draw with another seed, the same with the same. scratch: the widths of l1 and fresh weights.
    unstructured: single weights, the smallest of each matrix."""
    draws = [CRITERIA["random"].decide(context(network(), 3, seed=seed)).kept["0"] for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(draws[0], draws[1])
    assert any(not torch.equal(draws[0], other) for other in draws[2:])
    scratch = CRITERIA["scratch"].decide(context(network(), 3))
    assert scratch.fresh
    assert torch.equal(scratch.kept["0"], CRITERIA["l1"].decide(context(network(), 3)).kept["0"])
    model = network()
    masks = CRITERIA["unstructured"].decide(context(model, 3)).masks
    assert not masks["0.weight"][QUIET].any()
    assert masks["0.weight"][LOUD].all()
    assert not masks["2.weight"][:, LOUD].any()
    assert masks["2.weight"][:, QUIET].all()
