"""What the command `denoise` and the same from Python tell of what cannot be done."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietmic import QuietmicError, cli, denoise_file, open_stream
from quietmic.enhance.files.audio import write
from quietmic.enhance.measure.recordings import find_recordings

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., int]


def tone(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    write(path, 0.1 * np.sin(np.arange(4000, dtype=np.float32))[None], 16000)
    return path


def broken(path: Path) -> Path:
    path.write_bytes(b"RIFF" + bytes(200))
    return path


@pytest.mark.parametrize("n_good", [0, 2])
def test_a_failure_is_told_once_and_again_below_others(
    denoise: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], n_good: int
) -> None:
    """Of a single file both lines stood together."""
    files = [broken(tmp_path / "broken.wav"), *(tone(tmp_path / f"{n}.wav") for n in range(n_good))]
    assert denoise(*files, "-o", tmp_path / "out") == 1
    told = capfd.readouterr()
    assert told.err.count("failed: ") == 1  # where a person looks who sends the lines to a file
    assert told.out.count("failed: ") == (1 if n_good else 0)


def test_the_system_is_quoted_in_words(
    denoise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tone(tmp_path / "a.wav")
    open_any = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == source:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_any(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert denoise(source, "-o", tmp_path / "b.wav") == 1
    assert f"failed: {source}: permission denied\n" in capfd.readouterr().err


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an open one and with one that nobody may look into; root may, so the system is stood in for."""
    tone(tmp_path / "in" / "a.wav")
    tone(tmp_path / "in" / "closed" / "b.wav")
    look = os.scandir

    def scandir(place: str | Path) -> Iterator[os.DirEntry[str]]:
        if Path(place).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return look(place)

    monkeypatch.setattr(os, "scandir", scandir)
    return tmp_path / "in"


def test_a_folder_that_cannot_be_read_is_told(
    denoise: Run, closed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was taken for an empty one: what lay in it was left out without a word, and the exit code was 0."""
    line = f"{closed / 'closed'}: the folder cannot be read: permission denied\n"
    assert denoise(closed, "-o", tmp_path / "out") == 1
    assert f"failed: {line}" in capfd.readouterr().err and (tmp_path / "out" / "a.wav").exists()
    assert denoise(closed / "closed", "-o", tmp_path / "out") == 1
    assert capfd.readouterr().err == f"Error: {line}"
    with pytest.raises(QuietmicError, match="closed: cannot be read: permission denied"):
        find_recordings(closed)  # a part of a set would falsify the means


def test_a_name_that_is_empty_is_not_this_folder(
    denoise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`denoise "$UNSET" -o out` enhanced all that lay in the folder where it was called."""
    monkeypatch.chdir(tmp_path)
    tone(tmp_path / "a.wav")
    for arguments in (["", "-o", "out"], ["a.wav", "-o", ""]):
        assert denoise(*arguments) == 2
        assert capfd.readouterr().err == "Error: the name of a file or folder is empty\n"
    with pytest.raises(QuietmicError, match="empty"):
        denoise_file("", "out/a.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_what_no_file_can_have_is_wrong_use(denoise: Run, tmp_path: Path, passthrough_model: Path) -> None:
    """It was found with each file anew, as work that failed."""
    source, model = tone(tmp_path / "a.wav"), str(passthrough_model)
    assert denoise(source, "-o", tmp_path / "out", "--attenuation-limit", "nan") == 2
    wrong: list[dict[str, Any]] = [
        {"attenuation_limit_db": -1.0}, {"band": "wide"}, {"channels": ()}, {"channels": (-1,)}, {"stereo": "both"},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(QuietmicError, match=next(iter(options)).rstrip("s")) as caught:
            denoise_file(source, tmp_path / "b.wav", model, **options)
        assert caught.value.exit_code == 2
    with pytest.raises(QuietmicError, match="a folder, and not a file"):
        denoise_file(tmp_path, tmp_path / "b.wav", model)


@pytest.mark.skipif(os.name == "nt", reason="pipes as Unix has them")
def test_a_reader_that_ends_is_told_in_words(tmp_path: Path, passthrough_model: Path) -> None:
    source = tone(tmp_path / "a.wav")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "app.py", "denoise", str(source), "-o", "-", "--model", str(passthrough_model)]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"failed: {source}: standard output: cannot be written: broken pipe"


@pytest.mark.parametrize("limit_db", [-1.0, float("nan"), "12"])
def test_a_limit_that_cannot_be_is_refused_while_it_runs(passthrough_model: Path, limit_db: Any) -> None:
    """It was taken, and the next block came out wrong or failed with an error of Python's."""
    stream = open_stream(str(passthrough_model), attenuation_limit_db=6)
    with pytest.raises(QuietmicError, match="must be 0 or more"):
        stream.attenuation_limit_db = limit_db
    assert stream.attenuation_limit_db == 6


def test_a_panel_that_cannot_listen_says_what_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra panel")
    arguments = ["panel", "--no-browser", "--host", "192.0.2.1", "--token", "x" * 12]  # an address for examples
    assert cli.main(arguments) == 1
    assert "name an address of this machine" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--model", "nope"], ["--array", "nope"]])
def test_a_panel_does_not_offer_what_is_not_there(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It was told when a page began a run."""
    pytest.importorskip("uvicorn", reason="needs the extra panel")
    assert cli.main(["panel", "--no-browser", "--port", "0", *wrong]) == 2
    assert "'nope'; there are" in capsys.readouterr().err
