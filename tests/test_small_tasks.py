"""Two real small tasks: digits and the text of the standard library. The long version runs with `pytest -m slow`."""

import json
import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nets.lm import LanguageModel
from tasks import (
    Shuffled,
    bits_per_character,
    digits_error,
    digits_task,
    library_text,
    text_task,
    trained_digits,
    trained_lm,
)

from quietmic.compression import Budget, Recipe, compress
from quietmic.compression.compare import for_criterion
from quietmic.compression.cost import CostModel
from quietmic.compression.criteria.allocate import Scores
from quietmic.compression.criteria.context import Context
from quietmic.compression.criteria.data_scores import influence_static
from quietmic.compression.criteria.weight_scores import l1
from quietmic.compression.finetune import finetune
from quietmic.compression.recipe import FineTune, LowRank, Prune
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.surgery import gated

TASKS: dict[str, tuple] = {
    "digits": (trained_digits, digits_task, digits_error, torch.zeros(1, 1, 8, 8), 2e-3),
    "text": (
        lambda seed: trained_lm(seed, 800),
        text_task,
        bits_per_character,
        torch.zeros(1, 4, dtype=torch.long),
        3e-3,
    ),
}


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def compressed(task: str, criterion: str, keep: float, seed: int, steps: int = 400, ratios: str = "uniform") -> float:
    """Score of the parent cut to a fraction of its parameters, the same fraction of every group unless `ratios` differ.

    All criteria see `steps` batches; of these, gates and sparse training take three in ten.
    """
    build, make_task, score, x, lr = TASKS[task]
    parent, given = build(seed), make_task(seed)
    recipe = Recipe(
        prune=Prune(criterion=criterion, steps=3 * steps // 10, ratios=ratios),
        finetune=FineTune(steps=steps - 3 * steps // 10, lr=lr),
        budget=Budget("params", keep * parameters(parent)),
    )
    result = compress(
        parent,
        (x,),
        given.loss,
        given.data,
        for_criterion(recipe, criterion, seed),
        predict=given.predict,
        distance="kl",
    )
    assert parameters(result.model) <= keep * parameters(parent)
    return score(result.model)


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Rank correlation."""
    ranks = torch.stack([a.argsort().argsort().double(), b.argsort().argsort().double()])
    return float(torch.corrcoef(ranks)[0, 1])


def test_influence_ranks_units_by_what_their_removal_costs():
    """Each unit of a trained network is taken out alone: rank correlation of the rise of the loss with influence."""
    model, task = trained_digits(), digits_task()
    structure = find_groups(model, (torch.zeros(1, 1, 8, 8),))
    batches = Shuffled(task.data.x[:400], task.data.y[:400], 8, 0)
    task = replace(task, data=batches, n_calibration=50, _cache=[])
    start, rises = task.mean_loss(model), {}
    with torch.no_grad():
        for group in structure.groups:
            rise = torch.zeros(group.n_units)
            for unit in range(group.n_units):
                gate = (torch.arange(group.n_units) != unit).float()
                with gated(model, structure, {group.name: gate}):
                    rise[unit] = task.mean_loss(model) - start
            rises[group.name] = rise
    context = Context(
        model, structure, task, CostModel(model, structure, (torch.zeros(1, 1, 8, 8),)), Budget("params", 1)
    )

    def correlation(scores: Scores) -> float:
        return spearman(torch.cat([scores[name] for name in rises]), torch.cat(list(rises.values())))

    influence, weight = correlation(influence_static(context)[0]), correlation(l1(context)[0])
    assert influence > 0.9
    assert weight < influence - 0.3


def test_digits_quickly():
    parent = digits_error(trained_digits(0))
    influence = compressed("digits", "influence", 0.3, 0, 120)
    assert parent < 0.04
    assert influence < 0.1
    assert influence < compressed("digits", "random", 0.3, 0, 120)


CRITERIA = ("influence", "influence-static", "l1", "random", "scratch")


def table(task: str, keep: float) -> dict[str, list[float]]:
    """Scores over five seeds of every criterion; kept as JSON where SMALL_TASKS names a folder."""
    rows = {name: [compressed(task, name, keep, seed) for seed in range(5)] for name in CRITERIA}
    report(f"{task}-{keep}", {"parent": [TASKS[task][2](TASKS[task][0](seed)) for seed in range(5)], **rows})
    return rows


def report(name: str, rows: dict) -> None:
    print(f"\n{name}: " + json.dumps(rows))
    if folder := os.environ.get("SMALL_TASKS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.json").write_text(json.dumps(rows, indent=1))


MISSED = pytest.mark.xfail(
    reason="random units err 0.10 ± 0.24% less than influence over five seeds, 0.015% beyond one standard error"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "keep"), [pytest.param("digits", 0.5, marks=MISSED), ("digits", 0.2), ("text", 0.5), ("text", 0.2)]
)
def test_influence_against_rivals_over_five_seeds(task, keep):
    rows = table(task, keep)
    for rival in ("l1", "random", "scratch"):
        better = [b - a for a, b in zip(rows["influence"], rows[rival], strict=True)]
        tie = statistics.stdev(better) / len(better) ** 0.5
        assert statistics.fmean(better) > -tie, rival
    if task == "text" or keep < 0.5:  # half of the digits' network is enough for digits, however it is trained
        assert statistics.fmean(rows["influence"]) < statistics.fmean(rows["scratch"])


@pytest.mark.slow
def test_widths_that_the_gates_decide_about_over_three_seeds():
    """Digits at a fifth of the parameters, by influence: the same fraction of every group, widths by influence per unit
    of cost before the gates are trained, and widths by the trained gates."""
    names = ("uniform", "auto", "learned")
    rows = {
        ratios: [compressed("digits", "influence", 0.2, seed, 400, ratios) for seed in range(3)] for ratios in names
    }
    report("digits-ratios", rows)
    assert statistics.fmean(rows["learned"]) < statistics.fmean(rows["uniform"]) + 0.01


def fresh(build: Callable[[], torch.nn.Module], steps: int) -> float:
    """Bits of a language model trained from scratch."""
    torch.manual_seed(0)
    model = build()
    finetune(model, text_task(0), steps, 5e-3)
    return bits_per_character(model)


@pytest.mark.slow
def test_rows_of_the_seeds_language_model_tables():
    """Prune, prune + SVD (the recipe of Lai 2022), units + SVD, and LSTM with projection and GRU of the same size."""
    parent, given, x = trained_lm(0, 800), text_task(0), (torch.zeros(1, 4, dtype=torch.long),)
    n_symbols = library_text()[2]

    def run(recipe: Recipe):
        return compress(parent, x, given.loss, given.data, recipe)

    tune = FineTune(steps=200, lr=3e-3)
    masks = Prune(method="lstm-masks", steps=200, keep=0.5, beta=0.15)
    alone = run(Recipe(prune=masks, finetune=tune))
    factored = run(Recipe(prune=masks, finetune=tune, lowrank=LowRank("thresh", 0.15, gates=True)))
    size = factored.steps[-1].parameters
    units = run(Recipe(prune=Prune(steps=200), finetune=tune, lowrank=LowRank("budget"), budget=Budget("params", size)))
    rows = {
        "parent": [parameters(parent), bits_per_character(parent)],
        "prune": [alone.steps[-1].parameters, bits_per_character(alone.model)],
        "prune + SVD": [size, bits_per_character(factored.model)],
        "units + SVD": [units.steps[-1].parameters, bits_per_character(units.model)],
    }

    def narrow(kind: str, projected: bool = False) -> Callable[[], torch.nn.Module]:
        """The widest network of a kind that has no more parameters than the factored one."""

        def build(width: int) -> torch.nn.Module:
            return LanguageModel(n_symbols, 32, width, kind=kind, **({"proj_size": width // 2} if projected else {}))

        width = max(w for w in range(8, 200, 2) if parameters(build(w)) <= size)
        return lambda: build(width)

    rivals = {"LSTM": narrow("LSTM"), "LSTM with projection": narrow("LSTM", projected=True), "GRU": narrow("GRU")}
    for name, build in rivals.items():  # as many batches as parent and fine-tuning had together
        rows[name] = [parameters(build()), fresh(build, 800 + 500)]
    report("language-model", rows)
    assert rows["prune"][1] < rows["parent"][1] + 0.15
    assert rows["units + SVD"][1] < rows["prune + SVD"][1]
    assert rows["units + SVD"][1] < rows["parent"][1] + 0.05
