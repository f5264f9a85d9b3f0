"""Recipes as files, and what is wrong with some."""

import pytest
from test_criteria import conv_case
from test_pipeline import run, small

from quietmic.compression import Budget
from quietmic.compression.recipe import LowRank, Prune, Recipe, from_dict, read_recipe
from quietmic.enhance.errors import QuietmicError


def test_a_recipe_survives_a_card():
    budget = Budget("macs", 5e7, Budget("params", 1e6))
    recipe = small(budget, prune=Prune(ratios={"encoder.*": 0.5}), lowrank=LowRank("thresh", 0.05))
    assert from_dict(recipe.to_dict()) == recipe


def test_a_recipe_is_what_its_file_says(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "n_calibration = 3\n[prune.ratios]\n'encoder.*' = 0.5\n[lowrank]\nby = 'thresh'\nthresh = 0.05\n"
        "[budget]\nkind = 'macs'\nvalue = 5e7\n[budget.also]\nkind = 'params'\nvalue = 1e6\n"
    )
    assert read_recipe(path) == Recipe(
        "mine", Prune(ratios={"encoder.*": 0.5}), LowRank("thresh", 0.05), n_calibration=3,
        budget=Budget("macs", 5e7, Budget("params", 1e6)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune = { criterion = 'best' }", "unknown criterion 'best'"),
        ("[prune]\nspeed = 3", r"unknown entry 'prune\.speed'"),
        ("quantize = 'int4'", "one of none, dynamic, static"),
        ("[prune]\ncriterion = 'influence'\nschedule = 'soft'", "soft schedule needs a criterion of scores"),
        ("[budget]\nkind = 'joules'\nvalue = 3", "unknown budget 'joules'"),
        ("= 3", "not TOML"),
        ("[budget]", r"'budget\.kind' is missing"),
        ("[budget]\nkind = 'params'\nvalue = 'many'", r"'budget\.value' is 'many'; it must be a number"),
        ("[prune]\nsteps = 2.5", r"'prune\.steps' is 2.5; it must be a whole number"),
        ("[prune.ratios]\nencoder = 'half'", r"'prune\.ratios' .* must be text or a table of numbers"),
        ("[prune]\nratios = 'even'", r"prune\.ratios is 'even'; one of auto, uniform, global, learned"),
        ("[prune]\ncriterion = 'l1'\nratios = 'learned'", "'l1' trains no gates that could decide about widths"),
        ("prune = 3", r"'prune' is 3; it must be a table"),
        ("n_calibration = 0", "n_calibration is 0"),
        ("[lowrank]\nshare = 1", r"lowrank\.share is 1"),
        ("[lowrank]\nshare = 'half'", r"lowrank\.share is half; it must be .* or 'search'"),
        ("[lowrank]\nshare = 'search'", r"there is no budget to split: set lowrank\.by = 'budget'"),
        ("[prune]\ncriterion = 'influence'\nschedule = 'gradual'\nsteps = 3", "gates need one for each of 4 cuts"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(QuietmicError, match=message):
        read_recipe(path)


def test_a_recipe_without_budget_says_so():
    with pytest.raises(QuietmicError, match="needs a budget"):
        run(conv_case, small())


def test_budgets_of_the_recipe_hold_beside_those_of_the_options():
    recipe = small(Budget("params", 100))
    assert recipe.with_budget(Budget("macs", 5)).budget == Budget("params", 100, Budget("macs", 5))
    assert recipe.with_budget(Budget("params", 50)).budget == Budget("params", 50)
    assert recipe.with_budget(None) is recipe
