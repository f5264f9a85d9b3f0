"""Metadata of ONNX files, read without ONNX Runtime and without the package onnx."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
from make_models import make_card, make_passthrough

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.onnxfile import read_card, read_metadata, read_signature


def with_metadata(source: Path, path: Path, metadata: dict[str, str]) -> Path:
    model = onnx.load(source)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_metadata_are_those_that_onnx_reads(passthrough_model: Path, tmp_path: Path) -> None:
    given = {"a": "", "": "empty key", "long": "x" * 100_000, "umlaut": "Gr\u00fc\u00dfe, \u4f60\u597d"}
    path = with_metadata(passthrough_model, tmp_path / "a.onnx", given)
    assert read_metadata(path) == given == {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert read_metadata(with_metadata(passthrough_model, tmp_path / "b.onnx", {})) == {}


def test_the_card_is_the_one_that_the_session_gives(model_folder: Path, tmp_path: Path) -> None:
    for name in ("passthrough", "beam", "counter"):
        assert read_card(model_folder / f"{name}.onnx") == OnnxNetwork(model_folder / f"{name}.onnx").card
    card = make_card("tcn-mine", metrics={"1_mics": {"si_sdr": 1 / 3}}, recipe={"prune": {"criterion": "l1"}})
    assert read_card(make_passthrough(tmp_path / "mine.onnx", card)) == card


def test_what_is_no_model_is_named(model_folder: Path, tmp_path: Path) -> None:
    whole = (model_folder / "counter.onnx").read_bytes()
    for name, content in (("text", b"no model at all"), ("cut", whole[:-100]), ("bytes", bytes(range(256)))):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(QuietmicError, match=rf"{name}\.onnx is no ONNX file, or a damaged one"):
            read_card(path)
    (tmp_path / "empty.onnx").touch()
    for path in (tmp_path / "empty.onnx", model_folder / "bare.onnx"):
        with pytest.raises(QuietmicError, match="has no model card"):
            read_card(path)
    with pytest.raises(QuietmicError, match="no model file"):
        read_card(tmp_path / "none.onnx")


def test_the_signature_is_the_one_that_the_session_gives(model_folder: Path) -> None:
    for name in ("passthrough", "beam", "counter"):
        path = model_folder / f"{name}.onnx"
        session, signature = onnxruntime.InferenceSession(path), read_signature(path)
        assert signature.inputs == {node.name: tuple(node.shape) for node in session.get_inputs()}
        assert signature.outputs == tuple(node.name for node in session.get_outputs())
