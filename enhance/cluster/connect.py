"""Where the workers of a cluster are: options to an open dask client. Dask is imported only when one is opened."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quietmic.enhance.cluster.cores import usable_cores
from quietmic.enhance.errors import QuietmicError

logger = logging.getLogger(__name__)

CONNECT_S = 20


@dataclass(frozen=True)
class Cluster:
    """Workers that take jobs in place of processes of this machine.

    Attributes:
        address: of a dask scheduler, or "local" for workers made on this machine.
        n_workers: for "local": processes.
        tls: files of the authority, the certificate and the key; None for a plain connection.
    """

    address: str
    n_workers: int = 2
    tls: tuple[Path, Path, Path] | None = None


def choose_cluster(
    address: str | None, n_jobs: int, ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> Cluster | None:
    """The cluster that options ask for, None without an address; warns where the connection can be overheard.

    Raises:
        QuietmicError: TLS files that are incomplete, or do not go with the address.
    """
    files = [path for path in (ca, cert, key) if path]
    if not address:
        if files:
            raise QuietmicError("TLS files need the address of a cluster", exit_code=2, argument="address")
        return None
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme == "tls" and len(files) < 3:
        raise QuietmicError("a tls:// address needs an authority, a certificate and a key", exit_code=2, argument="ca")
    if files and parts.scheme != "tls":
        raise QuietmicError("TLS files need an address that begins with tls://", exit_code=2, argument="address")
    if address != "local" and parts.scheme != "tls" and not _is_loopback(parts.hostname or ""):
        logger.warning("%s is not encrypted and lets anyone who reaches it run code: use tls://", address)
    # One job is the default of every command, not a wish for a cluster of one.
    return Cluster(address, n_jobs if n_jobs > 1 else usable_cores(), (ca, cert, key) if ca and cert and key else None)


@contextmanager
def connect(cluster: Cluster) -> Iterator[Any]:
    """A client, with a cluster of its own for "local"; both end with the context."""
    try:
        from distributed import Client, LocalCluster, Security
    except ImportError as error:
        raise QuietmicError("a cluster needs dask: pip install 'quietmic[scale]'", exit_code=2) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is told by us
    own, security = None, None
    if cluster.tls:
        ca, cert, key = map(str, cluster.tls)
        security = Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
    try:
        if cluster.address == "local":
            own = LocalCluster(
                n_workers=cluster.n_workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
                memory_limit=None, silence_logs=logging.CRITICAL,
            )  # fmt: skip
        client = Client(own or cluster.address, security=security, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise QuietmicError(f"no scheduler answers at {cluster.address}: {error}") from error
    try:
        client.register_plugin(_first_death_counts())
        yield client
    finally:
        client.close(timeout=2)
        if own:
            own.close(timeout=5)


def _first_death_counts() -> Any:
    """Makes the scheduler report the death of a job's worker at once: who is to blame is found out here.

    The class is local so that it travels whole: a scheduler need not have quietmic.
    """
    from distributed import SchedulerPlugin

    class FirstDeathCounts(SchedulerPlugin):
        name = "quietmic"

        async def start(self, scheduler: Any) -> None:
            self.scheduler = scheduler

        def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
            if finish == "processing" and str(key).startswith("quietmic-"):
                self.scheduler.tasks[key].suspicious = self.scheduler.allowed_failures

    return FirstDeathCounts()


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
