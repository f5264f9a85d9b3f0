"""What a command is made from is never written over, whatever name the output is given."""

from pathlib import Path

import pytest
from corpus import write_corpus
from test_compress_cli import SIZES

from quietmic.cli import main
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.onnxfile import read_card
from quietmic.models.networks.registry import build, save_network
from quietmic.models.publish import check_output


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "network.pt"
    save_network(build("tcn", **SIZES["tcn"]), path)
    return path


def test_export_beside_its_checkpoint_keeps_it(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`export run/network.pt -o run/network.onnx` replaced the run's network.pt by a half-precision copy."""
    before = hash_file(checkpoint)
    arguments = ["export", str(checkpoint), "--name", "tcn-x", "-o"]
    assert main([*arguments, str(checkpoint.with_suffix(".onnx"))]) == 2
    assert "over what it is made from" in capsys.readouterr().err
    assert main([*arguments, str(checkpoint.parent / "y.pt")]) == 2  # gave no ONNX, and exit code 0
    assert "written as .onnx" in capsys.readouterr().err
    assert hash_file(checkpoint) == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["network.pt"]
    assert main([*arguments, str(checkpoint.parent / "tcn-x.onnx")]) == 0
    assert hash_file(checkpoint) == before
    written = ["tcn-x.hop.onnx", "tcn-x.onnx", "tcn-x.pt"]
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["network.pt", *written]


def test_notes_of_export_stand_in_the_card(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "tcn-x.onnx"
    assert main(["export", str(checkpoint), "--name", "tcn-x", "-o", str(out), "--notes", "Not for whispers."]) == 0
    assert read_card(out).notes == "Not for whispers."


def test_compress_keeps_its_parent(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.toml").write_text('[prune]\nmethod = "none"\n')
    before = hash_file(checkpoint)
    arguments = ["compress", "--model", str(checkpoint), "--recipe", str(tmp_path / "recipe.toml"), "-o"]
    assert main([*arguments, str(checkpoint.with_suffix(".onnx"))]) == 2
    assert "over what it is made from" in capsys.readouterr().err
    assert hash_file(checkpoint) == before


def test_every_file_that_a_model_leaves_is_compared_with_every_input(tmp_path: Path) -> None:
    """Under other spellings and links, too."""
    (tmp_path / "below").mkdir()
    for name in ("a.onnx", "b-int8.onnx", "c.pt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.pt").symlink_to(tmp_path / "c.pt")
    inputs = [tmp_path / name for name in ("a.onnx", "b-int8.onnx", "c.pt")]
    for name in ("a.onnx", "below/../a.onnx", "b.onnx", "c.onnx", "d.onnx"):
        with pytest.raises(QuietmicError, match="choose another name"):
            check_output(tmp_path / name, inputs)
    check_output(tmp_path / "e.onnx", inputs)


def test_scenes_do_not_go_where_the_sound_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They replaced the corpus's manifest.csv."""
    speech = write_corpus(tmp_path / "speech", 2, 0)
    noise = write_corpus(tmp_path / "noise", 2, 1)
    for folder in (speech, noise):
        before = (folder / "manifest.csv").read_text()
        code = main(["scenes", "--speech", str(speech), "--noise", str(noise), "-o", str(folder), "--split", "train"])
        assert code == 2
        assert "where the sound comes from" in capsys.readouterr().err
        assert (folder / "manifest.csv").read_text() == before


def test_figures_take_the_place_of_figures_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--csv DATA/manifest.csv` replaced the list of the data set, `--json out.wav` the sound just enhanced."""
    (tmp_path / "noisy").mkdir()
    for name in ("manifest.csv", "index.json", "recipe.toml", "noisy/a.wav", "words.txt"):
        (tmp_path / name).write_text("name\na\n")
    names = ["--csv manifest.csv", "--csv recipe.toml", "--csv noisy/a.wav", "--csv new.wav", "--markdown manifest.csv"]
    names += ["--markdown words.txt", "--json index.json", "--json manifest.csv", "--json new.wav"]
    before = {path: path.read_text() for path in tmp_path.rglob("*.*")}
    for option, name in map(str.split, names):
        assert main(["evaluate", str(tmp_path), option, str(tmp_path / name)]) == 2, name
        assert "figures" in capsys.readouterr().err
    assert {path: path.read_text() for path in tmp_path.rglob("*.*")} == before
