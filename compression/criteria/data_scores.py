"""Scores that need data: activations, gradients, and what the outputs lose without a unit."""

from collections.abc import Callable

import torch
from torch import Tensor

from quietmic.compression.criteria.allocate import Scores
from quietmic.compression.criteria.calibration import activation_statistics
from quietmic.compression.criteria.context import Context
from quietmic.compression.criteria.influence import batch_influences
from quietmic.compression.criteria.weight_scores import Result
from quietmic.compression.structure.surgery import gated
from quietmic.models.networks.run import evaluating


def influence_static(context: Context) -> Result:
    """Size of a unit's mask gradient, averaged over calibration batches."""
    rows = batch_influences(context.model, context.structure, context.task)
    return {name: values.abs().mean(0) for name, values in rows.items()}, ()


def taylor(context: Context) -> Result:
    """(Sum of weight times gradient)^2 over a unit, averaged over batches (Molchanov et al. 2019)."""
    rows = batch_influences(context.model, context.structure, context.task)
    return {name: values.square().mean(0) for name, values in rows.items()}, ()


def statistic(name: str) -> Callable[[Context], Result]:
    """A statistic of the activations that a unit sends (Luo 2020, baselines of ThiNet)."""

    def score(context: Context) -> Result:
        return activation_statistics(context.model, context.structure, context.task)[name], ()

    return score


def apoz(context: Context) -> Result:
    """Share of activations that are not zero (Hu et al. 2016): units that are mostly zero go."""
    zeros = activation_statistics(context.model, context.structure, context.task)["zeros"]
    return {name: 1 - share for name, share in zeros.items()}, ()


def curl(context: Context) -> Result:
    """Distance between outputs with and without a unit, a residual group judged as one (Luo and Wu 2020).

    KL divergence for classifiers, error energy over signal energy for signals; one forward pass per unit, on the
    first calibration batch.
    """
    model, structure, task = context.model, context.structure, context.task
    batch = task.calibration()[0]
    scores: Scores = {}
    n_units, done = sum(group.n_units for group in structure.groups), 0
    with torch.no_grad(), evaluating(model):
        expected = task.outputs(model, batch)
        for group in structure.groups:
            gaps: list[Tensor] = []
            for unit in range(group.n_units):
                gate = torch.ones(group.n_units)
                gate[unit] = 0
                with gated(model, structure, {group.name: gate}):
                    gaps.append(task.gap(expected, task.outputs(model, batch)))
                done += 1
                context.progress("curl", done, n_units, f"gap {float(gaps[-1]):.3f}")
            scores[group.name] = torch.stack(gaps)
    return scores, ()
