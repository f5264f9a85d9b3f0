"""All criteria by name, behind one interface: which units of each group stay, and with what rescaling."""

from quietmic.compression.criteria import data_scores as data
from quietmic.compression.criteria import weight_scores as weights
from quietmic.compression.criteria.context import Criterion, from_scores
from quietmic.compression.criteria.data_scores import statistic
from quietmic.compression.criteria.learned import autopruner, influence
from quietmic.compression.criteria.reconstruct import channel_lasso, thinet
from quietmic.enhance.errors import QuietmicError

_ALL = (
    Criterion("influence", influence, "learned", trains=True),
    Criterion("influence-static", from_scores(data.influence_static), "score"),
    Criterion("l1", from_scores(weights.l1), "score"),
    Criterion("fpgm", from_scores(weights.fpgm), "score"),
    Criterion("gamma", from_scores(weights.gamma, "global"), "score", trains=True),
    Criterion("sparsity", from_scores(weights.sparsity), "score"),
    Criterion("random", from_scores(weights.random), "control"),
    Criterion("scratch", weights.scratch, "control"),
    Criterion("unstructured", weights.unstructured, "control", cuts=False),
    Criterion("apoz", from_scores(data.apoz), "score"),
    Criterion("activation-mean", from_scores(statistic("mean")), "score"),
    Criterion("activation-std", from_scores(statistic("std")), "score"),
    Criterion("activation-l1", from_scores(statistic("l1")), "score"),
    Criterion("activation-l2", from_scores(statistic("l2")), "score"),
    Criterion("activation-var-l2", from_scores(statistic("var-l2")), "score"),
    Criterion("taylor", from_scores(data.taylor), "score"),
    Criterion("thinet", thinet, "score"),
    Criterion("channel-lasso", channel_lasso, "score"),
    Criterion("autopruner", autopruner, "learned", trains=True),
    Criterion("curl", from_scores(data.curl), "score"),
    Criterion("slimming-sparsity", from_scores(weights.slimming_sparsity, "global"), "score", trains=True),
)
CRITERIA = {criterion.name: criterion for criterion in _ALL}


def find_criterion(name: str) -> Criterion:
    """Criterion of a name; an error that lists the names."""
    if name not in CRITERIA:
        raise QuietmicError(f"unknown criterion '{name}'; one of {', '.join(CRITERIA)}", exit_code=2)
    return CRITERIA[name]
