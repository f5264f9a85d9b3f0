"""Weights stored in half precision: the same graph runs and gives the same samples."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from test_networks import FAMILIES, make, make_card

from quietmic.compression.factor.quantize import quantize_onnx
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.onnxfile import read_card
from quietmic.models.export import export, round_to_half
from quietmic.models.half import halve, halved_bytes


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One network written with float32 weights and with half-precision ones."""
    folder = tmp_path_factory.mktemp("pair")
    network, card = round_to_half(make(request.param)), make_card(request.param)
    half = export(network, card, folder / "half.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quietmic.models.export.halve", lambda path: None)
        return export(network, card, folder / "float.onnx"), half


def tensors(path: Path) -> Counter[str]:
    """Bytes of the weights by type."""
    count: Counter[str] = Counter()
    for tensor in onnx.load(path).graph.initializer:
        count[onnx.TensorProto.DataType.Name(tensor.data_type)] += len(onnx.numpy_helper.to_array(tensor).tobytes())
    return count


def optimised(path: Path, folder: Path) -> tuple[list[str], list[tuple[int, ...]]]:
    """Operators that run, and shapes and types of the weights that they read."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimised.onnx").graph
    return [node.op_type for node in graph.node], sorted((t.data_type, *t.dims) for t in graph.initializer)


def run(path: Path) -> np.ndarray:
    network = OnnxNetwork(path)
    noisy = np.random.default_rng(0).normal(size=(1, 2, 257, 20, 2)).astype(np.float32)
    return network.step(noisy, noisy.mean(axis=1), network.initial_state())[0]


def test_what_runs_is_the_graph_with_float_weights(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """No operator more for a hop, no sample different."""
    whole, half = pair
    assert optimised(half, tmp_path) == optimised(whole, tmp_path)
    assert np.array_equal(run(half), run(whole))
    onnx.checker.check_model(str(half))


def test_half_the_bytes_where_no_digit_is_lost(pair: tuple[Path, Path]) -> None:
    """Weights into which a norm was folded are no half-precision numbers, and stay as they are."""
    whole, half = pair
    before, after = tensors(whole), tensors(half)
    assert 2 * after["FLOAT16"] + after["FLOAT"] == before["FLOAT"]
    assert after["FLOAT16"] > 0.2 * before["FLOAT"]
    assert read_card(half) == read_card(whole)


def test_halving_again_changes_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    whole, half = pair
    assert halved_bytes(whole) == halved_bytes(half) == half.stat().st_size
    again = Path(shutil.copy(half, tmp_path / "again.onnx"))
    halve(again)
    assert again.read_bytes() == half.read_bytes()


def test_int8_forms_of_both_are_one(pair: tuple[Path, Path], tmp_path: Path) -> None:
    noisy = np.random.default_rng(1).normal(size=(1, 2, 257, 8, 2)).astype(np.float32)
    state = OnnxNetwork(pair[0]).initial_state()
    outputs = []
    for path in pair:
        target = tmp_path / f"{path.stem}-int8.onnx"
        quantize_onnx(path, target, "static", [{"noisy": noisy, "beam": noisy[:, 0], **state}])
        halve(target)
        outputs.append(run(target))
    assert np.array_equal(*outputs)
    assert not np.array_equal(outputs[0], run(pair[0]))
