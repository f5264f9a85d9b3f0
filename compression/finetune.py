"""Fine-tuning: one short loop for every step of a recipe, with distillation from the parent as an option."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent
from quietmic.models.networks.run import training

CLIP = 3.0  # largest norm of a gradient


def distilled(task: Task, teacher: nn.Module, weight: float, temperature: float = 2.0) -> Task:
    """The task with targets refined by a teacher: loss (1 - weight) + weight * T^2 * gap (Hinton et al. 2015).

    Args:
        teacher: the uncompressed parent; it is run in evaluation mode without gradients.
        weight: 0 (labels alone) .. 1 (teacher alone).
        temperature: softens class scores for distance "kl"; signals are compared as they are.
    """
    teacher.eval()
    soft = temperature if task.distance == "kl" else 1.0

    def loss(model: nn.Module, batch: Any) -> Tensor:
        with torch.no_grad():
            expected = task.outputs(teacher, batch)
        refined = soft**2 * task.gap(expected / soft, task.outputs(model, batch) / soft)
        own = task.loss(model, batch) if weight < 1 else torch.zeros(())
        return (1 - weight) * own + weight * refined

    return replace(task, loss=loss)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A short linear rise, then half a cosine down to a twentieth of the peak."""
    rise = max(1, steps // 20)
    if step < rise:
        return peak * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def finetune(
    model: nn.Module,
    task: Task,
    steps: int,
    lr: float,
    stage: str = "fine-tune",
    progress: Progress = silent,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    after_step: Callable[[int], None] | None = None,
) -> list[float]:
    """Trains a network in place by AdamW with a cosine schedule; its modes are afterwards what they were.

    Args:
        steps: number of batches.
        lr: peak learning rate.
        penalty: added to the loss (the L1 norm of scales, for slimming).
        after_step: called with the number of the step just made (soft pruning, masks that must hold).

    Returns:
        Task loss of each step, without the penalty.

    Raises:
        QuietmicError: the loss is not finite.
    """
    if steps == 0:
        return []
    with training(model):
        return _finetune(model, task, steps, lr, stage, progress, penalty, after_step)


def _finetune(
    model: nn.Module, task: Task, steps: int, lr: float, stage: str, progress: Progress,
    penalty: Callable[[nn.Module], Tensor] | None, after_step: Callable[[int], None] | None,
) -> list[float]:  # fmt: skip
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise QuietmicError(
            f"{stage}: all parameters are frozen (requires_grad is False): free some, or set the steps to 0",
            exit_code=2,
        )
    if any(p.dtype == torch.float16 for p in parameters):
        raise QuietmicError(f"{stage}: float16 holds no training; give the network as model.float()", exit_code=2)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    losses = []
    for step, batch in zip(range(steps), task.batches(), strict=False):
        for settings in optimizer.param_groups:
            settings["lr"] = learning_rate(step, steps, lr)
        loss = task.scalar(model, batch)
        if not loss.isfinite():
            raise QuietmicError(f"{stage}: the loss is {loss.item()} at step {step}; lower the learning rate ({lr})")
        optimizer.zero_grad()
        (loss if penalty is None else loss + penalty(model)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
        progress(stage, step + 1, steps, f"loss {losses[-1]:.3f}")
        if after_step is not None:
            after_step(step)
    return losses
