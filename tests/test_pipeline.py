"""Recipes from end to end on small networks."""

import contextlib
import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_criteria import conv_case, lstm_case

from quietmic.compression import Budget, Recipe, compress
from quietmic.compression.finetune import distilled
from quietmic.compression.recipe import FineTune, LowRank, Prune, from_dict
from quietmic.compression.split import SHARES
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError


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


def test_the_split_between_cutting_and_low_rank_is_searched(tmp_path):
    """Each split is tried in a folder of its own; the one of the least loss is what the recipe then says."""
    budget = Budget("params", 0.5 * parameters(lstm_case()[0]))
    recipe = small(budget, lowrank=LowRank(by="budget", share="search"), prune=Prune(criterion="l1"))
    _, result = run(lstm_case, recipe, folder=tmp_path)
    share = result.recipe.lowrank.share
    assert share in SHARES
    assert parameters(result.model) <= budget.value
    losses = {}
    for tried in SHARES:
        if not (folder := tmp_path / f"share-{tried:g}").exists():
            continue
        told = json.loads((folder / "run.json").read_text())["recipe"]
        assert (told["lowrank"]["share"], told["finetune"]["steps"]) == (tried, 0)
        with contextlib.suppress(QuietmicError):  # too much for low rank
            losses[tried] = run(lstm_case, from_dict(told))[1].steps[-1].loss
    assert len(losses) > 2
    assert share == min(losses, key=losses.get)
    with pytest.raises(QuietmicError, match="cannot be met"):
        run(lstm_case, replace(recipe, budget=Budget("params", 5)))


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
    for result in (first, second):
        for a, b in zip(result.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert [s.parameters for s in second.steps] == [s.parameters for s in first.steps]
    with pytest.raises(QuietmicError, match="another recipe"):
        run(conv_case, small(Budget("params", 400)), folder=tmp_path)


def test_one_run_works_in_a_folder_at_a_time(tmp_path):
    """Two compressions in one folder read each other's steps; the second is refused, and what the first keeps stays."""
    recipe = small(Budget("params", 500))

    def begin_another(what, done, total, note=""):
        with pytest.raises(QuietmicError, match="another run is working"):
            run(conv_case, recipe, folder=tmp_path)
        asked.append(what)

    asked = []
    (tmp_path / "cut.pt.abc.part").write_bytes(b"half")
    _, first = run(conv_case, recipe, folder=tmp_path, progress=begin_another)
    assert asked
    assert not list(tmp_path.glob("*.part"))
    _, again = run(conv_case, recipe, folder=tmp_path)
    assert [s.parameters for s in again.steps] == [s.parameters for s in first.steps]
    (tmp_path / "run.json").write_text("")
    with pytest.raises(QuietmicError, match="is damaged"):
        run(conv_case, recipe, folder=tmp_path)


class Numbered:
    """Batches without end, each with its number in front."""

    def __init__(self, batches, first=0, identity="a"):
        self.batches, self.first, self.identity = batches, first, {"name": identity}

    def skip(self, n):
        return Numbered(self.batches, self.first + n)

    def __iter__(self):
        for i in itertools.count(self.first):
            yield i, *self.batches[i % len(self.batches)]


def numbers_heard(recipe, folder=None, identity="a"):
    """Numbers of the batches that a compression trains on."""
    model, task, inputs = conv_case()
    heard = []

    def loss(net, batch):
        if net.training:
            heard.append(batch[0])
        return task.loss(net, batch[1:])

    compress(model, inputs, loss, Numbered(task.data, identity=identity), recipe, folder=folder)
    return heard


@pytest.mark.parametrize(("criterion", "n"), [("influence", 3 + 4 + 2), ("gamma", 3 + 4 + 2), ("l1", 4 + 2)])
def test_no_phase_hears_what_one_before_it_heard(criterion, n, tmp_path):
    prune = Prune(criterion=criterion, steps=3)
    recipe = small(Budget("params", 300), prune=prune, lowrank=LowRank("thresh", 0.9))
    assert numbers_heard(recipe, tmp_path) == list(range(n))
    (tmp_path / "fine-tune.pt").unlink()
    assert numbers_heard(recipe, tmp_path) == list(range(n - 6, n - 2))  # resumed: the same batches again
    with pytest.raises(QuietmicError, match="recipe, parent or data"):
        numbers_heard(recipe, tmp_path, identity="b")


def test_phases_of_gradual_and_soft_schedules_go_on():
    for schedule in ("gradual", "soft"):
        prune = Prune(criterion="l1", schedule=schedule, stages=2)
        assert numbers_heard(small(Budget("params", 300), prune=prune)) == list(range(4))


def test_data_of_any_kind_go_on():
    assert list(itertools.islice(Task(None, [0, 1, 2], heard=4).batches(), 4)) == [1, 2, 0, 1]
    assert next(Task(None, itertools.count(), heard=4).batches()) == 4


def test_single_weights_stay_zero_through_fine_tuning():
    model, result = run(conv_case, small(Budget("params", 300), prune=Prune(criterion="unstructured")))
    assert parameters(result.model) == parameters(model)
    assert sum(int((p == 0).sum()) for p in result.model.parameters()) >= parameters(model) - 300
    assert result.steps[-1].parameters <= 300
    assert all((p != 0).any() for p in result.model.parameters())  # no layer is emptied


def test_single_weights_are_not_factored():
    recipe = small(Budget("params", 300), prune=Prune(criterion="unstructured"), lowrank=LowRank("budget", share=0.2))
    _, result = run(conv_case, recipe)
    assert result.steps[-1].name == "not factored"
    assert result.steps[-1].parameters == pytest.approx(300, abs=3)  # nothing was left to low rank


def test_masks_need_an_lstm():
    with pytest.raises(QuietmicError, match="no LSTM") as caught:
        run(conv_case, small(prune=Prune(method="lstm-masks")))
    assert caught.value.exit_code == 2


def test_low_rank_that_misses_the_budget_says_so():
    recipe = small(Budget("params", 50), prune=Prune(method="none"), lowrank=LowRank("budget"))
    with pytest.raises(QuietmicError, match=r"cannot be met by low rank: the least is \d\d parameters"):
        run(conv_case, recipe)
    with pytest.raises(QuietmicError, match="name a board"):
        run(conv_case, replace(recipe, budget=Budget("rtf", 0.1)))
    with pytest.raises(QuietmicError, match="needs one"):
        run(conv_case, replace(recipe, budget=None))


def test_scratch_starts_as_the_network_does():
    def build():
        model = conv_case()[0]
        torch.nn.init.constant_(model.out.bias, 0.7)
        return model

    recipe = small(Budget("params", 300), prune=Prune(criterion="scratch"), finetune=FineTune(steps=0))
    _, result = run(conv_case, recipe, build=build)
    assert result.model.out.bias.tolist() == pytest.approx([0.7] * 3)
    assert parameters(result.model) <= 300
    _, plain = run(conv_case, recipe)
    assert [p.shape for p in plain.model.parameters()] == [p.shape for p in result.model.parameters()]


@pytest.mark.parametrize(("schedule", "stages"), [("once", 1), ("gradual", 2), ("gradual", 3)])
def test_ratios_by_hand_need_no_budget_and_hold_over_all_stages(schedule, stages):
    prune = Prune(criterion="l1", ratios={"*": 0.5}, schedule=schedule, stages=stages)
    _, result = run(conv_case, small(prune=prune))
    assert [module.out_channels for module in (result.model.a, result.model.b)] == [5, 5]


def test_the_floor_is_that_of_the_parent():
    prune = Prune(criterion="l1", schedule="gradual", stages=2, floor=0.5)
    with pytest.raises(QuietmicError, match="lower the floor"):
        run(conv_case, small(Budget("params", 100), prune=prune))


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
    with pytest.raises(QuietmicError, match="predict"):
        distilled(Task(task.loss, task.data), model, 0.5).loss(model, batch)


def test_the_pull_of_a_teacher_keeps_its_size_at_any_temperature():
    """Softened scores differ by T as little, and KL by T^2: multiplied back, the loss of a small gap stays."""
    _, task, _ = conv_case()
    batch, bias = next(iter(task.data)), torch.tensor([0.02, 0.0, -0.02])
    teacher, pupil = (Scores(shift) for shift in (torch.zeros(3), bias))
    losses = [distilled(task, teacher, 1.0, t).loss(pupil, batch).item() for t in (2.0, 8.0)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


class Scores(torch.nn.Module):
    """Scores of three classes, the same for every input."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, x):
        return self.shift.expand(len(x), 3)
