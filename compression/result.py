"""What a compression returns: the network, and the figures of every step."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from quietmic.compression.factor.lowrank import Factored
from quietmic.compression.recipe import Recipe


@dataclass(frozen=True)
class StepFigures:
    """One step of a recipe and the network after it."""

    name: str
    parameters: int
    macs_per_second: float
    loss: float  # mean over the calibration batches; NaN without data
    seconds: float  # how long the step took
    notes: tuple[str, ...] = ()


@dataclass
class CompressionResult:
    """A compressed network and how it came about."""

    model: nn.Module
    recipe: Recipe
    steps: tuple[StepFigures, ...]
    kept: tuple[dict[str, Tensor], ...] = ()  # per cut: group -> [n_units] bool
    factored: tuple[Factored, ...] = ()
    left_alone: tuple[str, ...] = ()  # layers that were not touched, with the reason
    masks: dict[str, Tensor] = field(default_factory=dict)  # single weights that are zero (unstructured)
    storage: dict[str, Any] = field(default_factory=dict)  # bytes, of shared values or of zeros that are left out

    def ratios(self) -> dict[str, float]:
        """Compressed over original of what the steps count."""
        first, last = self.steps[0], self.steps[-1]
        return {
            "parameters": last.parameters / first.parameters,
            "macs": last.macs_per_second / max(first.macs_per_second, 1.0),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a card or JSON: recipe, steps, widths, ranks; NaN becomes null."""
        steps = [asdict(step) for step in self.steps]
        for step in steps:
            step["loss"] = step["loss"] if math.isfinite(step["loss"]) else None
        widths = [{name: [int(mask.sum()), len(mask)] for name, mask in cut.items()} for cut in self.kept]
        return {
            "recipe": self.recipe.to_dict(),
            "steps": steps,
            "widths": widths,
            "factored": [asdict(row) for row in self.factored],
            "left_alone": list(self.left_alone),
            "ratios": self.ratios(),
            "storage": self.storage,
        }
