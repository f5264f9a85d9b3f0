"""What an ONNX file computes has a hash that its card does not change."""

import json
from pathlib import Path

import onnx
from make_models import make_gain

from quietmic.enhance.card import CARD_KEY
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.measure.graph_hash import hash_graph


def with_card(source: Path, path: Path, **changes: object) -> Path:
    """A copy whose card differs."""
    model = onnx.load(source)
    card = json.loads({entry.key: entry.value for entry in model.metadata_props}[CARD_KEY])
    onnx.helper.set_model_props(model, {CARD_KEY: json.dumps(card | changes)})
    onnx.save(model, path)
    return path


def test_figures_in_a_card_change_no_hash_and_other_weights_do(tmp_path: Path) -> None:
    make_gain(tmp_path / "half.onnx", 0.5)
    make_gain(tmp_path / "third.onnx", 1 / 3)
    plain = with_card(tmp_path / "half.onnx", tmp_path / "a.onnx")
    measured = with_card(tmp_path / "half.onnx", tmp_path / "b.onnx", metrics={"1_mics": {"si_sdr": 5.0}})
    assert hash_file(plain) != hash_file(measured)
    assert hash_graph(plain) == hash_graph(measured)
    assert hash_graph(with_card(tmp_path / "third.onnx", tmp_path / "c.onnx")) != hash_graph(plain)


def test_what_is_no_onnx_file_is_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(b"no model at all")
    assert hash_graph(path) == hash_file(path)
    path.write_bytes(b"")
    assert hash_graph(path) == hash_file(path)
