"""How a budget is split between cutting and low rank: some splits are tried with short training, the best is kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from quietmic.compression.recipe import Recipe
from quietmic.compression.result import CompressionResult
from quietmic.enhance.errors import QuietmicError

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)  # of the cost, that low rank takes off after the cut
SHORT = 10  # a trial trains for this fraction of the recipe's batches


def settle_share(
    recipe: Recipe, folder: Path | None, run: Callable[[Recipe, Path | None], CompressionResult]
) -> Recipe:
    """The recipe with the share of low rank that loses least after a tenth of the training, if it asks for a search.

    Args:
        recipe: with a budget; left as it is unless its `lowrank.share` is "search".
        folder: keeps what the trials gave, each in a folder of its own.
        run: compresses by a recipe.

    Raises:
        QuietmicError: no split meets the budget; what the last one could reach.
    """
    if recipe.lowrank.share != "search":
        return recipe
    losses: dict[float, float] = {}
    for share in SHARES:
        tried = replace(
            recipe, lowrank=replace(recipe.lowrank, share=share), quantize="none", share_bits=0,
            finetune=replace(recipe.finetune, steps=recipe.finetune.steps // SHORT),
            prune=replace(recipe.prune, steps=max(recipe.prune.stages, recipe.prune.steps // SHORT)),
        )  # fmt: skip
        try:
            losses[share] = run(tried, folder and folder / f"share-{share:g}").steps[-1].loss
        except QuietmicError as error:  # more than can be cut, or than factors can take off
            refused = error
    if not losses:
        raise refused
    return replace(recipe, lowrank=replace(recipe.lowrank, share=min(losses, key=lambda share: losses[share])))
