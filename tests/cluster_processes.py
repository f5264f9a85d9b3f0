"""A dask scheduler and workers as processes on loopback, for tests; whoever starts them ends them."""

import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DaskProcesses:
    """One scheduler and its workers (each under a nanny, which starts it again when it dies); a context manager."""

    def __init__(self, folder: Path, n_workers: int = 2, tls: tuple[Path, Path, Path] | None = None) -> None:
        self.port, self.folder, self.tls = free_port(), folder, tls
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()
        for _ in range(n_workers):
            self.start_worker()

    def start_scheduler(self) -> "subprocess.Popen[bytes]":
        protocol = ["--protocol", "tls"] if self.tls else []
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", *protocol
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self.scheduler
            time.sleep(0.05)
        raise TimeoutError("the scheduler did not start")

    def start_worker(self, root: Path = ROOT) -> "subprocess.Popen[bytes]":
        """A worker that runs the code of `root`."""
        options = ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(self.folder)]
        return self._start("dask_worker", self.address, *options, root=root)

    def _start(self, module: str, *arguments: str, root: Path = ROOT) -> "subprocess.Popen[bytes]":
        tls: list[str] = []
        if self.tls:
            for option, path in zip(("--tls-ca-file", "--tls-cert", "--tls-key"), self.tls, strict=True):
                tls += [option, str(path)]
        env = os.environ | {"PYTHONPATH": f"{root}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        with open(self.folder / "cluster.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *tls],
                cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def end_scheduler(self) -> None:
        """The scheduler dies without a word."""
        self.scheduler.kill()
        self.scheduler.wait()

    def __enter__(self) -> "DaskProcesses":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # the group of a nanny holds its worker
            except ProcessLookupError:
                continue
        for process in self.processes:
            process.wait()


def make_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate with its key for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", "node")]
    for name, key, subject, is_ca in (("ca", keys[0], names[0], True), ("node", keys[1], names[1], False)):
        certificate = (
            x509.CertificateBuilder(names[0], subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(keys[0], hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "node.key").write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "ca.pem", folder / "node.pem", folder / "node.key"
