"""Every criterion through the one interface, and what single ones promise."""

import re

import pytest
import torch
import torch.nn.functional as F
from nets.lm import LanguageModel
from torch import nn

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.allocate import best
from quietmic.compression.criteria.context import Context
from quietmic.compression.criteria.data_scores import influence_static
from quietmic.compression.criteria.gates import GateLearner, GateSchedule, next_beta, penalty_weight, pull_each
from quietmic.compression.criteria.reconstruct import gram_matrices, greedy_order, lasso_path, least_squares
from quietmic.compression.criteria.table import CRITERIA, find_criterion
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.rnn import split_layers
from quietmic.compression.structure.surgery import cut
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError


class Conv(nn.Module):
    """Two convolutions, one with a norm, a residual sum and a linear layer."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv1d(2, 10, 3, padding=1), nn.BatchNorm1d(10), nn.Conv1d(10, 10, 3, padding=1)
        self.out = nn.Linear(10, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.a(x)))
        return self.out((x + torch.tanh(self.b(x))).mean(2))


def conv_case():
    torch.manual_seed(0)
    data = [(torch.randn(8, 2, 12), torch.randint(0, 3, (8,))) for _ in range(4)]
    task = Task(
        lambda m, b: F.cross_entropy(m(b[0]), b[1]), data, predict=lambda m, b: m(b[0]), distance="kl", n_calibration=2
    )
    return Conv(), task, (data[0][0][:1],)


def lstm_case():
    torch.manual_seed(0)
    data = [torch.randint(0, 9, (4, 7)) for _ in range(4)]
    task = Task(
        lambda m, x: F.cross_entropy(m(x[:, :-1])[0].flatten(0, 1), x[:, 1:].flatten()), data,
        predict=lambda m, x: m(x)[0], distance="kl", n_calibration=2,
    )  # fmt: skip
    return split_layers(LanguageModel(9, 8, 10)), task, (data[0][:1, :-1],)


CASES = {"conv": conv_case, "lstm": lstm_case}


def context(case, **settings):
    model, task, inputs = CASES[case]()
    structure = find_groups(model, inputs)
    costs = CostModel(model, structure, inputs)
    budget = Budget("params", 0.6 * costs.count.parameters)
    return Context(model, structure, task, costs, budget, **({"steps": 4} | settings))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_decides_within_the_budget(name, case):
    given = context(case)
    decision = CRITERIA[name].decide(given)
    smaller = cut(given.model, given.structure, decision.kept, decision.gates)
    parameters = sum(p.numel() for p in smaller.parameters())
    if decision.masks:
        parameters = sum(p.numel() for p in given.model.parameters()) - sum(
            int((m == 0).sum()) for m in decision.masks.values()
        )
    assert 0.85 * given.budget.value <= parameters <= given.budget.value
    assert torch.isfinite(given.task.loss(smaller, given.task.calibration()[0]))


def test_criteria_that_need_data_say_so():
    given = context("conv")
    given.task = Task(given.task.loss, None)
    with pytest.raises(QuietmicError, match="needs data"):
        CRITERIA["taylor"].decide(given)
    with pytest.raises(QuietmicError, match=r"unknown criterion 'magic'; one of influence, .*curl"):
        find_criterion("magic")


def test_lambda_is_that_of_the_seed():
    assert penalty_weight(0.75, 0.5) == pytest.approx(5 * 0.25)
    assert penalty_weight(0.75, 0.8) == 0
    gates = {"a": torch.tensor([0.5, 0.5, 0.01, 0.9]), "b": torch.ones(2)}  # one of four is off: k = 0.75
    penalty = pull_each({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 2.0})(gates)
    assert penalty.item() == pytest.approx(5 * 0.25 * (1.91 / 4 - 0.5) ** 2 + 2 * 5 * 0.5 * 0.5**2)


def test_beta_grows_as_asked_and_follows_the_gates_when_adaptive():
    plain, adaptive = GateSchedule(50, 1e-3, 0.1), GateSchedule(50, 1e-3, 0.1, adaptive=True)
    beta = plain.beta
    for step in range(50):
        beta = next_beta(beta, plain, step / 50, [])
    assert beta == pytest.approx(1.0)
    binary, soft = [torch.tensor([0.0, 1.0])], [torch.tensor([0.5, 0.5])]
    assert next_beta(0.1, adaptive, 0.5, binary) == 0.1
    assert next_beta(0.1, adaptive, 0.5, soft) == pytest.approx(0.1 * 10 ** (2 / 50))


def test_a_learner_starts_with_the_order_of_the_influences():
    features = torch.rand(30, 3).sort(0).values
    for n_units in (30, 600):
        learner = GateLearner(n_units, 3)
        rows = features.repeat(n_units // 30, 1)
        assert learner.connected == (n_units == 30)
        assert torch.equal(learner(rows)[:30].argsort(), torch.arange(30))


def test_gram_matrix_is_that_of_the_next_layer():
    """Energy of a linear layer's output, without bias, from its Gram matrix and from the output itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4))
    x = torch.randn(50, 3)
    task = Task(lambda m, b: m(b).sum(), [x], n_calibration=1)
    structure = find_groups(model, (x[:1],))
    given = Context(model, structure, task, CostModel(model, structure, (x,)), Budget("params", 1))
    gram = gram_matrices(given)["0"]
    y = model(x) - model[2].bias
    assert gram.sum().item() == pytest.approx(y.square().sum().item(), rel=1e-5)


def test_gram_matrix_of_a_convolution():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 5, 1), nn.Tanh(), nn.Conv1d(5, 4, 3, stride=2, dilation=2))
    x = torch.randn(3, 2, 20)
    task = Task(lambda m, b: m(b).sum(), [x], n_calibration=1)
    structure = find_groups(model, (x[:1],))
    given = Context(model, structure, task, CostModel(model, structure, (x,)), Budget("params", 1))
    y = model(x) - model[2].bias[:, None]
    assert gram_matrices(given)["0"].sum().item() == pytest.approx(y.square().sum().item(), rel=1e-5)


@pytest.mark.parametrize("name", ["thinet", "channel-lasso"])
def test_widths_come_from_influence_where_they_are_free(name):
    given = context("conv")
    with torch.no_grad():  # what the second convolution makes matters least
        given.model.out.weight[:] *= 3
        given.model.b.weight *= 0.01
    widths = given.allocate(influence_static(given)[0])
    kept = CRITERIA[name].decide(given).kept
    assert {g: int(mask.sum()) for g, mask in kept.items()} == {g: int(mask.sum()) for g, mask in widths.items()}
    if name == "thinet":
        orders = {g: greedy_order(gram) for g, gram in gram_matrices(given).items()}
        assert all(torch.equal(mask, best(orders[g], int(mask.sum()))) for g, mask in kept.items())


def test_greedy_and_lasso_find_the_redundant_channel():
    """Of six channels one repeats another and one is nearly silent: both can go, the weights make up for it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator).double()
    x[:, 4] = x[:, 1]
    x[:, 5] *= 0.01
    gram = x.T @ x
    assert not best(lasso_path(gram), 4)[5]  # the lasso shares the weight between twins
    kept = best(greedy_order(gram), 4)
    assert not kept[5]
    assert int(kept[1]) + int(kept[4]) == 1
    rest = x.sum(1) - x[:, kept] @ least_squares(gram, kept)
    assert rest.norm() < 0.02 * x.sum(1).norm()


@pytest.mark.parametrize("kind", ["params", "macs", "rtf", "units"])
def test_gates_decide_about_the_widths_pulled_by_the_cost_of_all(kind):
    """Of the 24 units of the first group the next layer hears six, of the second all: the first becomes narrower, and
    the trained gates come to the budget of themselves. Without lambda none would shut, and half were turned over."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 3))
    with torch.no_grad():
        model[2].weight *= torch.where(torch.arange(24) < 6, 2.0, 0.05)
        model[4].weight *= 2.0
        data = [(x, model(x)) for x in torch.randn(6, 32, 6)]
    task = Task(lambda m, b: 10 * (m(b[0]) - b[1]).square().mean(), data, n_calibration=6)
    structure = find_groups(model, data[0][0])
    costs = CostModel(model, structure, data[0][0], rtf=lambda layers, seconds: sum(la.macs for la in layers) / 1e6)
    budget = Budget(kind, 0.5 * costs.cost(kind, costs.everything()))
    settings = {"ratios": "learned", "steps": 60, "lr": 1e-4}
    decision = CRITERIA["influence"].decide(Context(model, structure, task, costs, budget, **settings))
    assert 0.95 <= costs.spent(budget, decision.kept) <= 1
    assert int(decision.kept["0"].sum()) <= int(decision.kept["2"].sum()) - 6
    turned = re.search(r"the budget turned ([\d.]+)% of them over", decision.notes[0])
    assert turned
    assert float(turned[1]) < 15


def test_what_half_open_gates_cost():
    """Two layers between which half of the units is open by half: what they make and what reads them counts so."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3, bias=False))
    costs = CostModel(model, find_groups(model, torch.zeros(1, 4)), torch.zeros(1, 4))
    gates = {"0": torch.tensor([1.0] * 4 + [0.5] * 4, requires_grad=True)}
    spent = costs.open_spent(Budget("params", 64.0), gates)
    assert spent.item() == pytest.approx(6 * (5 + 3) / 64)
    spent.backward()
    assert gates["0"].grad.tolist() == pytest.approx([8 / 64] * 8)
