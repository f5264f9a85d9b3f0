"""Costs at given widths, and the search for a budget."""

import pytest
import torch
from nets.lm import LanguageModel
from nets.mobilenet import MobileNetV3Large
from nets.resnet import resnet56
from torch import nn

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.allocate import allocate
from quietmic.compression.factor.lowrank import factor
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.rnn import split_layers
from quietmic.compression.structure.surgery import cut
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.count import count

IMAGE = torch.zeros(1, 3, 32, 32)
SYMBOLS = torch.zeros(1, 5, dtype=torch.long)


def prepared(model, x):
    structure = find_groups(model, (x,))
    generator = torch.Generator().manual_seed(0)
    scores = {group.name: torch.rand(group.n_units, generator=generator) for group in structure.groups}
    return model, structure, scores, CostModel(model, structure, (x,), seconds=0.5)


NETS = {
    "resnet": lambda: prepared(resnet56(), IMAGE),
    "mobilenet": lambda: prepared(MobileNetV3Large(), IMAGE),
    "lstm": lambda: prepared(split_layers(LanguageModel()), SYMBOLS),
}


@pytest.mark.parametrize("ratios", ["uniform", "auto", "global"])
@pytest.mark.parametrize(("name", "kind"), [("resnet", "macs"), ("mobilenet", "params"), ("lstm", "macs")])
def test_budget_is_met_within_two_percent_and_predicted_exactly(name, kind, ratios):
    model, structure, scores, costs = NETS[name]()
    everything = {group: torch.ones(len(score), dtype=torch.bool) for group, score in scores.items()}
    budget = Budget(kind, 0.4 * costs.cost(kind, everything))
    kept = allocate(scores, costs, budget, ratios)
    spent = costs.cost(kind, kept)
    assert 0.98 * budget.value <= spent <= budget.value
    figures = count(cut(model, structure, kept), (IMAGE if name != "lstm" else SYMBOLS,))
    assert spent == (figures.parameters if kind == "params" else figures.macs / 0.5)


def test_of_equal_scores_the_cheap_units_stay():
    """A unit of the first group costs 25 parameters, one of the second 221."""
    model = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 200))
    x = torch.zeros(1, 4)
    structure = find_groups(model, x)
    scores = {group.name: torch.arange(20.0) + 1 for group in structure.groups}
    costs = CostModel(model, structure, x)
    kept = allocate(scores, costs, Budget("params", 0.5 * costs.count.parameters), "auto")
    assert int(kept["0"].sum()) > int(kept["2"].sum())


def test_a_real_time_factor_from_a_cost_model():
    model, structure, scores, _ = NETS["lstm"]()
    costs = CostModel(
        model, structure, (SYMBOLS,), rtf=lambda layers, seconds: sum(la.macs for la in layers) / 1e7 / seconds
    )
    kept = allocate(scores, costs, Budget("rtf", 0.05), "auto")
    assert 0.049 <= costs.cost("rtf", kept) <= 0.05


def test_two_budgets_hold_at_once():
    _, _, scores, costs = NETS["mobilenet"]()
    everything = costs.everything()
    budget = Budget(
        "params", 0.5 * costs.cost("params", everything), Budget("macs", 0.3 * costs.cost("macs", everything))
    )
    kept = allocate(scores, costs, budget, "auto")
    spent = [costs.cost(part.kind, kept) / part.value for part in budget.parts()]
    assert max(spent) <= 1
    assert max(spent) >= 0.98


def test_ratios_by_hand():
    _, _, scores, costs = NETS["lstm"]()
    kept = allocate(scores, costs, Budget("params", 1), {"rnn.*": 0.25})
    assert {name: int(mask.sum()) for name, mask in kept.items()} == {
        "embedding": 64,
        "rnn.layers.0": 32,
        "rnn.layers.1": 32,
    }
    with pytest.raises(QuietmicError, match=r"no group matches 'cnn"):
        allocate(scores, costs, Budget("params", 1), {"cnn.*": 0.25})


def test_a_budget_out_of_reach_says_what_can_be_met():
    _, _, scores, costs = NETS["lstm"]()
    message = r"1,000 parameters cannot be met.*smallest network has 4,\d\d\d parameters"
    with pytest.raises(QuietmicError, match=message):
        allocate(scores, costs, Budget("params", 1000), "uniform")


def test_costs_of_a_written_out_lstm_and_of_shared_weights():
    model, ranks = split_layers(LanguageModel(n_hidden=64)), [16] * 8
    model, _ = factor(model, {"rnn.layers.0": ranks, "rnn.layers.1": ranks})
    model.decoder = torch.nn.Linear(64, 100, bias=False)
    model.decoder.weight = model.embedding.weight
    structure = find_groups(model, (SYMBOLS,))
    costs, figures = CostModel(model, structure, (SYMBOLS,)), count(model, (SYMBOLS,))
    assert costs.cost("macs", costs.everything()) == figures.macs
    assert costs.cost("params", costs.everything()) == figures.parameters
    kept = {group.name: torch.arange(group.n_units) < group.n_units // 2 for group in structure.groups}
    smaller = count(cut(model, structure, kept), (SYMBOLS,))
    assert (costs.cost("macs", kept), costs.cost("params", kept)) == (smaller.macs, smaller.parameters)
