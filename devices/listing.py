"""A sound device, and finding one by index or by part of its name."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from quietmic.devices.server.pactl import SERVERS
from quietmic.enhance.errors import QuietmicError

ALSA_NAMES_OF_SERVER = ("pulse", "pipewire", "default")
"""ALSA's devices that lead to the sound server; where it is spoken to directly, they mean its default."""


@dataclass(frozen=True)
class Device:
    """One device as PortAudio or the sound server sees it.

    Attributes:
        index: the number by which it can be chosen.
        name: as the system calls it.
        host_api: the system's sound interface, such as "ALSA".
        n_inputs: input channels, 0 for a pure output.
        n_outputs: output channels, 0 for a pure input.
        sample_rate: its own rate, Hz.
        is_default_input: taken when no input is named.
        is_default_output: taken when no output is named.
        description: for people, where the name is not.
        channel_map: positions of the channels, where the server tells them.
        monitor_of: the sink whose sound this source of a server gives; empty for all others.
    """

    index: int
    name: str
    host_api: str
    n_inputs: int
    n_outputs: int
    sample_rate: int
    is_default_input: bool
    is_default_output: bool
    description: str = ""
    channel_map: str = ""
    monitor_of: str = ""

    @property
    def is_on_server(self) -> bool:
        """Whether it is a source or sink of the sound server."""
        return self.host_api in SERVERS

    @property
    def label(self) -> str:
        """What people call it."""
        return self.description or self.name

    @property
    def stem(self) -> str:
        """The name without the number that a card gets anew each time it is plugged in."""
        return re.sub(r"\s*\(hw:[^)]*\)$", "", self.name)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values, for JSON."""
        return asdict(self)


def find_device(devices: list[Device], wanted: str | None, kind: str) -> Device:
    """The one device that is meant.

    Args:
        devices: from Sound.list_devices.
        wanted: index, name, or part of a name or description (upper and lower case alike); None = the default.
        kind: "input" or "output".

    Raises:
        QuietmicError: none or several fit.
    """
    usable = [d for d in devices if (d.n_inputs if kind == "input" else d.n_outputs)]
    if not usable:
        raise QuietmicError(f"this machine has no {kind} device; `devices` lists what there is")
    defaults = [d for d in usable if (d.is_default_input if kind == "input" else d.is_default_output)]
    on_server = [d for d in defaults if d.is_on_server]
    if wanted is None or (wanted in ALSA_NAMES_OF_SERVER and on_server):
        return (on_server or defaults or usable)[0]
    if wanted.isdecimal():
        fitting = [d for d in usable if d.index == int(wanted)]
    else:
        fitting = [d for d in usable if wanted in (d.name, d.stem, d.description)]
        part = wanted.lower()
        fitting = fitting or [d for d in usable if part in d.name.lower() or part in d.description.lower()]
        # Each loudspeaker of a server has a monitor of a similar name, which few people mean.
        fitting = [d for d in fitting if not d.monitor_of] or fitting
        # The same card shows up under several host APIs on Windows, and beside the server: the default's one is meant.
        api = (on_server or defaults or usable)[0].host_api
        same_api = [d for d in fitting if d.host_api == api]
        fitting = same_api if len(same_api) == 1 else fitting
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise QuietmicError(f"no {kind} device matches {wanted!r}; `devices` lists what there is", exit_code=2)
    names = ", ".join(f"{d.index} {d.name}" for d in fitting)
    raise QuietmicError(f"{len(fitting)} {kind} devices match {wanted!r}: {names}; give the index", exit_code=2)


def find_again(devices: list[Device], old: Device, kind: str) -> Device:
    """A device that was in use before the list was made anew.

    Identical cards differ only in the numbers in their names, so the full name counts more than the stem.

    Args:
        devices: from Sound.list_devices.
        old: the device as it was.
        kind: "input" or "output".

    Raises:
        QuietmicError: it is not there, or several could be it.
    """
    usable = [d for d in devices if d.host_api == old.host_api and (d.n_inputs if kind == "input" else d.n_outputs)]
    fitting = [d for d in usable if d.name == old.name] or [d for d in usable if d.stem == old.stem]
    fitting = [d for d in fitting if d.index == old.index] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise QuietmicError(f"the {kind} device {old.name} is not there")
    names = ", ".join(f"{d.index} {d.name}" for d in fitting)
    raise QuietmicError(f"{old.name} may be any of {names}: start again with the index")


def format_devices(devices: list[Device]) -> str:
    """A table for people: `>` marks the default input, `<` the default output."""
    lines = ["    index  in  out   rate Hz  name"]
    for d in devices:
        mark = (">" if d.is_default_input else " ") + ("<" if d.is_default_output else " ")
        channels = f"{d.n_inputs:3d}  {d.n_outputs:3d}"
        name = f"{d.label}: {d.name}" if d.label != d.name else d.name
        lines.append(f"{mark}  {d.index:5d} {channels}  {d.sample_rate:8d}  {name} ({d.host_api})")
    return "\n".join([*lines, "> default input, < default output"])
