"""Commands and questions to the sound server, PulseAudio or PipeWire, through its tool `pactl`.

A process of its own for each: no library of the server runs in ours, where a dying server has left threads that never
came back.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from quietmic.enhance.errors import QuietmicError

PULSEAUDIO, PIPEWIRE = "PulseAudio", "PipeWire"
SERVERS = (PULSEAUDIO, PIPEWIRE)

_TIMEOUT_S = 5.0


class NoServer(QuietmicError):
    """There is no sound server, or it does not answer."""


def environment() -> dict[str, str]:
    """For the server's tools: figures with points, in UTF-8, whatever the person's language is."""
    return dict(os.environ, LC_ALL="C.UTF-8")


def check_system() -> None:
    """Refuses systems whose programs share their sound by other ways.

    Raises:
        NoServer: this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise NoServer(
            "this needs PulseAudio or PipeWire, the sound servers of Linux; on Windows and macOS play into a loopback "
            "device, such as VB-CABLE or BlackHole, and choose that as the microphone in the meeting program"
        )


def pactl(*arguments: str) -> str:
    """Output of one `pactl` command.

    Raises:
        NoServer: this is not Linux, pactl is missing, or no server answers.
        QuietmicError: the server refuses.
    """
    check_system()
    if shutil.which("pactl") is None:
        raise NoServer("this needs a sound server and its tool pactl: apt-get install pulseaudio-utils")
    try:
        result = subprocess.run(
            ["pactl", *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env=environment(),
            start_new_session=True,  # Ctrl-C in the terminal is for us, who still have to tidy up
        )
    except subprocess.TimeoutExpired as error:
        raise NoServer("the sound server does not answer") from error
    if result.returncode:
        message = result.stderr.partition("\n")[0]
        if message.startswith("Connection failure"):
            raise NoServer(
                f"no sound server answers ({message}): is PulseAudio or PipeWire running? Try "
                "`systemctl --user restart pipewire-pulse` or `pulseaudio --start`"
            )
        raise QuietmicError(f"the sound server refuses `pactl {' '.join(arguments)}`: {message}")
    return result.stdout


def ask(*arguments: str) -> Any:
    """What `pactl` answers as JSON; raises as `pactl` does."""
    return json.loads(pactl("-f", "json", *arguments))


def find_server() -> str | None:
    """PULSEAUDIO or PIPEWIRE, None where no server answers."""
    try:
        name = str(ask("info")["server_name"])
    except QuietmicError:
        return None
    return PIPEWIRE if "PipeWire" in name else PULSEAUDIO


@dataclass(frozen=True)
class Node:
    """A source or sink of the server.

    Attributes:
        index: the server's own number.
        name: by which it is chosen.
        description: for people.
        n_channels: its channels.
        channel_map: their positions, such as "front-left,front-right".
        sample_rate: its own, Hz.
        monitor_of: the sink whose sound this source gives; empty for sinks and real sources.
    """

    index: int
    name: str
    description: str
    n_channels: int
    channel_map: str
    sample_rate: int
    monitor_of: str = ""


@dataclass(frozen=True)
class Stream:
    """A program's stream at a source or sink.

    Attributes:
        index: the server's number of it.
        node: number of its source or sink.
        pid: process that it belongs to, None for the server's own.
        is_paused: it waits, and neither records nor plays.
        is_meter: it only shows a level, as volume controls do.
    """

    index: int
    node: int
    pid: int | None
    is_paused: bool
    is_meter: bool


@dataclass(frozen=True)
class Snapshot:
    """What is in the server at one moment.

    Attributes:
        sources: microphones, and monitors of sinks.
        sinks: loudspeakers.
        recording: streams at sources.
        playing: streams at sinks.
        default_source: name of the default, as PULSE_SOURCE or the server says; may be empty.
        default_sink: likewise.
    """

    sources: tuple[Node, ...]
    sinks: tuple[Node, ...]
    recording: tuple[Stream, ...]
    playing: tuple[Stream, ...]
    default_source: str = ""
    default_sink: str = ""


def _node(entry: dict[str, Any], monitor_of: str) -> Node:
    channels, rate = re.findall(r"(\d+)ch (\d+)Hz", entry["sample_specification"])[0]
    return Node(
        entry["index"], entry["name"], entry["description"], int(channels), entry["channel_map"], int(rate), monitor_of
    )


def _stream(entry: dict[str, Any], node: int) -> Stream:
    properties = entry["properties"]
    pid = properties.get("application.process.id", "")
    is_meter = entry["resample_method"] == "peaks" or properties.get("application.id") == "org.PulseAudio.pavucontrol"
    return Stream(entry["index"], node, int(pid) if pid.isdecimal() else None, bool(entry["corked"]), is_meter)


def find_defaults() -> tuple[str, str]:
    """Names of the default source and sink, as the environment or the server says; raises as `pactl` does."""
    info = ask("info")
    return (
        os.environ.get("PULSE_SOURCE") or info["default_source_name"] or "",
        os.environ.get("PULSE_SINK") or info["default_sink_name"] or "",
    )


def take_snapshot(defaults: tuple[str, str] | None = None) -> Snapshot:
    """All sources, sinks and streams, and the defaults; raises as `pactl` does.

    Args:
        defaults: names of the default source and sink where they are known, which saves half the time.
    """
    everything = ask("list")
    return Snapshot(
        tuple(_node(entry, entry["monitor_source"] or "") for entry in everything["sources"]),
        tuple(_node(entry, "") for entry in everything["sinks"]),
        tuple(_stream(entry, entry["source"]) for entry in everything["source_outputs"]),
        tuple(_stream(entry, entry["sink"]) for entry in everything["sink_inputs"]),
        *(defaults or find_defaults()),
    )
