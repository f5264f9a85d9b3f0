"""Recipes: what to do to a network, as a TOML file and as a frozen dataclass."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from quietmic.compression.cost import NO_BOARD, Budget
from quietmic.compression.criteria.allocate import RATIOS
from quietmic.compression.criteria.table import find_criterion
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.tomlfile import read_toml

METHODS = ("units", "lstm-masks", "none")
SCHEDULES = ("once", "gradual", "soft")
LOW_RANK = ("none", "thresh", "budget")
QUANTIZE = ("none", "dynamic", "static")


@dataclass(frozen=True)
class Prune:
    """Which units go, and how fast."""

    method: str = "units"  # "units": remove; "lstm-masks": column masks as in Lai 2022; "none"
    criterion: str = "thinet"
    ratios: str | Mapping[str, float] = "auto"  # "auto", "uniform", "global", "learned", or fractions by name pattern
    floor: float = 0.1  # least fraction of each group that stays
    round_to: int = 1  # widths are multiples of this, or stay whole
    steps: int = 300  # batches for learned gates or sparse training
    beta: float = 0.1  # slope of the gates at the start
    schedule: str = "once"  # "gradual": the budget shrinks over the fine-tuning; "soft": cut units may come back
    stages: int = 4  # of a gradual or soft schedule
    blocks: int = 0  # residual blocks to take out first
    keep: float = 0.5  # fraction of columns that lstm-masks keeps


@dataclass(frozen=True)
class LowRank:
    """Which matrices become products of two."""

    by: str = "none"  # "thresh": drop singular values below it; "budget": the largest ranks that the budget allows
    thresh: float = 0.1  # relative to the largest singular value of each matrix
    gates: bool = False  # LSTMs gate by gate with the cell written out (as in Lai 2022), not their inputs alone
    share: float | str = 0.15  # by "budget": fraction of the cost that low rank takes off after pruning, or "search"


@dataclass(frozen=True)
class FineTune:
    """How the small network learns again."""

    steps: int = 600
    lr: float = 1e-3
    distil: float = 0.0  # weight of the parent's outputs against the targets
    temperature: float = 2.0  # of class scores


@dataclass(frozen=True)
class Recipe:
    """Everything that a compression does; `to_dict` goes into the model's card."""

    name: str = "thinet"
    prune: Prune = field(default_factory=Prune)
    lowrank: LowRank = field(default_factory=LowRank)
    finetune: FineTune = field(default_factory=FineTune)
    budget: Budget | None = None
    quantize: str = "none"
    share_bits: int = 0  # 1 to 8: weights of a matrix share 2^bits values, a form of storage (k-means); 0: they do not
    seed: int = 0
    n_calibration: int = 8

    def __post_init__(self) -> None:
        prune = self.prune
        _one_of("prune.method", prune.method, METHODS)
        _one_of("prune.schedule", prune.schedule, SCHEDULES)
        _one_of("lowrank.by", self.lowrank.by, LOW_RANK)
        _one_of("quantize", self.quantize, QUANTIZE)
        if not 0 <= self.share_bits <= 8:
            raise QuietmicError(f"recipe: share_bits is {self.share_bits}; it must lie between 0 and 8", exit_code=2)
        criterion = find_criterion(prune.criterion)
        if prune.schedule == "soft" and criterion.kind == "learned":
            raise QuietmicError(
                f"a soft schedule needs a criterion of scores; '{criterion.name}' learns its gates", exit_code=2
            )
        if isinstance(prune.ratios, str):
            _one_of("prune.ratios", prune.ratios, RATIOS)
        if prune.ratios == "learned" and criterion.kind != "learned":
            raise QuietmicError(
                f"recipe: prune.ratios is 'learned', but the criterion '{criterion.name}' trains no gates that could "
                "decide about widths; take influence or autopruner, or the ratios 'auto'", exit_code=2,
            )  # fmt: skip
        _at_least_one("n_calibration", self.n_calibration)
        _at_least_one("prune.stages", prune.stages)
        _at_least_one("prune.round_to", prune.round_to)
        if self.learns_gates and prune.steps < (n := prune.stages if prune.schedule == "gradual" else 1):
            raise QuietmicError(
                f"recipe: prune.steps is {prune.steps}; gates need one for each of {n} cuts at least", exit_code=2
            )
        share = self.lowrank.share
        if share != "search" and not (isinstance(share, int | float) and 0 <= share < 1):
            raise QuietmicError(
                f"recipe: lowrank.share is {share}; it must be at least 0 and below 1, or 'search'", exit_code=2
            )
        if share == "search" and (self.lowrank.by != "budget" or prune.method != "units"):
            raise QuietmicError(
                "recipe: lowrank.share is 'search', but there is no budget to split: set lowrank.by = 'budget' and "
                "prune.method = 'units'", exit_code=2,
            )  # fmt: skip

    @property
    def learns_gates(self) -> bool:
        """Whether batches go into gates before anything is cut or factored."""
        learned = find_criterion(self.prune.criterion).kind == "learned"
        return self.prune.method == "lstm-masks" or (self.prune.method == "units" and learned)

    def with_budget(self, budget: Budget | None) -> "Recipe":
        """This recipe with more budgets, which take the place of its own of the same kind."""
        if budget is None:
            return self
        given = {part.kind for part in budget.parts()}
        for part in self.budget.parts() if self.budget else ():
            if part.kind not in given:
                budget = replace(part, also=budget)
        return replace(self, budget=budget)

    def prune_budget(self) -> Budget:
        """What the network may cost after the cut: the budget, with what low rank shall take off on top.

        Raises:
            QuietmicError: there is no budget to take widths from.
        """
        cuts = find_criterion(self.prune.criterion).cuts
        if self.budget is None:
            if isinstance(self.prune.ratios, str) or not cuts:
                raise QuietmicError(
                    "a recipe that cuts units needs a budget: parameters, MACs, RTF or units", exit_code=2
                )
            return Budget("units", 1.0)  # ratios by hand: no widths are searched
        if (
            self.lowrank.by != "budget"
            or self.budget.kind == "units"
            or not cuts
            or isinstance(self.lowrank.share, str)
        ):
            return self.budget  # a share that is still searched for is 0
        return self.budget.times(1 / (1 - self.lowrank.share))

    def check_budgets(self, has_rtf: bool) -> None:
        """What would else be found out after hours of training is refused at once."""
        if self.prune.method == "units":
            self.prune_budget()
        if self.budget is None and self.lowrank.by == "budget":
            raise QuietmicError("low rank by budget needs one: parameters, MACs or RTF", exit_code=2)
        if self.budget is not None and not has_rtf and any(part.kind == "rtf" for part in self.budget.parts()):
            raise QuietmicError(NO_BOARD, exit_code=2)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON; `from_dict` reads them back."""
        return _without_none(asdict(self))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise QuietmicError(f"recipe: {name} is '{value}'; one of {', '.join(allowed)}", exit_code=2)


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise QuietmicError(f"recipe: {name} is {value}; it must be at least 1", exit_code=2)


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values.

    Raises:
        QuietmicError: unknown, ill-typed or missing entries, by name.
    """
    return _build(Recipe, values, "")


TABLES: dict[str, type] = {"prune": Prune, "lowrank": LowRank, "finetune": FineTune, "budget": Budget, "also": Budget}
KINDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", float | str: "a number or text",
}  # fmt: skip


def _build(made: type, values: Mapping[str, Any], prefix: str) -> Any:
    """One table as a dataclass, with the tables inside."""
    hints = get_type_hints(made)
    if wrong := sorted(set(values) - set(hints)):
        raise QuietmicError(f"recipe: unknown entry '{prefix}{wrong[0]}'; entries: {', '.join(hints)}", exit_code=2)
    entries: dict[str, Any] = {}
    for name, value in values.items():
        is_table = name in TABLES
        if not (isinstance(value, Mapping) if is_table else _fits(value, hints[name])):
            kind = "a table" if is_table else KINDS.get(hints[name], "text or a table of numbers")
            raise QuietmicError(f"recipe: '{prefix}{name}' is {value!r}; it must be {kind}", exit_code=2)
        entries[name] = _build(TABLES[name], value, f"{prefix}{name}.") if is_table else value
    for entry in fields(made):
        if entry.name not in entries and entry.default is MISSING and entry.default_factory is MISSING:
            raise QuietmicError(f"recipe: '{prefix}{entry.name}' is missing", exit_code=2)
    return made(**entries)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of a TOML file is of the type of an entry."""
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping) and all(_fits(part, float) for part in value.values())
    if get_args(kind):
        return any(_fits(value, part) for part in get_args(kind))
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a TOML file; its name is the file's unless it states one."""
    path = Path(path)
    return from_dict({"name": path.stem} | read_toml(path))
