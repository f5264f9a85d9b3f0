"""The catalogue of shipped weights."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quietmic import open_stream
from quietmic.cli import main
from quietmic.cli.models import format_models
from quietmic.enhance import catalogue as catalog
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import write
from quietmic.models.export import add_to_index

ROOT = Path(__file__).resolve().parent.parent


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


def test_parents_are_found_by_name_and_not_listed(weights: Path) -> None:
    """They were offered beside models that are smaller and better."""
    index = json.loads((weights / "index.json").read_text())
    index["parents"] = [index["models"][0] | {"name": "parent"}]
    (weights / "index.json").write_text(json.dumps(index))
    assert [entry.name for entry in catalog.list_models(weights)] == ["passthrough"]
    assert catalog.find_model("parent", weights) == weights / "pass-1.onnx"
    for name, part in (("parent", "parents"), ("passthrough", "models")):
        add_to_index(weights / "pass-1.onnx", name)
        index = json.loads((weights / "index.json").read_text())
        assert [model["name"] for model in index[part]] == [name]


def test_a_changed_file_is_refused(weights: Path) -> None:
    with (weights / "pass-1.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(QuietmicError, match="SHA-256"):
        catalog.find_model("default", weights)
    (weights / "pass-1.onnx").unlink()
    with pytest.raises(QuietmicError, match="not installed"):
        catalog.find_model("default", weights)


def test_one_missing_weight_hides_no_other_model(
    weights: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """One listed weight was missing, and `models` and `board` printed an error and none of the others."""
    index = json.loads((weights / "index.json").read_text())
    listed = [{"name": name, "file": f"{name}.onnx", "sha256": "0"} for name in ("absent", "damaged")]
    (weights / "index.json").write_text(json.dumps(index | {"models": [*listed, *index["models"]]}))
    shutil.copy(model_folder / "tenth.onnx", weights / "damaged.onnx")
    found = catalog.read_catalogue(weights)
    assert [entry.name for entry in found.models] == ["passthrough"]
    assert [(model.name, model.is_damaged) for model in found.missing] == [("absent", False), ("damaged", True)]
    assert catalog.SOURCE in found.missing[0].reason
    assert str(weights) in found.missing[0].reason
    assert [entry.name for entry in catalog.list_models(weights)] == ["passthrough"]
    assert [record.args[0] for record in caplog.records if record.args] == [found.missing[1].reason]
    with pytest.raises(QuietmicError, match="absent is not installed"):
        catalog.find_model("absent", weights)
    monkeypatch.setattr(catalog, "read_catalogue", lambda: found)
    assert main(["models", "--json"]) == 0
    output = capsys.readouterr()
    assert [row["name"] for row in json.loads(output.out)] == ["passthrough"]
    assert [line.split()[0] for line in output.err.splitlines()] == ["absent", "damaged"]


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
    found = catalog.read_catalogue(weights)
    monkeypatch.setattr(catalog, "read_catalogue", lambda: found)
    assert main(["models", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row) == {
        "name", "parameters", "macs_per_second", "bytes", "max_mics", "parent", "recipe", "metrics", "default",
        "hop_graph",
    }  # fmt: skip
    assert (row["name"], row["default"], row["parent"]) == ("passthrough", True, None)
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    assert "* passthrough" in told and "slow: no graph for single hops" in told


def test_models_that_are_slow_live_are_told_from_those_that_are_not() -> None:
    """An int8 form without a graph for hops was offered beside tcn-small, and took twice its time in a stream."""
    rows = {row["name"]: row for row in (entry.facts() for entry in catalog.list_models())}
    assert rows["tcn-small"]["hop_graph"] and not rows["fullsubnet-small"]["hop_graph"]
    slow, fast = (format_models([rows[name]]) for name in ("fullsubnet-small", "tcn-small"))
    assert " slow " in slow and "slow" not in fast


def test_what_is_listed_is_the_card_and_the_file(weights: Path) -> None:
    (entry,) = catalog.list_models(weights)
    assert entry.facts()["bytes"] == (weights / "pass-1.onnx").stat().st_size
    assert (entry.facts()["parameters"], entry.card.notes) == (0, "made by the tests")


WITHOUT_ONNX_RUNTIME = """
import sys
sys.modules["onnxruntime"] = None  # importing it raises ImportError
from quietmic.cli import main
sys.exit(main(["models"]))
"""


def test_listing_the_models_opens_none_of_them() -> None:
    """It opened a session for each, three seconds for eight models, to read a few lines of metadata."""
    subprocess.run([sys.executable, "-c", WITHOUT_ONNX_RUNTIME], check=True, cwd=ROOT, capture_output=True)


COUNT = """
import os, sys
opened = []
sys.addaudithook(lambda event, values: event == "open" and opened.append(str(values[0])))
import onnxruntime
class Session(onnxruntime.InferenceSession):
    def __init__(self, path, *arguments, **options):
        opened.append("session")
        super().__init__(path, *arguments, **options)
onnxruntime.InferenceSession = Session
from quietmic.cli import main
code = main(["denoise", *sys.argv[2:], "--model", sys.argv[1]])
print(opened.count("session"), opened.count(os.path.abspath(sys.argv[1])), file=sys.stderr)
sys.exit(code)
"""


def test_a_batch_opens_one_session_and_hashes_its_model_once(passthrough_model: Path, tmp_path: Path) -> None:
    """It opened two sessions and read the model three times for its hash: by name, by hash, and for each worker."""
    for name in ("a", "b"):
        write(tmp_path / f"{name}.wav", np.zeros(16000), 16000)
    arguments = [str(passthrough_model), str(tmp_path), "-o", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, "-c", COUNT, *arguments], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert run.stderr.split() == ["1", "3"], run.stderr  # for the card, for the hash, for what the graph takes


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
