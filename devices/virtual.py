"""A microphone that meeting programs can pick: a source "quietmic" in PulseAudio or PipeWire, fed by us.

It takes two modules of the server: a null sink that we play into, and a source that gives what the sink got. Both
are removed at the end; those of a run that crashed are removed at the next start.
"""

import os
import re
import shutil
import subprocess

from quietmic.enhance.errors import QuietmicError

SOURCE = "quietmic"
SINK = "quietmic_feed"
DEVICE = "pulse"
"""The ALSA device through which PortAudio reaches the server."""

_TIMEOUT_S = 5.0


def _pactl(*arguments: str) -> str:
    """Output of one `pactl` command.

    Raises:
        QuietmicError: pactl is missing, or there is no server, or it refuses.
    """
    if shutil.which("pactl") is None:
        raise QuietmicError("the virtual microphone needs pactl: apt-get install pulseaudio-utils")
    try:
        result = subprocess.run(["pactl", *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise QuietmicError("the sound server does not answer") from error
    if result.returncode:
        message = result.stderr.partition("\n")[0]
        raise QuietmicError(f"the sound server refuses `pactl {arguments[0]}`: {message}")
    return result.stdout


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _our_modules() -> list[tuple[int, int | None]]:
    """(module number, process that made it) of all our modules in the server."""
    modules = []
    for line in _pactl("list", "short", "modules").splitlines():
        number, name, arguments = [*line.split("\t"), "", ""][:3]
        if name.startswith("module-") and re.search(rf"(sink_name={SINK}|source_name={SOURCE})\b", arguments):
            pid = re.search(r"quietmic\.pid=(\d+)", arguments)
            modules.append((int(number), int(pid.group(1)) if pid else None))
    return modules


class VirtualMicrophone:
    """The two modules while they exist; a context manager.

    While it is open, this process plays into the sink (PULSE_SINK) and goes on listening to the source that was the
    default before (PULSE_SOURCE), as the server may make the new source its default.
    """

    def __enter__(self) -> "VirtualMicrophone":
        """Creates the microphone in the sound server.

        Raises:
            QuietmicError: no server, or another running quietmic has one.
        """
        self._saved = {name: os.environ.get(name) for name in ("PULSE_SINK", "PULSE_SOURCE")}
        self._modules: list[str] = []
        self.create()
        os.environ["PULSE_SINK"] = SINK
        return self

    def create(self) -> None:
        """Makes the modules unless this process has them in the server already (it may have been restarted).

        Raises:
            QuietmicError: no server, or another running quietmic has one.
        """
        mine = [number for number, pid in _our_modules() if pid == os.getpid()]
        if len(mine) == 2:
            return
        _remove_stale()
        if "PULSE_SOURCE" not in os.environ:
            os.environ["PULSE_SOURCE"] = _pactl("get-default-source").strip()
        mark = f"quietmic.pid={os.getpid()}"
        self._modules = [
            _pactl(
                "load-module",
                "module-null-sink",
                f"sink_name={SINK}",
                "rate=48000",
                "channels=1",
                "channel_map=mono",
                f"sink_properties='device.description={SINK} {mark}'",
            ).strip()
        ]
        self._modules.append(
            _pactl(
                "load-module",
                "module-remap-source",
                f"source_name={SOURCE}",
                f"master={SINK}.monitor",
                f"source_properties='device.description={SOURCE} {mark}'",
            ).strip()
        )

    def __exit__(self, *exception: object) -> None:
        for module in reversed(self._modules):
            try:
                _pactl("unload-module", module)
            except QuietmicError:
                break  # the server has gone, and the modules with it
        for name, value in self._saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remove_stale() -> None:
    """Removes the modules of runs that no longer exist.

    Raises:
        QuietmicError: another running quietmic has a virtual microphone.
    """
    for number, pid in reversed(_our_modules()):
        if pid is not None and pid != os.getpid() and _is_running(pid):
            raise QuietmicError(f"process {pid} already provides the microphone {SOURCE!r}")
        _pactl("unload-module", str(number))
