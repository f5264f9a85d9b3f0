"""Layers whose weights a forward hands to functions are cut as those that it calls, by every criterion."""

import pytest
import torch
import torch.nn.functional as F
from nets.odd import ODD, Chain, conv
from test_any_network import square
from torch import nn

from quietmic.compression import Budget, Recipe, compress
from quietmic.compression.criteria.table import CRITERIA
from quietmic.compression.recipe import FineTune, LowRank, Prune
from quietmic.models.networks.count import count
from quietmic.models.networks.functional import LayerCalls


def called(net, x):
    h = net.b(net.a(x).transpose(1, 2))
    return net.out(F.relu(h)) + net.shift(torch.tensor(1))


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"unstructured"}))
def test_functions_and_calls_are_compressed_alike(criterion):
    """Criteria that need data saw nothing of what a function reads."""
    odd = ODD["weights given to functions"]
    torch.manual_seed(0)
    model, x = odd.build(), odd.example()
    twin = Chain(called, **dict(model.named_children()))
    recipe = Recipe(prune=Prune(criterion=criterion), finetune=FineTune(steps=0), budget=Budget("units", 0.5))
    kept = [
        compress(net, x, square, [x], recipe, predict=lambda net, batch: net(batch)).kept[0] for net in (model, twin)
    ]
    assert list(kept[0]) == list(kept[1]) == ["a", "b"]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    assert count(model, x).layers == count(twin, x).layers


def test_whoever_hands_out_a_weight_keeps_one_matrix():
    """Low rank would put two factors in its place."""
    odd = ODD["weights given to functions"]
    model, x = odd.build(), odd.example()
    recipe = Recipe(prune=Prune("none"), lowrank=LowRank("thresh", thresh=0.9), finetune=FineTune(steps=0))
    result = compress(model, x, square, [x], recipe)
    assert result.factored == ()
    assert torch.equal(result.model(x), model(x))


def test_a_layer_runs_once_for_each_call_and_only_where_it_does_the_same():
    layer, x = conv(3, 4), torch.randn(2, 3, 9)
    heard: list[torch.Tensor] = []
    layer.register_forward_hook(lambda module, args, output: heard.append(output))
    with torch.no_grad(), LayerCalls(layer):
        layer(x)
        assert len(heard) == 1
        y = F.conv1d(x, layer.weight, layer.bias)
        assert len(heard) == 2
        assert y is heard[1]
        for settings in ({}, {"bias": layer.bias, "stride": 2}, {"bias": torch.ones(4)}):
            F.conv1d(x, layer.weight, **settings)
        F.linear(x[..., 0], nn.Parameter(torch.ones(2, 3)))
    F.conv1d(x, layer.weight, layer.bias)
    assert len(heard) == 2
