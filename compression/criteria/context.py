"""What a criterion is given and what it answers: one interface for scores and for learned gates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.allocate import Scores, allocate
from quietmic.compression.structure.groups import Structure
from quietmic.compression.structure.surgery import Gates, Kept
from quietmic.compression.task import Task
from quietmic.enhance.progress import Progress, silent


@dataclass
class Context:
    """A trained network that shall be cut. Learned criteria fine-tune `model` in place."""

    model: nn.Module
    structure: Structure
    task: Task
    costs: CostModel
    budget: Budget
    ratios: str | Mapping[str, float] = "auto"
    floor: float = 0.1  # least fraction of each group that stays
    round_to: int = 1  # widths are multiples of this
    whole: Mapping[str, int] = field(default_factory=dict)  # widths before the first of several cuts
    steps: int = 300  # batches for learned gates, or for sparse training before a score is read
    lr: float = 1e-3
    beta: float = 0.1
    seed: int = 0
    progress: Progress = silent

    def allocate(self, scores: Scores, ratios: str | None = None) -> Kept:
        """Units that stay under the budget; `ratios` where a criterion prescribes them."""
        chosen = ratios if ratios is not None and isinstance(self.ratios, str) else self.ratios
        return allocate(scores, self.costs, self.budget, chosen, self.floor, self.whole, self.round_to)


@dataclass(frozen=True)
class Decision:
    """Which units stay, and what the columns that read them are multiplied by."""

    kept: Kept
    gates: Gates = field(default_factory=dict)  # factors of the units that stay; 1 for groups that are not named
    notes: tuple[str, ...] = ()
    fresh: bool = False  # start from new weights
    masks: dict[str, Tensor] = field(default_factory=dict)  # parameter -> 0/1 of its shape; nothing is cut


@dataclass(frozen=True)
class Criterion:
    """One way to decide which units stay, and what kind it is."""

    name: str
    decide: Callable[[Context], Decision]
    kind: str  # "score": one number per unit, "learned": gates trained for a while, "control"
    trains: bool = False  # hears the context's steps as batches and fine-tunes the network before it decides
    cuts: bool = True  # units go; else single weights become zero


def from_scores(
    scores: Callable[[Context], tuple[Scores, tuple[str, ...]]], ratios: str | None = None
) -> Callable[[Context], Decision]:
    """A criterion that keeps the units of the highest scores."""

    def decide(context: Context) -> Decision:
        found, notes = scores(context)
        return Decision(context.allocate(found, ratios), notes=notes)

    return decide
