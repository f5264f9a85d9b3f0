"""Batches on real schedulers and workers, processes on loopback."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cluster_jobs import Number, double, enhance_or_die, enhance_slowly, fail_at_seven, loaded_sessions
from cluster_processes import ROOT, DaskProcesses, make_certificates
from reports_fixtures import write_pairs
from test_leftovers import children, is_running, wait_for

from quietmic import cli
from quietmic.enhance.cluster.connect import Cluster, choose_cluster
from quietmic.enhance.cluster.distribute import LOOK_AHEAD, WINDOW, run_on_cluster
from quietmic.enhance.cluster.order import longest_first
from quietmic.enhance.cluster.remote import Needs, find_weights, needs_of, run_checked
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import run as command
from quietmic.enhance.files.audio import read, write
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.measure.quality import EvaluationOptions, evaluate
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.measure.systems import model_system


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    with DaskProcesses(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals are kept in the current folder."""
    monkeypatch.chdir(tmp_path)


def make_files(folder: Path, n_files: int, n_samples: int = 16000) -> Path:
    rng = np.random.default_rng(0)
    for i in range(n_files):
        write(folder / f"{i:03d}.wav", 0.1 * rng.standard_normal((1, n_samples + 16 * i)), 16000)
    return folder


def denoise(model: Path, folder: Path, out: str, *options: str) -> int:
    return cli.main(["denoise", str(folder), "-o", out, "--model", str(model), *options])


def same_folders(first: Path, second: Path) -> bool:
    """Equal names, hidden ones included, and equal bytes."""
    names = sorted(path.name for path in first.iterdir())
    return names == sorted(path.name for path in second.iterdir()) and all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in names
    )


def worker_processes(processes: DaskProcesses) -> dict[str, int]:
    """Address and process of every worker."""
    from distributed import Client

    with Client(processes.address, set_as_default=False) as client:
        return client.run(os.getpid)


def kill_workers(processes: DaskProcesses, n_deaths: int, stop: threading.Event, pause_s: float = 1.0) -> list[int]:
    """SIGKILL to one worker after the other while a batch runs; gives the processes killed."""
    from distributed import Client

    killed: list[int] = []
    with Client(processes.address, set_as_default=False) as client:
        while len(killed) < n_deaths and not stop.is_set():
            alive = [pid for pid in client.run(os.getpid, on_error="ignore").values() if pid not in killed]
            if alive:
                os.kill(alive[len(killed) % len(alive)], signal.SIGKILL)
                killed.append(alive[len(killed) % len(alive)])
            stop.wait(pause_s)
    return killed


def test_the_longest_of_the_next_few_goes_first() -> None:
    assert list(longest_first(iter([1, 5, 2, 9, 3]), float, 3)) == [5, 9, 3, 2, 1]
    assert list(longest_first(iter([]), float, 3)) == []


def test_a_cluster_gives_what_processes_give_with_one_session_per_worker(
    processes: DaskProcesses, model_folder: Path, tmp_path: Path
) -> None:
    from distributed import Client

    model = model_folder / "counter.onnx"
    folder = make_files(tmp_path / "in", 12)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    assert denoise(model, folder, "one") == 1
    assert denoise(model, Path("in"), "many", "--cluster", processes.address) == 1
    assert same_folders(tmp_path / "one", tmp_path / "many")
    with Client(processes.address, set_as_default=False) as client:
        assert {misses for _, misses in client.run(loaded_sessions).values()} <= {0, 1}


def test_jobs_are_handed_out_in_a_window_and_errors_come_through(processes: DaskProcesses) -> None:
    handed_out, most, n_results = 0, 0, 0

    def jobs() -> Iterator[Number]:
        nonlocal handed_out, most
        for value in range(500):
            handed_out += 1
            most = max(most, handed_out - n_results)
            yield Number(value)

    results = {}
    cluster = Cluster(processes.address)
    for job, result in run_on_cluster(double, jobs(), cluster, size=lambda job: job.value):
        results[job.value] = result
        n_results += 1
    assert results == {value: 2 * value for value in range(500)}
    assert most <= 2 * (WINDOW + LOOK_AHEAD) + 2 * WINDOW
    with pytest.raises(ValueError, match="seven"):
        list(run_on_cluster(fail_at_seven, map(Number, range(20)), cluster))


def test_a_file_that_kills_three_workers_fails_alone(
    processes: DaskProcesses, passthrough_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = make_files(tmp_path / "in", 10)
    assert denoise(passthrough_model, folder, "good") == 0
    write(folder / "poison.wav", np.zeros((1, 20_000)), 16000)
    monkeypatch.setattr(command, "enhance_file", enhance_or_die)
    assert denoise(passthrough_model, folder, "out", "--cluster", processes.address) == 1
    assert "poison.wav: its worker process died 3 times" in capsys.readouterr().err
    assert same_folders(tmp_path / "good", tmp_path / "out")
    assert (tmp_path / "deaths").read_text() == "xxx"


@pytest.mark.parametrize(
    ("n_files", "n_deaths"), [(30, 2), pytest.param(500, 20, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_killed_workers_lose_nothing(
    processes: DaskProcesses, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    n_files: int, n_deaths: int,
) -> None:  # fmt: skip
    model = model_folder / "counter.onnx"
    folder = make_files(tmp_path / "in", n_files)
    assert denoise(model, folder, "good") == 0
    monkeypatch.setattr(command, "enhance_file", enhance_slowly)
    stop, killed = threading.Event(), []
    killer = threading.Thread(target=lambda: killed.extend(kill_workers(processes, n_deaths, stop)))
    killer.start()
    try:
        assert denoise(model, folder, "out", "--cluster", processes.address) == 0
    finally:
        stop.set()
        killer.join()
    assert len(killed) == n_deaths
    assert same_folders(tmp_path / "good", tmp_path / "out")


def test_a_lost_scheduler_ends_the_batch_and_resume_goes_on(
    passthrough_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files(tmp_path / "in", 24)
    monkeypatch.setattr(command, "enhance_file", enhance_slowly)
    with DaskProcesses(tmp_path, 1) as started:

        def end_scheduler() -> None:
            while len(list((tmp_path / "out").glob("*.wav"))) < 5 and not stop.is_set():
                time.sleep(0.02)
            started.end_scheduler()

        stop, killer = threading.Event(), threading.Thread(target=end_scheduler)
        killer.start()
        options = ("--cluster", started.address)
        code = denoise(passthrough_model, folder, "out", *options)
        stop.set()
        killer.join()
        assert code == 1
        assert "was lost; the same command goes on" in capsys.readouterr().err
        made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.wav")}
        assert 5 <= len(made) < 24
        changed = sorted(made)[0]
        write(folder / changed, np.zeros((1, 8000)), 16000)
        started.start_scheduler()
        started.start_worker()
        assert denoise(passthrough_model, folder, "out", *options, "--resume") == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert len(after) == 24
    kept = [name for name in made if after[name] == made[name]]
    assert changed not in kept
    assert len(kept) >= len(made) - 1 - WINDOW  # those that ended after the last result that came through
    assert read(tmp_path / "out" / changed)[0].shape == (1, 8000)


def test_a_worker_with_other_code_takes_no_work(
    processes: DaskProcesses, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    for package in ("quietmic", "enhance", "models", "compression"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("*.onnx", "*.pt"))
    shutil.copy(ROOT / "pyproject.toml", other)
    (other / "enhance" / "extra.py").write_text('"""Another version."""\n')
    with DaskProcesses(tmp_path, 0) as started:
        started.start_worker(other)
        with pytest.raises(QuietmicError, match="no worker may take the work: its quietmic is version"):
            list(run_on_cluster(double, map(Number, range(9)), Cluster(started.address)))
        assert caplog.text.count("takes no work") == 1
        started.start_worker()
        while len(worker_processes(started)) < 2:
            time.sleep(0.05)
        results = run_on_cluster(double, map(Number, range(40)), Cluster(started.address))
        assert {job.value: value for job, value in results} == {value: 2 * value for value in range(40)}


def test_an_evaluation_on_a_cluster_gives_the_same_figures(
    processes: DaskProcesses, passthrough_model: Path, tmp_path: Path
) -> None:
    scenes = find_recordings(write_pairs(tmp_path / "scenes", n_scenes=2))
    systems = [model_system(str(passthrough_model))]
    here = evaluate(scenes, systems, EvaluationOptions(cache=tmp_path / "a"))
    there = evaluate(scenes, systems, EvaluationOptions(cache=tmp_path / "b", cluster=Cluster(processes.address)))
    assert len(here["rows"]) == 4
    for row, other in zip(here["rows"], there["rows"], strict=True):
        assert (row["scene"], row["system"]) == (other["scene"], other["system"])
        for name in ("si_sdr", "stoi", "pesq_wb", "ovrl"):
            assert row[name] == pytest.approx(other[name], rel=1e-9)


def test_weights_are_found_by_their_hash(model_folder: Path, tmp_path: Path) -> None:
    wanted = hash_file(model_folder / "tenth.onnx")
    assert find_weights(model_folder / "tenth.onnx", wanted) == model_folder / "tenth.onnx"
    with pytest.raises(QuietmicError, match=r"it has no gone\.onnx; wanted is SHA-256"):
        find_weights(tmp_path / "gone.onnx", wanted)
    with pytest.raises(QuietmicError, match=r"its beam\.onnx has SHA-256"):
        find_weights(model_folder / "beam.onnx", wanted)
    assert run_checked(double, Number(4), needs_of([model_folder / "tenth.onnx"])) == 8
    assert needs_of([]) == Needs(needs_of([]).code)


def test_a_local_cluster_ends_with_the_command(passthrough_model: Path, tmp_path: Path) -> None:
    make_files(tmp_path / "in", 4)
    arguments = ["denoise", "in", "-o", "out", "--model", str(passthrough_model), "--cluster", "local", "--jobs", "2"]
    run = subprocess.run([sys.executable, str(ROOT / "app.py"), *arguments], capture_output=True, text=True, check=True)
    assert "4 enhanced, 0 skipped, 0 failed" in run.stdout
    assert run.stderr == ""
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.slow  # what is interrupted must not be over before
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ended_local_cluster_leaves_no_worker_and_no_half_file(
    passthrough_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Workers ended with the command, but what they had half written stayed until the next run."""
    make_files(tmp_path / "in", 3, 16_000 * 600)
    arguments = ["denoise", "in", "-o", "out", "--model", str(passthrough_model), "--cluster", "local", "--jobs", "2"]
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, str(ROOT / "app.py"), *arguments], stderr=subprocess.PIPE) as run:
        assert wait_for(lambda: len(list(out.glob(".*.part.wav"))) == 2)
        below = children(run.pid)
        assert len(below) >= 2
        run.send_signal(number)
        run.communicate(timeout=60)
    assert run.returncode == (143 if number == signal.SIGTERM else 1)
    assert wait_for(lambda: not any(map(is_running, below)), 10)  # they hear of it a moment later
    assert not list(out.glob(".*"))


def test_no_scheduler_and_wrong_use(
    passthrough_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("quietmic.enhance.cluster.connect.CONNECT_S", 0.5)
    folder = make_files(tmp_path / "in", 1)
    assert denoise(passthrough_model, folder, "out", "--cluster", "tcp://127.0.0.1:9") == 1
    assert "no scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
    assert denoise(passthrough_model, folder, "out", "--cluster", "tls://127.0.0.1:9") == 2
    assert "needs an authority, a certificate and a key; give --tls-ca" in capsys.readouterr().err
    assert denoise(passthrough_model, folder, "out", "--tls-ca", str(folder / "000.wav")) == 2
    assert "TLS files need the address of a cluster; name it with --cluster" in capsys.readouterr().err
    for address, warned in [
        ("tcp://10.0.0.5:8786", True), ("10.0.0.5:8786", True), ("localhost:8786", False),
        ("tcp://127.0.0.1:1", False), ("local", False),
    ]:  # fmt: skip
        caplog.clear()
        assert choose_cluster(address, 1) is not None
        assert ([record.levelname for record in caplog.records] == ["WARNING"]) == warned
    assert choose_cluster(None, 1) is None


WITHOUT_CLUSTER = """
import sys
sys.path.insert(0, sys.argv[1])
from quietmic import cli
assert cli.main(["denoise", sys.argv[2], "-o", "out.wav", "--model", sys.argv[3]]) == 0
assert not {"dask", "distributed", "fsspec"} & set(sys.modules)
"""


def test_dask_is_not_imported_without_a_cluster(passthrough_model: Path, tmp_path: Path) -> None:
    make_files(tmp_path / "in", 1)
    arguments = [str(ROOT), str(tmp_path / "in" / "000.wav"), str(passthrough_model)]
    subprocess.run([sys.executable, "-c", WITHOUT_CLUSTER, *arguments], check=True, capture_output=True)


def test_tls_with_certificates_of_our_own(
    passthrough_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, cert, key = make_certificates(tmp_path)
    make_files(tmp_path / "in", 4)
    with DaskProcesses(tmp_path, 1, tls=(ca, cert, key)) as started:
        options = ["--cluster", started.address, "--tls-ca", str(ca), "--tls-cert", str(cert), "--tls-key", str(key)]
        assert denoise(passthrough_model, Path("in"), "out", *options) == 0
        assert len(list((tmp_path / "out").iterdir())) == 4
        monkeypatch.setattr("quietmic.enhance.cluster.connect.CONNECT_S", 1)
        plain = f"tcp://127.0.0.1:{started.port}"
        assert denoise(passthrough_model, Path("in"), "other", "--cluster", plain) == 1
