"""A sound server whose tools are scripts: they say what a test wrote, and note what they were asked."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from quietmic.devices.server.pactl import Node


def node(index: int, name: str, monitor_of: str = "") -> Node:
    return Node(index, name, name, 1, "mono", 48000, monitor_of)


def write_program(folder: Path, name: str, script: str) -> None:
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def fake_pactl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pactl whose answers are files, named like its arguments; it tells what stands in `events`, and keeps a log."""
    write_program(
        tmp_path,
        "pactl",
        f'[ "$1" = subscribe ] && exec tail -n +1 -f {tmp_path}/events\n'
        f'echo "$*" >> {tmp_path}/log\nfile="{tmp_path}/$(echo "$*" | tr " " _)"\n'
        '[ -e "$file" ] && cat "$file" && exit 0\necho "Connection failure: Connection refused" >&2\nexit 1',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for name in ("PULSE_SOURCE", "PULSE_SINK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


INFO = """{"server_name": "PulseAudio (on PipeWire 1.0)", "default_source_name": "quietmic",
 "default_sink_name": "out"}"""

LIST = """{"sources": [
 {"index": 1, "name": "usb", "description": "Mikrofon für alle", "sample_specification": "s16le 2ch 44100Hz",
  "channel_map": "front-left,front-right", "monitor_source": ""},
 {"index": 2, "name": "out.monitor", "description": "Monitor of Out", "sample_specification": "s16le 2ch 48000Hz",
  "channel_map": "front-left,front-right", "monitor_source": "out"},
 {"index": 3, "name": "quietmic", "description": "quietmic", "sample_specification": "s16le 1ch 48000Hz",
  "channel_map": "mono", "monitor_source": ""}],
 "sinks": [{"index": 2, "name": "out", "description": "Out", "sample_specification": "s16le 2ch 48000Hz",
  "channel_map": "front-left,front-right", "monitor_source": "out.monitor"}],
 "source_outputs": [], "sink_inputs": []}"""


def output(index: int, source: int, pid: int | str = "", **more: Any) -> dict[str, Any]:
    """A program's stream at a source as `pactl` tells it."""
    properties = {"application.process.id": str(pid)} | more.pop("properties", {})
    return {"index": index, "source": source, "corked": False, "resample_method": "", "properties": properties} | more


def tell_outputs(folder: Path, *outputs: dict[str, Any]) -> None:
    """Lets the server have these streams at its sources."""
    tell_list(folder, source_outputs=outputs)


def tell_list(folder: Path, **parts: Any) -> None:
    """Lets the server have what LIST says but for some parts."""
    (folder / "-f_json_list").write_text(json.dumps(json.loads(LIST) | parts))


def asked(folder: Path) -> list[str]:
    """What the server was asked and told to do so far, arguments of `pactl` in a line each."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def watched(fake_pactl: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server that tells of no change, whose default is `usb`."""
    monkeypatch.setattr("quietmic.devices.server.watch.LOOK_ANYWAY_S", 600.0)
    (fake_pactl / "events").touch()
    (fake_pactl / "-f_json_info").write_text(INFO.replace('"quietmic"', '"usb"'))
    (fake_pactl / "-f_json_list").write_text(LIST)
    return fake_pactl
