"""Batches among links that lead in circles, devices, and journals that cannot be used."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quietmic import cli
from quietmic.enhance.files.audio import write

Run = Callable[..., tuple[int, str]]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal((1, 4000)), 16000)
    return tmp_path


@pytest.fixture
def run(passthrough_model: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def denoise(*arguments: str) -> tuple[int, str]:
        code = cli.main(["denoise", *arguments, "--model", str(passthrough_model)])
        return code, " ".join("".join(capsys.readouterr()).split())

    return denoise


def test_a_link_to_itself_is_named_or_replaced(run: Run, here: Path) -> None:
    """Python's own lines came, and nothing of the batch was done."""
    (here / "loop").symlink_to("loop")
    assert run("loop", "-o", "b.wav") == (2, "Error: loop is a link that leads nowhere")
    (here / "out").mkdir()
    (here / "out" / "a.wav").symlink_to("a.wav")
    assert run("a.wav", "-o", "out", "--overwrite")[0] == 0
    assert (here / "out" / "a.wav").is_file() and not (here / "out" / "a.wav").is_symlink()
    code, told = run("a.wav", "-o", "loop/b.wav")
    assert code == 1 and "loop" in told and "Traceback" not in told


def test_a_pattern_over_a_link_that_leads_up_finds_each_file_once(run: Run, here: Path) -> None:
    (here / "deep").mkdir()
    (here / "deep" / "up").symlink_to("..")
    assert run("**/*.wav", "-o", "out", "--json", "told.json")[0] == 0
    assert len(json.loads((here / "told.json").read_text())["files"]) == 1


def test_a_pipe_or_a_device_is_told_as_what_it_is(run: Run, here: Path) -> None:
    os.mkfifo(here / "pipe")
    write(here / "b.wav", np.zeros((1, 100)), 16000)
    code, told = run("pipe", "-o", "b.wav")
    assert code == 2 and "pipe is neither a file nor a folder" in told
    code, told = run("a.wav", "-o", "/dev/null")
    assert code == 2 and "/dev/null is a device or a pipe" in told


def test_a_journal_that_cannot_be_written_stops_nothing(run: Run, here: Path) -> None:
    """The batch ended behind the first file, with "file exists"."""
    (here / ".quietmic").write_text("no folder")
    write(here / "b.wav", np.zeros((1, 100)), 16000)
    code, told = run("a.wav", "b.wav", "-o", "out", "--resume")
    assert code == 0 and (here / "out" / "b.wav").is_file()
    assert told.count("cannot be noted in .quietmic") == 2


def test_a_damaged_journal_is_read_as_far_as_it_goes(run: Run, here: Path) -> None:
    assert run("a.wav", "-o", "out", "--resume")[0] == 0
    (journal,) = (here / ".quietmic").glob("*.jsonl")
    journal.write_bytes(b'5\n\xff\xfe\n["x"]\n["y", 3]\n' + journal.read_bytes() + b"\n[[1], {}]\n")
    done = (here / "out" / "a.wav").stat().st_mtime_ns
    assert run("a.wav", "-o", "out", "--resume")[0] == 0
    assert (here / "out" / "a.wav").stat().st_mtime_ns == done
