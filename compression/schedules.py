"""How the cut is spread over the fine-tuning: gradual budgets, and soft cuts from which units may come back."""

from collections.abc import Callable

import torch

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.context import Context, Decision
from quietmic.compression.finetune import finetune
from quietmic.compression.structure.surgery import gated_weights
from quietmic.compression.task import Task


def gradual_budgets(budget: Budget, costs: CostModel, stages: int) -> list[Budget]:
    """Budgets that shrink by the same factor from stage to stage, the last one the budget asked for."""
    if budget.kind == "units":  # each stage keeps this fraction of what the one before left
        return [Budget("units", budget.value ** (1 / stages))] * stages
    excess = costs.spent(budget, costs.everything())
    return [budget.times(excess ** (1 - (i + 1) / stages)) for i in range(stages)]


def soft_finetune(
    task: Task, context: Context, decide: Callable[[Context], Decision], steps: int, stages: int, lr: float
) -> None:
    """Soft pruning (He et al. 2018): now and then the columns of the worst units are set to zero, and keep learning.

    A unit whose columns have grown again by the next time may come back. The network is trained in place.
    """
    period = max(1, steps // stages)

    def silence(step: int) -> None:
        if (step + 1) % period:
            return
        kept = decide(context).kept
        with torch.no_grad():
            gates = {name: mask.float() for name, mask in kept.items()}
            for name, value in gated_weights(context.model, context.structure, gates).items():
                context.model.get_parameter(name).copy_(value)

    finetune(context.model, task, steps, lr, "soft", context.progress, after_step=silence)
