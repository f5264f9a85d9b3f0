"""Compressed networks in checkpoints: whatever layers the compression put in come back with their weights."""

import sys
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
from quietmic.models.networks.registry import FAMILIES, build, load_network, save_network
from quietmic.models.networks.structure import CLASSES, MOVED, apply_changes, changes, describe, make


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


def nowhere(text: object) -> nn.Module:
    raise AssertionError(f"called with {text}")


LINEAR = {"in_features": 2, "out_features": 2, "bias": True}
SHELL = {"parameters": {}, "children": {}, "values": {}}
CRAFTED = [
    {"class": "os.system", "settings": {"command": "true"}},
    {"class": "test_structure.nowhere", "settings": {"text": "x"}},
    {"class": "quietmic.enhance.jsonfile.write_json", "settings": {"value": [], "path": "{out}"}},
    {"class": "quietmic.models.export.write_json", "settings": {"value": [], "path": "{out}"}},
    {"class": "quietmic.models.networks.files.save_whole", "settings": {"content": [], "path": "{out}"}},
    {"class": "quietmic.models.training.train.Path", "settings": {}},
    {"class": "quietmic.models.no.such.module.Layer", "settings": {}},
    {"class": "torch.nn.init.zeros_", "settings": {"tensor": 0}},
    {"class": "torch.nn.Module", "settings": {}},
    {"class": "torch.nn.Linear", "settings": LINEAR | {"device": "meta"}},
    {"class": "torch.nn.Linear", "settings": LINEAR | {"bias": []}},
    {"class": "torch.nn.Linear"},
    {"class": "quietmic.models.networks.blocks.DilatedBlock"},
    {"class": "quietmic.models.networks.blocks.RunningLevel", **SHELL, "values": {"_modules": 1}},
    {"class": "quietmic.models.networks.blocks.RunningLevel", **SHELL, "values": {"forward": 1}},
    {"class": "quietmic.models.networks.blocks.DilatedBlock", **SHELL, "children": {"act": {"class": "os.abort"}}},
    {"class": 3},
    7,
]


@pytest.mark.parametrize("layer", CRAFTED, ids=str)
def test_a_crafted_checkpoint_calls_nothing(layer: object, tmp_path: Path) -> None:
    """Any callable under torch.nn, models and compression was called with the file's arguments: a checkpoint that
    named the writer of JSON overwrote a file."""
    path, victim = tmp_path / "crafted.pt", tmp_path / "victim.txt"
    victim.write_text("kept")
    save_network(build("tcn", **SIZES["tcn"]), path)
    content = torch.load(path, weights_only=True)
    if isinstance(layer, dict) and "path" in layer.get("settings", {}):
        layer = layer | {"settings": layer["settings"] | {"path": str(victim)}}
    torch.save(content | {"changes": {"squeeze": layer}}, path)
    modules = set(sys.modules)
    with pytest.raises(QuietmicError, match=r"crafted\.pt") as told:
        load_network(path)
    assert told.value.exit_code == 2
    assert victim.read_text() == "kept"
    assert set(sys.modules) == modules


@pytest.mark.parametrize("where", ["", "no.such.layer", "encoder.9"])
def test_only_layers_that_the_network_has_are_exchanged(where: str) -> None:
    with pytest.raises(QuietmicError, match="another kind"):
        apply_changes(build("tcn", **SIZES["tcn"]), {where: {"class": "torch.nn.Identity", "settings": {}}})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_may_name_every_layer_of_every_network(family: str) -> None:
    """A network's own layers are in the closed list, so that what a compression makes of them can be read again."""
    for path, module in build(family).named_modules():
        if path:
            assert describe(make(describe(module))) == describe(module), path


def test_the_closed_lists_hold_layers_only() -> None:
    for module, names in CLASSES.items():
        for name in names:
            assert issubclass(getattr(import_module(module), name), nn.Module)
    assert {*CLASSES, "quietmic.models.networks.blocks"} >= {*MOVED.values()}


def damaged(content: dict) -> list[dict]:
    weights = content["weights"]
    some = next(iter(weights))
    return [
        {"family": "tcn"},
        content | {"family": "tcm"},
        content | {"family": ["tcn"]},
        content | {"sizes": 3},
        content | {"sizes": content["sizes"] | {"width": -4}},
        content | {"sizes": content["sizes"] | {"width": 12}},
        content | {"weights": {k: v for k, v in weights.items() if k != some}},
        content | {"weights": weights | {some: 3}},
        content | {"changes": [1]},
        content | {"facts": 3},
    ]


def test_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    save_network(build("tcn", **SIZES["tcn"]), path)
    for content in damaged(torch.load(path, weights_only=True)):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(QuietmicError, match=r"other\.pt"):
            load_network(tmp_path / "other.pt")
    whole = path.read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(QuietmicError, match=r"damaged\.pt"):
            load_network(path)


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
