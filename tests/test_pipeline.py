"""Recipes from end to end on small networks."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_criteria import conv_case, lstm_case

from compression import Budget, Recipe, compress
from compression.finetune import distilled
from compression.recipe import FineTune, LowRank, Prune, from_dict, read_recipe, to_toml
from compression.task import Task
from enhance.errors import UserError


def run(case, recipe, **settings):
    model, task, inputs = case()
    return model, compress(model, inputs, task.loss, task.data, recipe, predict=task.predict, distance="kl", **settings)


def small(budget=None, **settings):
    tables = {"prune": Prune(steps=4), "finetune": FineTune(steps=4), "n_calibration": 2, "budget": budget}
    return Recipe(**(tables | settings))


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("case", [conv_case, lstm_case])
@pytest.mark.parametrize("schedule", ["once", "gradual", "soft"])
def test_schedules_reach_the_budget(case, schedule):
    prune = Prune(criterion="l1", schedule=schedule, stages=2, steps=2)
    model, result = run(case, small(Budget("params", 0.6 * parameters(case()[0])), prune=prune))
    assert 0.5 < parameters(result.model) / parameters(model) <= 0.6
    assert result.steps[-1].parameters == parameters(result.model)
    assert all(math.isfinite(step.loss) for step in result.steps)
    assert result.ratios()["parameters"] == parameters(result.model) / parameters(model)


def test_pruning_and_low_rank_share_a_budget():
    budget = Budget("params", 0.5 * parameters(lstm_case()[0]))
    _, result = run(lstm_case, small(budget, lowrank=LowRank(by="budget", share=0.1)))
    names = [step.name for step in result.steps]
    assert names == ["parent", "cut", "fine-tuned", "factored", "fine-tuned factored"]
    assert result.steps[1].parameters <= budget.value / 0.9
    assert parameters(result.model) <= budget.value
    assert result.factored


def test_the_seeds_lstm_recipe():
    recipe = small(prune=Prune(method="lstm-masks", steps=4, keep=0.3), lowrank=LowRank("thresh", 0.3, gates=True))
    model, result = run(lstm_case, recipe)
    assert [step.name for step in result.steps] == ["parent", "pruned", "factored", "fine-tuned factored"]
    assert result.steps[1].parameters == parameters(model)
    assert "zero" in result.steps[1].notes[0]
    assert parameters(result.model) < parameters(model)


def test_resumed_run_equals_one_that_was_not_interrupted(tmp_path):
    recipe = small(Budget("params", 500), prune=Prune(steps=4))
    _, whole = run(conv_case, recipe)
    _, first = run(conv_case, recipe, folder=tmp_path)
    (tmp_path / "fine-tune.pt").unlink()
    _, second = run(conv_case, recipe, folder=tmp_path)
    for a, b in zip(first.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert [s.parameters for s in second.steps] == [s.parameters for s in first.steps]
    with pytest.raises(UserError, match="another recipe"):
        run(conv_case, small(Budget("params", 400)), folder=tmp_path)


def test_single_weights_stay_zero_through_fine_tuning():
    model, result = run(conv_case, small(Budget("params", 300), prune=Prune(criterion="unstructured")))
    assert parameters(result.model) == parameters(model)
    assert sum(int((p == 0).sum()) for p in result.model.parameters()) >= parameters(model) - 300
    assert result.steps[-1].parameters <= 300
    assert all((p != 0).any() for p in result.model.parameters())  # no layer is emptied


def test_blocks_go_first():
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x, state):
            return x + self.b(torch.relu(self.a(x))), state + 1

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.blocks, self.out = (
                nn.Linear(3, 6),
                nn.ModuleList(Block() for _ in range(3)),
                nn.Linear(6, 2),
            )

        def forward(self, x):
            x, state = self.first(x), torch.zeros(())
            for block in self.blocks:
                x, state = block(x, state)
            return self.out(x)

    torch.manual_seed(0)
    model = Net()
    torch.nn.init.zeros_(model.blocks[1].b.weight)
    torch.nn.init.zeros_(model.blocks[1].b.bias)
    x = torch.randn(20, 3)
    data = [(x, model(x).detach() + 0.01)]
    recipe = small(prune=Prune(method="none", blocks=1), finetune=FineTune(steps=0), n_calibration=1)
    result = compress(model, (x[:1],), lambda m, b: F.mse_loss(m(b[0]), b[1]), data, recipe)
    assert result.steps[1].notes == ("blocks.1",)
    assert result.steps[1].loss == pytest.approx(result.steps[0].loss, rel=1e-6)
    assert parameters(result.model) == parameters(model) - parameters(model.blocks[0])


def test_distillation_pulls_towards_the_parent():
    model, task, _ = conv_case()
    batch = task.calibration()[0]
    soft = distilled(task, model, 1.0)
    assert soft.loss(model.eval(), batch).item() == pytest.approx(0, abs=1e-7)
    with pytest.raises(UserError, match="predict"):
        distilled(Task(task.loss, task.data), model, 0.5).loss(model, batch)


def test_recipes_survive_toml(tmp_path):
    budget = Budget("macs", 5e7, Budget("params", 1e6))
    recipe = small(budget, prune=Prune(ratios={"encoder.*": 0.5}), lowrank=LowRank("thresh", 0.05))
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(recipe))
    assert read_recipe(path) == recipe
    assert from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune = { criterion = 'best' }", "unknown criterion 'best'"),
        ("[prune]\nspeed = 3", r"unknown entry 'prune\.speed'"),
        ("quantize = 'int4'", "one of none, dynamic, static"),
        ("[prune]\nschedule = 'soft'", "soft schedule needs a criterion of scores"),
        ("[budget]\nkind = 'joules'\nvalue = 3", "unknown budget 'joules'"),
        ("= 3", "not TOML"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_recipe(path)


def test_a_recipe_without_budget_says_so():
    with pytest.raises(UserError, match="needs a budget"):
        run(conv_case, small())
