"""The graph of single hops: few operators, one signal and one state with the graph for files."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_networks import FAMILIES, SMALL, make, make_card

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.network import OnnxNetwork, hop_path
from quietmic.enhance.stream import Stream
from quietmic.models.export import export
from quietmic.models.networks.registry import load_network

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"


@pytest.mark.parametrize(("name", "most"), [("tcn-tiny", 120), ("tcn-small", 139), ("fullsubnet", 51)])
def test_a_hop_is_few_operators(name: str, most: int, tmp_path: Path) -> None:
    """Nodes that ONNX Runtime is left with before it fits the layout to the processor: 189, 207 and 563 once.

    The five memories of tcn-small are 33 of them, the four of tcn-tiny 27.
    """
    network = make(name) if name in SMALL else load_network(WEIGHTS / f"{name}.pt")[0]
    path = export(network, make_card(name), tmp_path / f"{name}.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    onnxruntime.InferenceSession(hop_path(path), options, providers=["CPUExecutionProvider"])
    assert len(onnx.load(tmp_path / "optimised.onnx").graph.node) <= most


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_goes_from_one_graph_to_the_other_and_back(family: str, tmp_path: Path) -> None:
    """Blocks of many hops run in the graph for files, single hops in their own: one signal, one state."""
    path = export(make(family), make_card(family), tmp_path / "whole.onnx")
    assert hop_path(path).is_file()
    stream = Stream(OnnxNetwork(path))
    signal = 0.1 * np.random.default_rng(0).standard_normal(256 * 60).astype(np.float32)
    whole = np.concatenate([stream.process(signal), stream.flush()])
    stream.reset()
    cuts = np.split(signal, np.cumsum([256, 256 * 9, 100, 156, 512, 256 * 20, 256]))
    assert np.abs(np.concatenate([*map(stream.process, cuts), stream.flush()]) - whole).max() < 1e-5
    one_graph = tmp_path / "one.onnx"
    one_graph.write_bytes(path.read_bytes())
    stream = Stream(OnnxNetwork(one_graph))
    assert np.abs(np.concatenate([*map(stream.process, cuts), stream.flush()]) - whole).max() < 1e-5


def test_a_few_hops_go_one_after_the_other(tmp_path: Path) -> None:
    """Callers send 20 ms, every fourth time two hops: the graph for any number took as long for those as for five."""
    path = export(make("tcn"), make_card("tcn"), tmp_path / "network.onnx")
    stream = Stream(OnnxNetwork(path))
    stream.warm_up()
    path.write_bytes(b"")  # the graph for any number can no longer be opened
    for n_hops in (1, 2, 3, 4):
        assert len(stream.process(np.zeros(256 * n_hops, np.float32))) == 256 * n_hops
    with pytest.raises(QuietmicError, match="load"):
        stream.process(np.zeros(256 * 5, np.float32))


def test_graphs_of_two_networks_are_no_pair(tmp_path: Path) -> None:
    first, second = (export(make("tcn"), make_card("tcn"), tmp_path / f"{i}.onnx") for i in (1, 2))
    OnnxNetwork(first)
    changed = make("tcn")
    with torch.no_grad():
        changed.squeeze.bias += 1
    export(changed, make_card("tcn"), second)
    hop_path(second).replace(hop_path(first))
    with pytest.raises(QuietmicError, match="not of the network"):
        OnnxNetwork(first)
