"""How the panel is served, and what it bears."""

import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass, field

from quietmic.enhance.errors import QuietmicError

LEAST_TOKEN = 12
"""Characters of a token that a person chooses."""

_TOKEN = re.compile(r"[A-Za-z0-9._~-]*")


@dataclass(frozen=True)
class PanelOptions:
    """How the panel is served, and what it bears.

    Attributes:
        host: address to listen at.
        port: to listen at; 0 for any that is free.
        token: that whoever opens the page has to have; None where only this machine reaches it.
        max_visits: pages that may be open at once.
        max_files: of a visit.
        max_bytes: of all files that a visit has uploaded.
        grace_s: seconds for which a visit whose connection broke is kept.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)
    max_visits: int = 4
    max_files: int = 50
    max_bytes: int = 8 << 30
    grace_s: float = 30.0

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return is_loopback(self.host)


def panel_options(host: str, port: int, token: str | None) -> PanelOptions:
    """Options as a person gives them; beyond this machine there is always a token.

    Raises:
        QuietmicError: a token that could be guessed, or that an address and a cookie would not carry as it is.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        message = "a token is made of plain letters, digits and - . _ ~, as it stands in an address"
        raise QuietmicError(message, exit_code=2)
    if token is not None and len(token) < LEAST_TOKEN:
        raise QuietmicError(f"a token needs {LEAST_TOKEN} characters at least, as it can be guessed", exit_code=2)
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(16)
    return PanelOptions(host, port, token)


def is_loopback(host: str) -> bool:
    """Whether an address or "localhost" means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_names(options: PanelOptions) -> set[str]:
    """What this machine is called by those who may reach it, in small letters."""
    name = socket.gethostname().lower()
    return {"localhost"} if options.is_local else {"localhost", name, f"{name}.local", options.host.lower()}
