"""The int8 form of a model with a graph for hops has one, too, and streams run it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from test_networks import make, make_card

from quietmic.compression.enhancer.make import write_int8
from quietmic.enhance.network import OnnxNetwork, hop_path
from quietmic.enhance.stream import Stream
from quietmic.models.export import export


@pytest.mark.parametrize(("family", "operator"), [("fullsubnet", "DynamicQuantizeLSTM"), ("tcn", "MatMulInteger")])
def test_hops_of_an_int8_model_are_in_int8(family: str, operator: str, tmp_path: Path) -> None:
    source, target = tmp_path / "whole.onnx", tmp_path / "whole-int8.onnx"
    export(make(family), make_card(family), source)
    write_int8(source, target, "dynamic")
    kinds = Counter(node.op_type for node in onnx.load(hop_path(target)).graph.node)
    assert kinds[operator] >= 2
    assert OnnxNetwork(target).card.name == f"{family}-int8"
    signal = 0.1 * np.random.default_rng(0).standard_normal(256 * 40).astype(np.float32)
    outputs = []
    for path in (source, target):
        stream = Stream(OnnxNetwork(path))
        outputs.append(np.concatenate([stream.process(signal[s : s + 256]) for s in range(0, len(signal), 256)]))
    error = outputs[1] - outputs[0]
    assert 0 < np.sum(error**2) < 0.01 * np.sum(outputs[0] ** 2)
