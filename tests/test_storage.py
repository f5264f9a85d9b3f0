"""Files in storage: memory, and an S3 server on loopback whose connections are cut."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from cluster_processes import DaskProcesses
from fsspec.implementations.memory import MemoryFile

from quietmic import cli
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import AudioReader, write
from quietmic.enhance.files.storage import Url, find_location, stamp
from quietmic.enhance.measure.records import write_record


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_files(folder: Path, n_files: int, n_samples: int = 8000) -> Path:
    rng = np.random.default_rng(0)
    for i in range(n_files):
        suffix = ("wav", "flac", "ogg")[i % 3]
        write(folder / f"{i % 2}" / f"{i:03d}.{suffix}", 0.1 * rng.standard_normal((1, n_samples)), 16000)
    return folder


def denoise(model: Path, *arguments: str) -> int:
    return cli.main(["denoise", *arguments, "--model", str(model)])


def assert_same(folder: Path, url: str) -> None:
    """The names below both are the same, and so are the bytes; Ogg pages carry a random number."""
    system, path = fsspec.url_to_fs(url)
    system.invalidate_cache()
    there = {name.removeprefix(path).lstrip("/"): name for name in system.find(path)}
    here = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.*")}
    assert set(there) == set(here)
    for name, file in here.items():
        if file.suffix == ".ogg":
            assert len(system.cat_file(there[name])) == file.stat().st_size
        else:
            assert system.cat_file(there[name]) == file.read_bytes(), name


def test_names() -> None:
    assert find_location("file:///a/b.wav") == Path("/a/b.wav")
    assert find_location("a/b") == Path("a/b")
    url = find_location("s3://bucket/a/")
    assert isinstance(url, Url)
    assert (url / "b.c.wav", (url / "b.c.wav").name, (url / "b.c.wav").suffix) == (
        "s3://bucket/a/b.c.wav",
        "b.c.wav",
        ".wav",
    )
    with pytest.raises(QuietmicError, match="nonsense://x"):
        Url("nonsense://x").exists()


def test_memory_and_files_as_urls(passthrough_model: Path, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "in", 6)
    assert denoise(passthrough_model, str(folder), "-o", "here") == 0
    fsspec.filesystem("memory").put(f"{folder}/", "/store/in/", recursive=True)
    assert denoise(passthrough_model, "memory://store/in", "-o", "memory://store/out") == 0
    assert_same(tmp_path / "here", "memory://store/out")
    assert denoise(passthrough_model, f"file://{folder}", "-o", f"file://{tmp_path}/there") == 0
    assert_same(tmp_path / "here", f"file://{tmp_path}/there")
    assert denoise(passthrough_model, "memory://store/in/0/*.wav", "-o", "picked") == 0
    assert [path.name for path in Path("picked").iterdir()] == ["000.wav"]
    assert denoise(passthrough_model, "memory://store/in/0/000.wav", "-o", "memory://store/one.flac") == 0
    assert fsspec.filesystem("memory").cat_file("/store/one.flac")[:4] == b"fLaC"
    assert denoise(passthrough_model, "memory://store/nothing", "-o", "x") == 2


def test_an_output_that_fails_does_not_appear(
    passthrough_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path / "in", 1)
    system = fsspec.filesystem("memory")

    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no more room")

    monkeypatch.setattr(type(system), "put_file", fail)
    assert denoise(passthrough_model, "in", "-o", "memory://full") == 1
    assert system.find("/full") == []


def test_a_broken_connection_is_not_the_end_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav", np.zeros((1, 100_000)), 16000)
    fsspec.filesystem("memory").put_file(str(tmp_path / "a.wav"), "/a.wav")
    with AudioReader(Url("memory://a.wav")) as reader:
        blocks = reader.blocks(4096)
        next(blocks)

        def fail(file: MemoryFile, n_bytes: int) -> bytes:
            raise OSError("cable cut")

        monkeypatch.setattr(MemoryFile, "read", fail)
        with pytest.raises(QuietmicError, match="the connection failed: cable cut"):
            list(blocks)


class Cutter:
    """A proxy before a server; `cut` closes all its connections and refuses new ones until `mend`.

    It cuts by itself at the upload number `cut_at_put`; 0 for never.
    """

    def __init__(self, port: int) -> None:
        self.target, self.broken, self.n_puts, self.cut_at_put = port, False, 0, 0
        self.open: list[socket.socket] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            if self.broken:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.n_puts += data.startswith(b"PUT /bucket/out")
                if 0 < self.cut_at_put == self.n_puts:
                    self.cut()
                sink.sendall(data)
        for end in (source, sink):
            end.close()

    def cut(self) -> None:
        self.broken, self.cut_at_put = True, 0
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def mend(self) -> None:
        self.broken = False


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutter]:
    """A server of the S3 protocol with a bucket, reached through a proxy."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    cutter = Cutter(server.get_host_and_port()[1])
    urllib.request.urlopen(f"http://127.0.0.1:{cutter.port}/moto-api/reset", data=b"")
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{cutter.port}", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "2",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("bucket")
    yield cutter
    cutter.socket.close()
    server.stop()


@pytest.mark.parametrize("n_files", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_s3_with_the_connection_cut_in_between(
    s3: Cutter, passthrough_model: Path, tmp_path: Path, n_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_files(tmp_path / "in", n_files)
    assert denoise(passthrough_model, str(folder), "-o", "here") == 0
    system = fsspec.filesystem("s3")
    system.put(f"{folder}/", "bucket/in/", recursive=True)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    s3.cut_at_put = n_files - 3
    arguments = ["s3://bucket/in", "-o", "s3://bucket/out", "--resume"]
    assert denoise(passthrough_model, *arguments) == 1
    s3.mend()
    system.invalidate_cache()
    assert len(system.find("bucket/out")) == n_files - 4
    assert denoise(passthrough_model, *arguments) == 0
    assert_same(tmp_path / "here", "s3://bucket/out")


def test_s3_on_a_cluster(s3: Cutter, passthrough_model: Path, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "in", 6)
    assert denoise(passthrough_model, str(folder), "-o", "here") == 0
    fsspec.filesystem("s3").put(f"{folder}/", "bucket/in/", recursive=True)
    with DaskProcesses(tmp_path, 1) as started:
        assert denoise(passthrough_model, "s3://bucket/in", "-o", "s3://bucket/out", "--cluster", started.address) == 0
    assert_same(tmp_path / "here", "s3://bucket/out")
    assert stamp(Url("s3://bucket/out/0/000.wav"))[0] == 16044


def test_an_endpoint_that_is_down_is_one_line(
    passthrough_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was a traceback of 168 lines."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    fsspec.filesystem("s3").clear_instance_cache()
    write(tmp_path / "a.wav", np.zeros((1, 1000)), 16000)
    for arguments in (["s3://bucket/in", "-o", "out"], ["a.wav", "-o", "s3://bucket/out"]):
        assert denoise(passthrough_model, *arguments) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
        assert f"127.0.0.1:{port}" in line
        assert "AWS_ENDPOINT_URL" in line
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.parametrize("out", ["out", "memory://safe/out"])
@pytest.mark.parametrize("key", ["../../../evil.wav", "/tmp/evil.wav", "a/../../evil.wav", "..", "../out2/evil.wav"])
def test_no_key_leads_out_of_the_output(
    passthrough_model: Path, tmp_path: Path, key: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An object named in/../../../evil.wav landed outside the output folder; the others are enhanced all the same."""
    write(tmp_path / "good.wav", np.zeros((1, 1000)), 16000)
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name in (key, "good.wav"):
        system.pipe_file(f"/bucket/in/{name}", (tmp_path / "good.wav").read_bytes())
    before = set(tmp_path.parent.rglob("*"))
    code = denoise(passthrough_model, "memory://bucket/in", "-o", out)
    lines = capsys.readouterr()
    if key == "..":
        assert "skipped" in lines.out
    elif not (key.startswith("/") and "://" in out):  # a key may begin with a slash: it is still below
        assert code == 1
        assert "its name leads out of" in lines.err
    new = {path.relative_to(tmp_path).as_posix() for path in set(tmp_path.parent.rglob("*")) - before}
    assert new == ({"out", "out/good.wav"} if out == "out" else set())
    written = [name for name in system.store if not name.startswith("/bucket/in/")]
    assert all(name.startswith("/safe/out/") and ".." not in name for name in written)


def test_links_in_the_output_lead_nowhere(
    passthrough_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of the output that is a link to elsewhere is not written through; a file that is one is replaced."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own.wav").write_text("precious")
    for name in ("in/sub/a.wav", "in/b.wav"):
        write(tmp_path / name, np.zeros((1, 1000)), 16000)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(elsewhere)
    (tmp_path / "out" / "b.wav").symlink_to(elsewhere / "own.wav")
    assert denoise(passthrough_model, "in", "-o", "out", "--overwrite") == 1
    assert "sub/a.wav: its name leads out of out" in capsys.readouterr().err
    assert [path.name for path in elsewhere.iterdir()] == ["own.wav"]
    assert (elsewhere / "own.wav").read_text() == "precious"
    assert not (tmp_path / "out" / "b.wav").is_symlink()


def test_passwords_in_addresses_are_shown_to_nobody(
    passthrough_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stood in clear in the journal, in --json and in records."""
    write(tmp_path / "a.wav", np.zeros((1, 1000)), 16000)
    fsspec.filesystem("memory").put_file(str(tmp_path / "a.wav"), "/user:s3cret@host/in/a.wav")
    address = "memory://user:s3cret@host/in"
    for _ in range(2):
        assert denoise(passthrough_model, address, "-o", "out", "--resume", "--json", "a.json") == 0
    assert denoise(passthrough_model, "memory://user:s3cret@host/none", "-o", "out") == 2
    printed = capsys.readouterr()
    assert "was made before" in printed.out
    assert "memory://***@host" in printed.out
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".json", ".jsonl")]
    assert len(kept) == 2
    for text in (printed.out, printed.err, *(path.read_text() for path in kept)):
        assert "s3cret" not in text
    (journal,) = (tmp_path / ".quietmic").iterdir()
    assert journal.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("sys.argv", ["quietmic", "evaluate", "https://user:s3cret@host/x?X-Amz-Signature=s3cret&a=1"])
    record = write_record("evaluate", {}, tmp_path / "records")
    assert "s3cret" not in record.read_text()
    assert "https://***@host/x?X-Amz-Signature=***&a=1" in record.read_text()
    assert record.stat().st_mode & 0o777 == 0o600
