"""Compressed networks in checkpoints: whatever layers the compression put in come back with their weights."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from test_compress_cli import SIZES
from torch import nn

from quietmic.compression.factor.factored import FactoredLstm
from quietmic.compression.factor.lowrank import choose_ranks, factor
from quietmic.compression.structure.rnn import StackedRnn
from quietmic.enhance.catalogue import WEIGHTS
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.network import OnnxNetwork
from quietmic.models.export import check
from quietmic.models.networks.registry import build, load_network, save_network
from quietmic.models.networks.structure import MOVED, apply_changes, changes, describe, make


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("family", SIZES)
def test_factored_networks_come_back_whole(family: str, gates: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build(family, **SIZES[family]).eval()
    ranks = choose_ranks(network, 0.5, gates)
    assert ranks
    factored, rows = factor(network, ranks)
    assert rows
    save_network(factored, tmp_path / "network.pt", {"steps": 1})
    again, facts = load_network(tmp_path / "network.pt")
    assert facts == {"steps": 1}
    assert describe(again) == describe(factored)
    noisy = torch.randn(1, 2, 257, 6, 2)
    with torch.no_grad():
        expected = factored(noisy, noisy[:, 0], factored.initial_state())[0]
        assert torch.equal(again(noisy, noisy[:, 0], again.initial_state())[0], expected)
    if family == "fullsubnet" and gates:
        assert any(isinstance(module, FactoredLstm) for module in again.modules())


def test_stacked_layers_of_own_widths_come_back() -> None:
    stack = StackedRnn([nn.LSTM(3, 5), nn.LSTM(5, 2)])
    again = make(describe(stack))
    again.load_state_dict(stack.state_dict())
    x = torch.randn(4, 1, 3)
    assert torch.equal(again(x)[0], stack(x)[0])
    assert (again.hidden_size, again.num_layers) == (5, 2)


def test_an_unchanged_network_has_no_changes_and_only_ours_are_made() -> None:
    network = build("tcn", **SIZES["tcn"])
    assert changes(build("tcn", **SIZES["tcn"]), network) == {}
    network.squeeze = nn.Conv1d(network.squeeze.in_channels, 5, 1)
    assert list(changes(build("tcn", **SIZES["tcn"]), network)) == ["squeeze"]
    with pytest.raises(QuietmicError, match=r"os\.system"):
        apply_changes(network, {"squeeze": {"class": "os.system", "settings": {}}})


@pytest.mark.parametrize("checkpoint", sorted(WEIGHTS.glob("*.pt")), ids=lambda path: path.stem)
def test_shipped_checkpoints_are_the_shipped_graphs(checkpoint: Path) -> None:
    network, facts = load_network(checkpoint)
    errors = check(network, checkpoint.with_suffix(".onnx"))
    assert max(errors.values()) < 1e-5
    parent = OnnxNetwork(checkpoint.with_suffix(".onnx")).card.parent
    assert facts.get("compression", {}).get("parent") == parent


def test_layers_named_by_the_modules_of_former_versions_are_made() -> None:
    plain = describe(StackedRnn([nn.LSTM(3, 5), nn.LSTM(5, 2)]))
    assert plain["class"] == "quietmic.compression.structure.rnn.StackedRnn"
    assert describe(make(plain | {"class": "compression.rnn.StackedRnn"})) == plain
    for module in MOVED.values():
        import_module(module)
