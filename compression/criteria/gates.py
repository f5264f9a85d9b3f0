"""Learned gates: a small learner per group turns the influence of its units into gates that become binary in training.

Gates E = sigmoid(beta * e) stand on the units while the network is fine-tuned; beta starts small and grows until gates
are on or off (Lai 2022, equations of chapter 3; AutoPruner, Luo and Wu 2020). The loss is that of the task plus

    sum over groups of lambda_l * (mean(E_l) - r_l)^2,

r_l being the fraction of units to keep. (Lai writes ||E_l - T_l||^2 with T_l a number of channels; word by word
that subtracts a count from numbers between 0 and 1, so we read it as AutoPruner writes it, with r_l = T_l / C_l.)
lambda_l = 5 * |k - r_l| while k >= r_l, else 0, where k = 1 - B_l / C_l and B_l counts the gates that are off. "Off"
means below 0.05: with 0.5 the soft gates of the start would count as off at once and switch lambda off. A group's
lambda is weighted by what its units cost in the budget, and the penalty by the size of the task's loss, so that both
do not depend on the loss's unit.

Where the gates decide about the widths too, one such penalty pulls the cost of the whole network: its share mean(E) is
what the network costs with its units counted as far as their gates are open, r what the budget leaves of the whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.influence import smooth
from quietmic.compression.finetune import CLIP, learning_rate
from quietmic.compression.structure.surgery import Gates
from quietmic.compression.structure.swap import swapped
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent
from quietmic.models.networks.run import training

OFF = 0.05  # a gate below is off, one above 1 - OFF is on
SPAN = 20.0  # size of e for an output of the learner of 1: gates start soft at beta 0.01, nearly binary at beta 0.5
TRAVEL = 6.0  # how far the learner's output can go over all steps: from open to shut within a third of them
START = 1.5  # mean output of the learner at the start: nearly all gates open at beta 0.1
FULLY_CONNECTED = 1 << 18  # largest number of weights for which the learner is fully connected
Penalty = Callable[[Gates], Tensor]


@dataclass(frozen=True)
class GateSchedule:
    """For how long and how steeply gates are trained.

    Attributes:
        steps: number of batches.
        lr: peak learning rate of the network.
        beta: slope at the start; the best differs by network (0.05 to 0.1 for VGG-16, 0.15 for an LSTM).
        growth: factor by which beta grows over the steps.
        adaptive: let beta follow how many gates are binary.
    """

    steps: int
    lr: float
    beta: float
    growth: float = 10.0
    adaptive: bool = False


@dataclass(frozen=True)
class GateTarget:
    """What one learner decides about."""

    name: str
    n_units: int
    features: Callable[[dict[str, Tensor]], Tensor]  # smoothed influences of weights -> [n_units, n_features]


def standardise(features: Tensor) -> Tensor:
    """Logarithm of non-negative features [n_units, n], zero mean and unit deviation over units."""
    logs = (features + 1e-12 + 1e-6 * features.mean(0)).log()
    return (logs - logs.mean(0)) / (logs.std(0, correction=0) + 1e-6)


class GateLearner(nn.Module):
    """Features of the units of one group [n_units, n_features] -> e [n_units].

    Fully connected over all units where that is small, else a convolution of width 1 over units. It starts as the
    mean feature: the more influence, the more open.
    """

    def __init__(self, n_units: int, n_features: int) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.full((n_units,), START))
        size = n_units * n_features * n_units
        self.connected = size <= FULLY_CONNECTED
        self.n_inputs = n_units * n_features if self.connected else 16  # keeps one step of Adam as small as on `own`
        last: nn.Linear | nn.Conv1d
        if self.connected:
            last = nn.Linear(n_units * n_features, n_units)
            self.mix = nn.Sequential(nn.Flatten(0), last)
        else:
            last = nn.Conv1d(16, 1, 1)
            self.mix = nn.Sequential(nn.Conv1d(n_features, 16, 1), nn.Tanh(), last, nn.Flatten(0))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        x = standardise(features.float())
        mixed = self.mix(x if self.connected else x.T)
        return SPAN * (self.own + 0.4 * x.mean(1) + mixed / self.n_inputs)


def penalty_weight(kept: float, ratio: float) -> float:
    """lambda = 5 |k - r| while the fraction k that is not off is at least r, else 0."""
    return 5 * abs(kept - ratio) if kept >= ratio else 0.0


def pull_each(ratios: Mapping[str, float], weights: Mapping[str, float]) -> Penalty:
    """Pulls the gates of every group to a fraction of its own: sum of lambda_l * (mean(E_l) - r_l)^2.

    Args:
        ratios: fraction of the units to keep, by name of the target.
        weights: of each lambda: what a unit costs, 1 on average.
    """

    def penalty(gates: Gates) -> Tensor:
        terms = []
        for name, ratio in ratios.items():
            kept = float((gates[name].detach() >= OFF).float().mean())
            terms.append(weights[name] * penalty_weight(kept, ratio) * (gates[name].mean() - ratio).square())
        return torch.stack(terms).sum()

    return penalty


def pull_total(costs: CostModel, budget: Budget) -> Penalty:
    """Pulls the cost of the whole network to the budget, wherever its gates shut.

    The term counts once for each group, so that gates are pulled as hard as by a penalty of their group alone.
    """
    whole = costs.spent(budget, costs.everything())
    ratio = 1 / whole

    def penalty(gates: Gates) -> Tensor:
        kept = costs.spent(budget, {name: gate.detach() >= OFF for name, gate in gates.items()}) / whole
        share = costs.open_spent(budget, gates) / whole
        return len(gates) * penalty_weight(kept, ratio) * (share - ratio).square().float()

    return penalty


def next_beta(beta: float, schedule: GateSchedule, done: float, gates: list[Tensor]) -> float:
    """beta of the next step: geometric growth by the schedule's factor in all.

    Adaptive (AutoPruner leaves its rule open; this is ours): the share of binary gates should follow the share of
    steps done. Where it is behind, beta grows up to twice as fast, where it is ahead, down to not at all.
    """
    rate = 1.0
    if schedule.adaptive:
        binary = float(torch.cat([(g < OFF) | (g > 1 - OFF) for g in gates]).float().mean())
        rate = min(2.0, max(0.0, 1.0 + 2.0 * (done - binary)))
    return beta * schedule.growth ** (rate / schedule.steps)


def train_gates(
    model: nn.Module,
    targets: list[GateTarget],
    weights: Callable[[Gates], dict[str, Tensor]],
    penalty: Penalty,
    task: Task,
    schedule: GateSchedule,
    start: dict[str, Tensor] | None = None,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Learns gates and fine-tunes the network with them, in place.

    Args:
        targets: one learner each.
        weights: gates -> parameters with the gates on them.
        penalty: gates -> what is added to the loss of the task, of its size.
        schedule: how long, how fast, and how the gates become binary.
        start: influences of all weights to start from (averages over calibration batches).

    Returns:
        Last beta * e, name -> [n_units]: the gates are their sigmoid, which orders no longer where it is flat.
    """
    smoothed, steps, lr, beta = start, schedule.steps, schedule.lr, schedule.beta
    learners = nn.ModuleList(GateLearner(t.n_units, t.features(smoothed or {}).shape[1]) for t in targets)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": parameters}, {"params": learners.parameters(), "lr": TRAVEL / steps}], lr=lr, weight_decay=0.0
    )
    gates: Gates = {}
    scale = 1.0
    with training(model):
        for step, batch in zip(range(steps), task.batches(), strict=False):
            gates = _gates(targets, learners, smoothed or {}, beta)
            with swapped(model, weights(gates)):
                loss = task.scalar(model, batch)
            if not loss.isfinite():
                raise QuietmicError(
                    f"gates: the loss is {loss.item()} at step {step}; lower the learning rate ({lr}) or beta"
                )
            scale = max(1.0, abs(loss.item())) if step == 0 else scale
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            smoothed = smooth(smoothed, _influences(model, gates))
            (scale * penalty(gates)).backward()
            nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.param_groups[0]["lr"] = learning_rate(step, steps, lr)
            optimizer.step()
            beta = next_beta(beta, schedule, (step + 1) / steps, list(gates.values()))
            progress("gates", step + 1, steps, loss.item())
    with torch.no_grad():
        return {
            t.name: beta * learner(t.features(smoothed or {})) for t, learner in zip(targets, learners, strict=True)
        }


def _gates(targets: list[GateTarget], learners: nn.ModuleList, smoothed: dict[str, Tensor], beta: float) -> Gates:
    gates = {}
    for target, learner in zip(targets, learners, strict=True):
        gates[target.name] = torch.sigmoid(beta * learner(target.features(smoothed)))
        if gates[target.name].requires_grad:
            gates[target.name].retain_grad()
    return gates


def _influences(model: nn.Module, gates: Gates) -> dict[str, Tensor]:
    """Size of the mask gradients of the last backward pass: of each weight, and "gate:NAME" of each unit's gate."""
    found = {n: (p.detach() * p.grad).abs() for n, p in model.named_parameters() if p.grad is not None}
    return found | {f"gate:{name}": gate.grad.abs() for name, gate in gates.items() if gate.grad is not None}
