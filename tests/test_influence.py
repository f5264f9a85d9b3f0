"""Influence: the gradient of masks, by finite differences and against what happens when a unit goes."""

import copy

import pytest
import torch
from nets.lm import LanguageModel
from torch import nn

from quietmic.compression.criteria.influence import batch_influences, mask_gradients, smooth, unit_influence
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.surgery import cut, gated
from quietmic.compression.structure.swap import swapped
from quietmic.compression.task import Task
from quietmic.enhance.errors import QuietmicError


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def batches(n=3):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, 4, generator=generator).double(), torch.randn(8, 2, generator=generator).double())
        for _ in range(n)
    ]


TASK = Task(lambda model, batch: (model(batch[0]) - batch[1]).square().mean(), batches(), n_calibration=3)


def test_influence_is_the_gradient_of_a_mask():
    model, batch = small(), batches()[0]
    influence = mask_gradients(model, TASK, batch)["2.weight"]
    mask = torch.ones_like(model[2].weight, requires_grad=True)
    with swapped(model, {"2.weight": model[2].weight * mask}):
        (gradient,) = torch.autograd.grad(TASK.loss(model, batch), mask)
    assert torch.allclose(influence, gradient, rtol=1e-12)
    model.zero_grad()
    TASK.loss(model, batch).backward()
    assert torch.allclose(influence, model[2].weight.detach() * model[2].weight.grad, rtol=1e-12)


def test_influence_by_finite_differences():
    model, batch = small(), batches()[0]
    influence = mask_gradients(model, TASK, batch)["0.weight"]
    step = 1e-4
    for row, col in ((0, 0), (3, 2), (5, 1)):
        losses = []
        for sign in (1, -1):
            moved = copy.deepcopy(model)
            moved[0].weight.data[row, col] *= 1 + sign * step
            losses.append(TASK.loss(moved, batch).item())
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(influence[row, col].item(), rel=1e-6)


def test_unit_influence_is_the_gradient_of_its_gate_in_an_lstm():
    torch.manual_seed(0)
    model = LanguageModel(n_symbols=7, n_embedding=5, n_hidden=6).double()
    symbols = torch.arange(14).view(2, 7) % 7
    task = Task(lambda m, x: nn.functional.cross_entropy(m(x)[0].flatten(0, 1), x.flatten()), [symbols])
    structure = find_groups(model, (symbols,))
    influences = mask_gradients(model, task, symbols)
    for group in structure.groups:
        gate = torch.ones(group.n_units, dtype=torch.double, requires_grad=True)
        with gated(model, structure, {group.name: gate}):
            (gradient,) = torch.autograd.grad(task.loss(model, symbols), gate)
        assert torch.allclose(unit_influence(group, influences).double(), gradient, rtol=1e-4, atol=1e-7)


def test_a_unit_that_nobody_reads_has_no_influence_and_its_removal_changes_nothing():
    model = small()
    with torch.no_grad():
        model[2].weight[:, 3] = 0
    structure = find_groups(model, (batches()[0][0],))
    influence = batch_influences(model, structure, TASK)["0"]
    assert influence.shape == (3, 6)
    assert influence[:, 3].abs().max() == 0
    assert (influence[:, [0, 1, 2, 4, 5]].abs().mean(0) > 0).all()
    smaller = cut(model, structure, {"0": torch.arange(6) != 3})
    x = batches()[0][0]
    assert torch.allclose(smaller(x), model(x), atol=1e-12)


def test_influence_that_is_not_finite_names_the_layer():
    model = small()
    model[2].weight.data[0, 0] = torch.nan
    with pytest.raises(QuietmicError, match="influence of layer"):
        mask_gradients(model, TASK, batches()[0])


def test_no_data_is_said():
    task = Task(TASK.loss, None)
    with pytest.raises(QuietmicError, match="needs data"):
        task.calibration()
    task = Task(TASK.loss, iter(batches()), n_calibration=9)
    with pytest.raises(QuietmicError, match="not an iterator"):
        task.calibration()


def test_a_running_mean_forgets_a_tenth_with_each_batch():
    old, new = {"a": torch.tensor([1.0, 0.0])}, {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([5.0])}
    found = smooth(old, new)
    assert found["a"].tolist() == pytest.approx([0.9, 0.1])
    assert found["b"].item() == 5.0
