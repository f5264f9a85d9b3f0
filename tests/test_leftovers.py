"""Nothing half written, nothing left running, no name that ends a batch."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from quietmic import cli
from quietmic.enhance.files.audio import read, write
from quietmic.enhance.files.batch import FileJob, Options
from quietmic.enhance.files.parts import PartFile, remove_parts
from quietmic.enhance.files.run import Batch, BatchOptions, run_batch

ROOT = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


def sound(n_samples: int = 30_011) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((1, n_samples))).astype(np.float32)


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "app.py", "denoise", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, **options)  # type: ignore[call-overload]


def children(process: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: object, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    """Ended by the system, `denoise --jobs 2` left workers that waited for ever, and half a file of each."""
    for name in "ab":  # so long, and by a real model, that both are at work at once, however fast the machine
        write(tmp_path / "in" / f"{name}.wav", sound(16_000 * 1200), 16000)
    out = tmp_path / "out"
    program = start(tmp_path / "in", "-o", out, "--jobs", 2, "--model", "tcn-small")
    assert wait_for(lambda: out.exists() and len(list(out.glob(".*.part.wav"))) == 2)
    below = children(program.pid)
    assert len(below) >= 2
    program.send_signal(number)
    program.communicate(timeout=60)
    assert program.returncode == (143 if number == signal.SIGTERM else -number)
    assert wait_for(lambda: not any(map(is_running, below)), 30)
    assert wait_for(lambda: not list(out.glob(".*")), 10)


@linux
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, passthrough_model: Path) -> None:
    """Compressed outputs met the full disk at their end: they were renamed into place, short, as "enhanced"."""
    for name in ("a.flac", "a.ogg", "a.mp3", "a.wav"):
        write(tmp_path / name, sound(160_000), 16000)
        limit = (tmp_path / name).stat().st_size // 2

        def limited(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        program = start(tmp_path / name, "-o", tmp_path / "out", "--model", passthrough_model, preexec_fn=limited)
        _, errors = program.communicate(timeout=60)
        assert program.returncode == 1
        assert "cannot be written: file too large" in errors
        assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_came_short_onto_the_disk_is_no_result(
    tmp_path: Path, passthrough_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that takes the bytes and loses them: the part is opened before it gets its name."""
    write(tmp_path / "a.flac", sound(), 16000)

    def cut(part: object, *arguments: object) -> list[str]:
        part.truncate(os.fstat(part.fileno()).st_size // 2)  # type: ignore[attr-defined]
        return []

    monkeypatch.setattr("quietmic.enhance.files.writer.write_count_of_fact", cut)
    (tmp_path / "in").mkdir()
    os.replace(tmp_path / "a.flac", tmp_path / "in" / "a.flac")
    code = cli.main(
        ["denoise", str(tmp_path / "in" / "a.flac"), "-o", str(tmp_path / "b.wav"), "--model", str(passthrough_model)]
    )
    assert code == 1
    assert "samples came onto the disk" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_parts_of_another_run_stay_and_those_of_a_dead_one_go(tmp_path: Path) -> None:
    """Two runs on one output folder deleted each other's parts."""
    target = tmp_path / "a.wav"
    part = PartFile(target)
    remove_parts(target)
    assert part.path.exists()
    code = (
        "import os; from pathlib import Path; from quietmic.enhance.files.parts import PartFile; "
        f"PartFile(Path({str(target)!r})); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert len(list(tmp_path.iterdir())) == 2
    remove_parts(target)
    assert list(tmp_path.iterdir()) == [part.path]
    remove_parts(tmp_path / "b.wav")
    part.file.write(b"sound")
    part.commit()
    assert target.read_bytes() == b"sound"


def test_a_folder_is_listed_once_however_many_files_go_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each of them: 20,000 files into a folder that held as many waited for twelve minutes."""
    targets = [tmp_path / folder / f"{number}.wav" for folder in ("a", "b", "none") for number in range(40)]
    for target in targets[:80]:
        part = PartFile(target)
        part.file.close()
    listed: list[Path] = []
    for name in ("listdir", "scandir"):
        lister = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path, lister=lister: listed.append(Path(path)) or lister(path))
    jobs = [FileJob(tmp_path / "in.wav", target, Options(tmp_path / "none.onnx")) for target in targets]
    results = list(run_batch(Batch("none", jobs, [], None, BatchOptions())))
    assert len(results) == 120
    assert sorted(listed) == [tmp_path / "a", tmp_path / "b", tmp_path / "none"]
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.wav"))


def test_two_runs_on_one_folder(tmp_path: Path, passthrough_model: Path) -> None:
    for name in "abcdef":
        write(tmp_path / "in" / f"{name}.flac", sound(160_000), 16000)
    runs = [
        start(tmp_path / "in", "-o", tmp_path / "out", "--overwrite", "--model", passthrough_model) for _ in range(2)
    ]
    for program in runs:
        assert "0 failed" in program.communicate(timeout=120)[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.flac" for name in "abcdef"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_names_that_the_terminal_cannot_print(tmp_path: Path, passthrough_model: Path, encoding: str) -> None:
    """The batch ended with a traceback, the files behind undone."""
    for name in ("\u5f55\u97f3.wav", "z\U0001f600.wav", "zz.wav"):
        write(tmp_path / "in" / name, sound(), 16000)
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    arguments = [tmp_path / "in", "-o", tmp_path / "out", "--model", passthrough_model]
    program = start(*arguments, "--json", env=environment)
    output, errors = program.communicate(timeout=60)
    assert program.returncode == 0, errors
    assert r"\u5f55\u97f3.wav" in errors
    assert '"enhanced": 3' in output
    assert len(list((tmp_path / "out").iterdir())) == 3


@linux
def test_names_that_are_no_text(tmp_path: Path, passthrough_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.wav", sound(), 16000)
    (tmp_path / "in").mkdir()
    for ending in (b"wav", b"flac"):
        write(tmp_path / f"a.{ending.decode()}", sound(), 16000)
        os.rename(tmp_path / f"a.{ending.decode()}", os.fsencode(tmp_path / "in") + b"/b\xff\xe9." + ending)
    arguments = ["denoise", "in", "-o", "out", "--resume", "--json", "a.json", "--model", str(passthrough_model)]
    assert cli.main(arguments) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2
    for path in (tmp_path / "out").iterdir():
        assert read(path)[0].shape == (1, 30_011)
    assert cli.main(arguments) == 0


@pytest.mark.parametrize("n_bytes", [238, 240, 255])
def test_names_as_long_as_the_system_allows(tmp_path: Path, passthrough_model: Path, n_bytes: int) -> None:
    name = "n" * (n_bytes - 4) + ".wav"
    write(tmp_path / "a.wav", sound(), 16000)
    (tmp_path / "in").mkdir()
    os.replace(tmp_path / "a.wav", tmp_path / "in" / name)
    assert (
        cli.main(["denoise", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(passthrough_model)]) == 0
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
