"""Recipes: what to do to a network, as a TOML file and as a frozen dataclass."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from compression.cost import Budget
from compression.criteria import find_criterion
from enhance.errors import UserError

METHODS = ("units", "lstm-masks", "none")
SCHEDULES = ("once", "gradual", "soft")
LOW_RANK = ("none", "thresh", "budget")
QUANTIZE = ("none", "dynamic", "static")


@dataclass(frozen=True)
class Prune:
    """Which units go, and how fast."""

    method: str = "units"  # "units": remove; "lstm-masks": the seed's column masks; "none"
    criterion: str = "influence"
    ratios: str | Mapping[str, float] = "auto"  # "auto", "uniform", "global", or fractions by name pattern
    floor: float = 0.1  # least fraction of each group that stays
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
    gates: bool = False  # LSTMs gate by gate with the cell written out (the seed's form), not their inputs alone
    share: float = 0.15  # by "budget": fraction of the cost that low rank takes off after pruning


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

    name: str = "influence"
    prune: Prune = field(default_factory=Prune)
    lowrank: LowRank = field(default_factory=LowRank)
    finetune: FineTune = field(default_factory=FineTune)
    budget: Budget | None = None
    quantize: str = "none"
    seed: int = 0
    n_calibration: int = 8

    def __post_init__(self) -> None:
        _one_of("prune.method", self.prune.method, METHODS)
        _one_of("prune.schedule", self.prune.schedule, SCHEDULES)
        _one_of("lowrank.by", self.lowrank.by, LOW_RANK)
        _one_of("quantize", self.quantize, QUANTIZE)
        criterion = find_criterion(self.prune.criterion)
        if self.prune.schedule == "soft" and criterion.kind == "learned":
            raise UserError(f"a soft schedule needs a criterion of scores; '{criterion.name}' learns its gates", 2)

    def with_budget(self, budget: Budget | None) -> Recipe:
        """This recipe with another budget, or as it is."""
        return self if budget is None else replace(self, budget=budget)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON; `from_dict` reads them back."""
        return _without_none(asdict(self))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"recipe: {name} is '{value}'; one of {', '.join(allowed)}", 2)


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values.

    Raises:
        UserError: unknown or ill-typed entries, by name.
    """
    parts: dict[str, Any] = {"prune": Prune, "lowrank": LowRank, "finetune": FineTune, "budget": Budget}
    known = {f.name for f in fields(Recipe)}
    made: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UserError(f"recipe: unknown entry '{key}'; entries: {', '.join(sorted(known))}", 2)
        if key in parts:
            if not isinstance(value, Mapping):
                raise UserError(f"recipe: '{key}' must be a table", 2)
            names = [f.name for f in fields(parts[key])]
            wrong = sorted(set(value) - set(names))
            if wrong:
                raise UserError(f"recipe: unknown entry '{key}.{wrong[0]}'; entries: {', '.join(names)}", 2)
            if isinstance(value.get("also"), Mapping):
                value = {**value, "also": Budget(**value["also"])}
            value = parts[key](**value)
        made[key] = value
    return Recipe(**made)


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a TOML file; its name is the file's unless it states one."""
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}", 2) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}", 2) from None
    return from_dict({"name": path.stem} | values)


def to_toml(recipe: Recipe) -> str:
    """The recipe as a TOML file."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Mapping):
            return "{ " + ", ".join(f'"{k}" = {text(v)}' for k, v in value.items()) + " }"
        return f'"{value}"' if isinstance(value, str) else repr(value)

    values = recipe.to_dict()
    tables = {k: v for k, v in values.items() if isinstance(v, dict)}
    lines = [f"{k} = {text(v)}" for k, v in values.items() if k not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{k} = {text(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"
