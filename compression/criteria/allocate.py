"""Which units stay under a budget: widths of the groups from scores, by a search on one number."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.structure.surgery import Kept
from quietmic.enhance.errors import QuietmicError

TOLERANCE = 0.02  # the search stops within 2% of the budget
RATIOS = ("auto", "uniform", "global", "learned")
EVENNESS = 0.7  # "auto": no group becomes narrower than this fraction of its width with equal ratios
Scores = dict[str, Tensor]  # group -> [n_units], higher = keep


def best(scores: Tensor, n: int) -> Tensor:
    """Mask of the n highest scores; the first of equal ones."""
    mask = torch.zeros(len(scores), dtype=torch.bool)
    mask[torch.argsort(scores, descending=True, stable=True)[:n]] = True
    return mask


@dataclass(frozen=True)
class Widths:
    """How wide groups may become.

    Attributes:
        least: group -> fewest units that stay.
        step: widths are multiples of this, or whole.
    """

    least: dict[str, int]
    step: int = 1

    def take(self, name: str, scores: Tensor, n: float) -> Tensor:
        """Mask of about n of the highest scores, an allowed width."""
        return best(scores, self.snap(name, len(scores), n))

    def snap(self, name: str, size: int, n: float) -> int:
        """The allowed width at n or below, but not below the least."""
        if n >= size:
            return size
        n = max(self.least[name], math.floor(n + 1e-9))
        down = n // self.step * self.step
        return down if down >= self.least[name] else min(size, -(-n // self.step) * self.step)


def allocate(
    scores: Scores,
    costs: CostModel,
    budget: Budget,
    ratios: str | Mapping[str, float] = "auto",
    floor: float = 0.1,
    whole: Mapping[str, int] | None = None,
    round_to: int = 1,
) -> Kept:
    """Which units of each group stay within a budget: those with the highest scores for their cost.

    Args:
        scores: group -> [n_units], higher = keep.
        costs: cost of a network of given widths.
        budget: what it may cost.
        ratios: "uniform": the same fraction of every group; "auto": a unit stays if its score per unit of cost lies
            above one threshold for all groups, and no group gets narrower than EVENNESS of its uniform width (unit
            costs are those of the whole network: where two widths multiply, each looks dear because of the other);
            "global": its score itself does, as does the gate's with "learned", where scores are gates that were
            trained for it; or fractions by name pattern ({"encoder.*": 0.5}), the first that matches;
            groups without one stay whole, and the budget is not used.
        floor: least fraction of each group that stays, at least one unit.
        round_to: widths are multiples of this (or whole): many machines multiply eight or sixteen numbers at once.
        whole: widths that fractions by name and the floor are fractions of, where groups were cut before; group ->
            n_units.

    Returns:
        group -> [n_units] mask. Its cost is at most the budget, and within 2% of it unless single units cost more.

    Raises:
        QuietmicError: even the smallest widths cost more than the budget (the message says what can be met), or scores
            are not finite.
    """
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise QuietmicError(f"the scores of group '{name}' are not finite: look at the weights of its layers")
    sizes = {name: (whole or {}).get(name, len(score)) for name, score in scores.items()}
    if not isinstance(ratios, str):
        return _by_hand(scores, ratios, sizes, round_to)
    least = {name: min(len(score), max(1, math.ceil(floor * sizes[name]))) for name, score in scores.items()}
    widths = Widths(least, round_to)
    if budget.kind == "units" and ratios != "learned":
        return _fraction(scores, widths, budget, floor)
    uniform = _uniform(scores, widths)
    if ratios == "uniform":
        return _fill(_search(uniform, 4096, costs, budget), scores, widths, costs, budget)
    if ratios not in RATIOS:
        raise QuietmicError(f"unknown ratios '{ratios}': {', '.join(RATIOS)} or fractions by name", exit_code=2)
    if ratios == "auto":
        even = _search(uniform, 4096, costs, budget)
        least = {name: max(n, math.ceil(EVENNESS * int(even[name].sum()))) for name, n in least.items()}
        widths = Widths(least, round_to)
    weights = costs.unit_costs(budget) if ratios == "auto" else dict.fromkeys(scores, 1.0)
    values = {name: score.double() / weights[name] for name, score in scores.items()}
    kept = _search(_threshold(values, widths), sum(len(score) for score in scores.values()), costs, budget)
    return _fill(kept, values, widths, costs, budget)


def _fraction(scores: Scores, widths: Widths, budget: Budget, floor: float) -> Kept:
    """The same fraction of each group, rounded so that the units of all together come to it."""
    wanted = {name: max(widths.least[name], budget.value * len(score)) for name, score in scores.items()}
    counts = {name: math.floor(n + 1e-9) for name, n in wanted.items()}
    over = round(sum(wanted.values())) - sum(counts.values())
    for name in sorted(wanted, key=lambda key: counts[key] - wanted[key])[:over]:  # the largest remainders first
        counts[name] += 1
    kept = {name: widths.take(name, score, counts[name]) for name, score in scores.items()}
    n_kept, n = sum(int(mask.sum()) for mask in kept.values()), sum(len(score) for score in scores.values())
    if n_kept > budget.value * n * (1 + TOLERANCE) + 1:
        raise QuietmicError(
            f"{budget} cannot be met: with a floor of {floor:.0%} and one unit at least, "
            f"{n_kept / n:.1%} of the units stay; lower the floor"
        )
    return kept


def _by_hand(scores: Scores, ratios: Mapping[str, float], sizes: Mapping[str, int], step: int) -> Kept:
    for pattern, ratio in ratios.items():
        if not any(fnmatch(name, pattern) for name in scores):
            raise QuietmicError(f"no group matches '{pattern}'; groups: {', '.join(scores)}", exit_code=2)
        if not 0 < ratio <= 1:
            raise QuietmicError(f"the ratio {ratio} of '{pattern}' must lie above 0 and not above 1", exit_code=2)
    chosen = {}
    widths = Widths(dict.fromkeys(scores, 1), step)
    for name, score in scores.items():
        ratio = next((value for pattern, value in ratios.items() if fnmatch(name, pattern)), 1.0)
        chosen[name] = widths.take(name, score, round(ratio * sizes[name]))
    return chosen


def _uniform(scores: Scores, widths: Widths) -> Callable[[float], Kept]:
    def take(fraction: float) -> Kept:
        return {name: widths.take(name, s, round(fraction * len(s))) for name, s in scores.items()}

    return take


def _threshold(values: Scores, widths: Widths) -> Callable[[float], Kept]:
    """Takes the given fraction of all units, the most valuable ones, wherever they are."""
    ranked = torch.sort(torch.cat(list(values.values())), descending=True).values

    def take(fraction: float) -> Kept:
        n = round(fraction * len(ranked))
        threshold = ranked[n - 1] if n else math.inf
        return {name: widths.take(name, v, int((v >= threshold).sum())) for name, v in values.items()}

    return take


def _search(take: Callable[[float], Kept], steps: int, costs: CostModel, budget: Budget) -> Kept:
    """Largest of `steps` fractions whose cost is within the budget, by bisection (cost grows with the fraction)."""
    low, high = 0, steps
    kept = take(0.0)
    if (short := costs.spent(budget, kept)) > 1:
        raise QuietmicError(
            f"{budget} cannot be met by cutting units: the smallest network has {_reached(costs, budget, kept)}, "
            f"{short:.2f} times as much; lower the floor, or factor as well"
        )
    if costs.spent(budget, everything := take(1.0)) <= 1:
        return everything
    while high - low > 1:
        middle = (low + high) // 2
        candidate = take(middle / steps)
        spent = costs.spent(budget, candidate)
        if spent > 1:
            high = middle
            continue
        low, kept = middle, candidate
        if spent >= 1 - TOLERANCE / 4:
            break
    return kept


def _reached(costs: CostModel, budget: Budget, kept: Kept) -> str:
    return " and ".join(str(Budget(part.kind, costs.cost(part.kind, kept))) for part in budget.parts())


def _fill(kept: Kept, values: Scores, widths: Widths, costs: CostModel, budget: Budget) -> Kept:
    """Gives units back while they fit: where single units are dear, one threshold stops short of the budget."""
    full = {name for name, mask in kept.items() if bool(mask.all())}
    while len(full) < len(kept) and costs.spent(budget, kept) < 1 - TOLERANCE:
        waiting = {name: torch.where(mask, -math.inf, values[name]) for name, mask in kept.items() if name not in full}
        name = max(waiting, key=lambda key: float(waiting[key].max()))
        n = int(kept[name].sum())
        more = kept[name] | best(waiting[name], min(len(kept[name]), n + widths.step - n % widths.step) - n)
        if costs.spent(budget, kept | {name: more}) > 1:
            full.add(name)
            continue
        kept = kept | {name: more}
        full |= {name} if bool(more.all()) else set()
    return kept
