"""The virtual microphone from login on: a service of the user's own systemd."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from quietmic.enhance.errors import QuietmicError

NAME = "quietmic.service"

_UNIT = """\
[Unit]
Description=quietmic, a microphone without noise
After=pipewire-pulse.service pulseaudio.service wireplumber.service
StartLimitIntervalSec=0

[Service]
WorkingDirectory={folder}
ExecStart={command}
Environment=PYTHONUNBUFFERED=1
Restart=on-failure
RestartSec=5
TimeoutStopSec=10

[Install]
WantedBy=default.target
"""


def unit_path() -> Path:
    """Where the unit of this user lies."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "systemd" / "user" / NAME


def _quote(word: str) -> str:
    """A word as systemd reads it in ExecStart."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped == shlex.quote(escaped) else f'"{escaped}"'


def make_unit(program: list[str], arguments: list[str], folder: Path) -> str:
    """Text of the unit.

    Args:
        program: how this program is started.
        arguments: of the command `live`, with which it runs.
        folder: in which it runs.
    """
    return _UNIT.format(folder=str(folder).replace("%", "%%"), command=" ".join(map(_quote, program + arguments)))


def this_program() -> list[str]:
    """How this program was started, so that a service can do the same."""
    script = Path(sys.argv[0])
    if script.is_file():
        start = [] if os.access(script, os.X_OK) and script.suffix != ".py" else [sys.executable]
        return [*start, str(script.resolve())]
    return [shutil.which("quietmic") or "quietmic"]


def _systemctl(*arguments: str, check: bool = True) -> str:
    if shutil.which("systemctl") is None:
        raise QuietmicError("this needs systemd, which this machine does not have", argument="service")
    result = subprocess.run(["systemctl", "--user", *arguments], capture_output=True, text=True, timeout=60)
    if check and result.returncode:
        raise QuietmicError(f"`systemctl --user {' '.join(arguments)}` failed: {result.stderr.strip()}")
    return result.stdout.strip()


def install(arguments: list[str]) -> str:
    """Makes the service and starts it, now and at each login.

    Args:
        arguments: of `live`, beside what a service needs.

    Returns:
        What was done, in words.

    Raises:
        QuietmicError: no systemd, or it refuses; nothing is left behind then.
    """
    path, command = unit_path(), ["live", "--virtual-mic", "--no-ui", *arguments]
    before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        _systemctl("show-environment")
    except QuietmicError as error:
        raise QuietmicError(f"no systemd of yours runs, as after a login: {error}", argument="service") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(make_unit(this_program(), command, Path.home()), encoding="utf-8")
    try:
        _systemctl("daemon-reload")
        _systemctl("enable", NAME)
        _systemctl("restart", NAME)
    except QuietmicError:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")
        raise
    return f"installed {path}: the microphone 'quietmic' is there now and at each login"


def uninstall() -> str:
    """Stops the service and removes it; what was done, in words."""
    path = unit_path()
    if not path.exists():
        return "the service is not installed"
    with contextlib.suppress(QuietmicError):  # without a session it does not run either
        _systemctl("disable", "--now", NAME)
    path.unlink()
    with contextlib.suppress(QuietmicError):
        _systemctl("daemon-reload")
    return f"removed {path}"


def status() -> str:
    """Whether the service is installed, enabled and running, in words."""
    path = unit_path()
    if not path.exists():
        return "the service is not installed"
    enabled, active = (_systemctl(word, NAME, check=False) or "unknown" for word in ("is-enabled", "is-active"))
    return f"{path}: {enabled}, {active}"
