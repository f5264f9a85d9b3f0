"""The catalogue of shipped weights."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from quietmic import open_stream
from quietmic.cli import main
from quietmic.enhance import catalogue as catalog
from quietmic.enhance.errors import QuietmicError


@pytest.fixture
def weights(tmp_path: Path, passthrough_model: Path) -> Path:
    path = shutil.copy(passthrough_model, tmp_path / "pass-1.onnx")
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    index = {"default": "passthrough", "models": [{"name": "passthrough", "file": "pass-1.onnx", "sha256": sha256}]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    return tmp_path


def test_models_by_name(weights: Path) -> None:
    assert (
        catalog.find_model("default", weights) == catalog.find_model("passthrough", weights) == weights / "pass-1.onnx"
    )
    (entry,) = catalog.list_models(weights)
    assert (entry.name, entry.is_default, entry.card.max_mics) == ("passthrough", True, 8)
    with pytest.raises(QuietmicError, match="there are: passthrough"):
        catalog.find_model("nonsense", weights)


def test_a_changed_file_is_refused(weights: Path) -> None:
    with (weights / "pass-1.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(QuietmicError, match="SHA-256"):
        catalog.find_model("default", weights)
    (weights / "pass-1.onnx").unlink()
    with pytest.raises(QuietmicError, match="missing"):
        catalog.list_models(weights)


def test_broken_index(weights: Path) -> None:
    (weights / "index.json").write_text('{"models": [{}]}')
    with pytest.raises(QuietmicError, match="no index"):
        catalog.list_models(weights)


def test_no_index_means_no_models(tmp_path: Path) -> None:
    assert catalog.list_models(tmp_path) == []
    with pytest.raises(QuietmicError, match="there are: none"):
        catalog.find_model("default", tmp_path)


def test_models_as_json(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (entry,) = catalog.list_models(weights)
    monkeypatch.setattr(catalog, "list_models", lambda: [entry])
    assert main(["models", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row) == {
        "name", "parameters", "macs_per_second", "bytes", "max_mics", "parent", "recipe", "metrics", "default"
    }  # fmt: skip
    assert (row["name"], row["default"], row["parent"]) == ("passthrough", True, None)
    assert main(["models"]) == 0
    assert "* passthrough" in capsys.readouterr().out


def test_three_lines_of_python(passthrough_model: Path) -> None:
    stream = open_stream(str(passthrough_model), n_mics=2, sample_rate=48000)
    enhanced = stream.process(np.zeros((2, 4800), np.float32))
    assert len(enhanced) + len(stream.flush()) == 4800 + stream.delay


def test_shipped_weights_are_those_of_the_index() -> None:
    entries = catalog.list_models()
    assert sum(entry.is_default for entry in entries) == (1 if entries else 0)
    for entry in entries:
        assert entry.card.name == entry.name
        assert entry.path.stat().st_size <= 30e6
