"""All criteria by name, behind one interface: which units of each group stay, and with what rescaling."""

from __future__ import annotations

from compression import data_scores as data
from compression import weight_scores as weights
from compression.context import Criterion, from_scores
from compression.data_scores import statistic
from compression.learned import autopruner, influence
from compression.reconstruct import channel_lasso, thinet
from enhance.errors import UserError

_ALL = (
    Criterion("influence", influence, "learned gates on mask gradients", "learned"),
    Criterion("influence-static", from_scores(data.influence_static), "size of the mask gradient of a unit", "score"),
    Criterion("l1", from_scores(weights.l1), "sum of absolute weights", "score"),
    Criterion("fpgm", from_scores(weights.fpgm), "distance to the other filters of the layer", "score"),
    Criterion("gamma", from_scores(weights.gamma, "global"), "scale of the norm after sparse training", "score"),
    Criterion("sparsity", from_scores(weights.sparsity), "share of a unit's weights above the layer's mean", "score"),
    Criterion("random", from_scores(weights.random), "seeded draw", "control"),
    Criterion("scratch", weights.scratch, "the pruned architecture from fresh weights", "control"),
    Criterion("unstructured", weights.unstructured, "largest single weights: storage, not time", "control"),
    Criterion("apoz", from_scores(data.apoz), "share of activations that are not zero", "score"),
    Criterion("activation-mean", from_scores(statistic("mean")), "mean of the activations", "score"),
    Criterion("activation-std", from_scores(statistic("std")), "deviation of the activations", "score"),
    Criterion("activation-l1", from_scores(statistic("l1")), "L1 norm of the activations", "score"),
    Criterion("activation-l2", from_scores(statistic("l2")), "L2 norm of the activations", "score"),
    Criterion("activation-var-l2", from_scores(statistic("var-l2")), "variance of that norm over samples", "score"),
    Criterion("taylor", from_scores(data.taylor), "squared sum of weight times gradient", "score"),
    Criterion("thinet", thinet, "least error of the next layer's output, greedy", "score"),
    Criterion("channel-lasso", channel_lasso, "the same error with an L1 term", "score"),
    Criterion("autopruner", autopruner, "learned gates on pooled activations", "learned"),
    Criterion("curl", from_scores(data.curl), "what the outputs lose without the unit", "score"),
    Criterion(
        "slimming-sparsity", from_scores(weights.slimming_sparsity, "global"), "scale of the norm times S(n)", "score"
    ),
)
CRITERIA = {criterion.name: criterion for criterion in _ALL}


def find_criterion(name: str) -> Criterion:
    """Criterion of a name; an error that lists the names."""
    if name not in CRITERIA:
        raise UserError(f"unknown criterion '{name}'; one of {', '.join(CRITERIA)}", 2)
    return CRITERIA[name]
