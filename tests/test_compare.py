"""Tables of many compressions: what is swept, what is kept, and differences over scenes."""

from dataclasses import replace

import pytest
from test_criteria import conv_case
from test_pipeline import run, small

from quietmic.cli.compress import sweep
from quietmic.compression import Budget
from quietmic.compression.compare import SWEEPS, Row, for_value, paired, run_rows, to_markdown
from quietmic.compression.recipe import FineTune, LowRank, Prune
from quietmic.enhance.errors import QuietmicError


def test_what_is_swept_has_an_effect():
    recipe = small(Budget("params", 100), lowrank=LowRank("budget"), prune=Prune(criterion="influence"))
    assert for_value(recipe, "thresh", "0.3").lowrank == LowRank("thresh", 0.3)
    assert for_value(recipe, "beta", "0.3").prune.beta == 0.3
    assert for_value(recipe, "share", "0.3").lowrank == LowRank("budget", share=0.3)
    assert for_value(recipe, "ratios", "learned").prune.ratios == "learned"
    with pytest.raises(QuietmicError, match="'l1' has no gates"):
        for_value(replace(recipe, prune=Prune(criterion="l1")), "beta", "0.3")


def test_the_command_offers_what_can_be_swept_over():
    """The command line writes the names out, since compare.py needs torch and a command starts without it."""
    over = next(parameter for parameter in sweep.params if parameter.name == "over")
    assert tuple(over.type.choices) == SWEEPS
    assert all(name in over.help for name in SWEEPS)


def test_differences_are_those_of_the_same_scenes():
    """Scenes differ by ten decibels among themselves, the two networks by one in each: seeds first, then scenes."""
    scenes = {"thinet": [[0.0, 10.0, 20.0], [2.0, 12.0, 22.0]], "l1": [[-1.0, 9.0, 19.0], [1.0, 11.0, None]]}
    rows = [
        Row(label, seed, {"si_sdr": 0.0}, scenes={"si_sdr": values})
        for label, both in scenes.items() for seed, values in enumerate(both)
    ]  # fmt: skip
    found = paired(rows)["l1"]["si_sdr"]
    assert [found[name] for name in ("mean", "low", "high", "n")] == pytest.approx([-4 / 3, -2, -1, 3])
    assert "| l1 | -1.33 [-2.00, -1.00] |" in to_markdown(rows)
    assert paired([replace(row, scenes={}) for row in rows]) == {}  # rows of before have none


def test_rows_of_other_data_are_made_anew(tmp_path):
    recipe = small(Budget("params", 300), prune=Prune(criterion="l1"), finetune=FineTune(steps=0))
    made = []

    def judge(model):
        made.append(model)
        return {}

    for identity in ({"data": 1}, {"data": 1}, {"data": 2}):
        run_rows([("l1", recipe)], lambda recipe: run(conv_case, recipe)[1], judge, tmp_path, identity)
    assert len(made) == len(list(tmp_path.iterdir())) == 2
