"""Networks of any class, compressed, saved and opened again by their own class."""

import pytest
import torch
from nets.odd import Chain, conv, last_state, signal
from test_any_network import Tied, n_parameters, square
from torch import nn

from quietmic.compression import Budget, Recipe, compress, open_network, save_network
from quietmic.compression.recipe import FineTune, LowRank, Prune


class Gained(nn.Module):
    """A gain for each channel that no state dictionary holds."""

    def __init__(self):
        super().__init__()
        self.a, self.out = conv(3, 64, 3), conv(64, 8)
        self.register_buffer("gain", torch.linspace(0.5, 2, 64)[:, None], persistent=False)

    def forward(self, x):
        return self.out(torch.relu(self.a(x) * self.gain))


def stored_cases():
    convolutions = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1, padding_mode="circular", bias=False), nn.BatchNorm2d(24, eps=0.1), nn.ReLU(),
        nn.Conv2d(24, 24, 1), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 64, 20), nn.ReLU(), nn.Linear(20, 2),
    )  # fmt: skip
    stacked = Chain(last_state, rnn=nn.LSTM(4, 20, 2), out=nn.Linear(20, 2))
    weight_norm = nn.Sequential(nn.utils.parametrizations.weight_norm(conv(3, 16)), nn.ReLU(), conv(16, 2))
    return {
        "convolutions": (convolutions, torch.randn(2, 3, 8, 8)),
        "stacked": (stacked, torch.randn(5, 2, 4)),
        "tied": (Tied(), torch.randint(0, 100, (4, 9))),
        "weight norm": (weight_norm, signal()),
        "gained": (Gained(), signal()),
    }


@pytest.mark.parametrize("name", ["convolutions", "stacked", "tied", "weight norm", "gained"])
def test_a_network_of_any_class_comes_back_from_its_file(name, tmp_path):
    """Of "gained" the buffer came back as wide as the parent's, and the network did not run."""
    torch.manual_seed(0)
    model, x = stored_cases()[name]
    budget = Budget("params", 0.6 * n_parameters(model))
    how = Recipe(
        prune=Prune(criterion="l1"), lowrank=LowRank("budget", share=0.3 if name == "convolutions" else 0.0),
        finetune=FineTune(steps=0), budget=budget, share_bits=4,
    )  # fmt: skip
    result = compress(model, x, square, [x], how)
    save_network(result.model, model, tmp_path / "small.pt")
    again = open_network(tmp_path / "small.pt", stored_cases()[name][0])
    with torch.no_grad():
        assert torch.equal(again(x), result.model(x))
    assert n_parameters(again) == n_parameters(result.model) < n_parameters(model)
    matrices = [p for p in again.parameters() if p.dim() > 1 and p.numel() > 16]
    assert max(len(p.unique()) for p in matrices) <= 16
    assert 0.125 < result.storage["ratio"] < 0.8
    if name == "tied":
        assert again.out.weight is again.embedding.weight
