"""Counts of well-known networks, to the digit."""

import pytest
import torch
from nets.lm import LanguageModel
from nets.mobilenet import PRUNED, MobileNetV3Large
from nets.resnet import resnet50_cifar, resnet56
from nets.vgg import Vgg
from torch import nn

from quietmic.models.networks.count import count

IMAGE = torch.zeros(1, 3, 32, 32)


def test_vgg16():
    figures = count(Vgg(), (IMAGE,))
    assert figures.parameters == 14_728_266
    assert figures.macs == 313_201_664


def test_bottleneck_resnet_and_resnet56():
    figures = count(resnet50_cifar(), (IMAGE,))
    assert figures.parameters == 23_520_842
    assert figures.macs == 1_297_829_888
    assert count(resnet56(), (IMAGE,)).parameters == 853_018


@pytest.mark.parametrize(("widths", "parameters"), [(None, 4_215_130), (PRUNED, 2_339_846)])
def test_mobilenet(widths, parameters):
    assert sum(p.numel() for p in MobileNetV3Large(widths=widths).parameters()) == parameters


def test_recurrent_layers_count_each_step():
    model = LanguageModel(n_symbols=10, n_embedding=8, n_hidden=16)
    figures = count(model, (torch.zeros(2, 5, dtype=torch.long),))
    lstm = 4 * 16 * (8 + 16) + 4 * 16 * (16 + 16)
    assert figures.macs == 2 * 5 * (lstm + 16 * 10)


def test_transposed_and_grouped_convolutions():
    grouped = nn.Conv1d(8, 8, 3, groups=8)
    assert count(grouped, (torch.zeros(1, 8, 10),)).macs == 8 * 8 * 3
    transposed = nn.ConvTranspose1d(4, 6, 3, stride=2)
    assert count(transposed, (torch.zeros(1, 4, 10),)).macs == 10 * 4 * 6 * 3
