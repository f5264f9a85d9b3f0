"""What reaches a run from outside: commands over a socket, the service, the sound server's answers (a fake pactl)."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_portaudio import FakePortAudio
from sound_server import wait_until

from quietmic import cli
from quietmic.devices import service
from quietmic.devices.plan import plan_duplex
from quietmic.devices.remote import Remote, send_command, socket_path
from quietmic.devices.server.pactl import Node, NoServer, Snapshot, Stream, find_server, pactl, take_snapshot
from quietmic.devices.server.virtual import real_default
from quietmic.devices.server.watch import Watch, Wiring, count_users
from quietmic.devices.sound import Sound
from quietmic.enhance.errors import QuietmicError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sockets and programs as Unix has them")


def test_a_command_reaches_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    said: list[str] = []

    def obey(words: list[str]) -> dict[str, Any]:
        if words == ["bad"]:
            raise QuietmicError("there is no such command")
        return {"words": words}

    with Remote(obey, said.append) as remote:
        assert stat.S_IMODE(socket_path().stat().st_mode) == 0o600
        answers: list[Any] = []

        def send() -> None:
            answers.append(send_command(["limit", "12"]))
            with pytest.raises(QuietmicError, match="no such command"):
                send_command(["bad"])

        thread = threading.Thread(target=send)
        thread.start()
        while thread.is_alive():
            remote.poll()
        assert answers == [{"words": ["limit", "12"]}]
    assert not socket_path().exists()
    with pytest.raises(QuietmicError, match="no quietmic is running"):
        send_command(["status"])


def test_a_second_run_leaves_the_socket_to_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as dead:  # what a killed run leaves
        dead.bind(str(socket_path()))
    said: list[str] = []
    with Remote(lambda words: {}, said.append):
        assert said == []
        with Remote(lambda words: {}, said.append):
            assert "another run already answers it" in said[0]
        assert socket_path().exists()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it is asked, and fails when there is a file `fails`."""
    program, log = tmp_path / "bin" / "systemctl", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ "$2" = is-active ] && echo active\n[ ! -e {tmp_path}/fails ]\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return log


def test_the_service_is_installed_and_removed(systemd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["live", "--install", "--attenuation-limit", "12", "--input", "my 50% mic", "--auto"]) == 0
    unit = service.unit_path().read_text()
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert command.endswith('live --virtual-mic --no-ui --attenuation-limit 12.0 --input "my 50%% mic" --auto')
    assert "--user enable quietmic.service" in systemd.read_text()
    assert cli.main(["live", "--status"]) == 0
    assert "active" in capsys.readouterr().out
    assert cli.main(["live", "--uninstall"]) == 0
    assert not service.unit_path().exists()
    assert "--user disable --now quietmic.service" in systemd.read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / service.NAME
    unit.write_text(service.make_unit([sys.executable, "app.py"], ["live", "--input", 'a 50% "mic" $HOME'], tmp_path))
    command = ["systemd-analyze", "--user", "verify", str(unit)]
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path))
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_service_that_does_not_start_is_not_left_behind(systemd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (systemd.parent / "fails").touch()
    assert cli.main(["live", "--install"]) == 1
    message = capsys.readouterr().err
    assert "systemctl --user" in message and "start `live` with --virtual-mic and --no-ui by other means" in message
    assert not service.unit_path().exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--virtual-mic", "--virtual-speaker"),
        ("--virtual-speaker", "--echo-cancel"),
        ("--virtual-speaker", "--input", "usb"),
        ("--virtual-mic", "--output", "usb"),
        ("--install", "--virtual-speaker"),  # the service ended at each start
    ],
)
def test_no_option_is_left_out_without_a_word(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`--virtual-speaker --echo-cancel` ran without a canceller."""
    assert cli.main(["live", *options, "--duration", "0.1"]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")


def node(index: int, name: str, monitor_of: str = "") -> Node:
    return Node(index, name, name, 1, "mono", 48000, monitor_of)


def test_users_are_programs_that_record_and_no_level_meters() -> None:
    sources = (node(1, "mic"), node(2, "quietmic"))
    recording = (
        Stream(1, 2, 7, False, False),  # a meeting
        Stream(2, 2, 8, True, False),  # paused
        Stream(3, 2, 9, False, True),  # a volume control
        Stream(4, 1, 10, False, False),  # at another microphone
    )
    snapshot = Snapshot(sources, (), recording, ())
    assert count_users(Wiring(offered="quietmic"), snapshot) == 1


@pytest.fixture
def fake_pactl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pactl whose answers are files, named like its arguments; it tells what stands in `events`, and keeps a log."""
    program = tmp_path / "bin" / "pactl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = subscribe ] && exec tail -n +1 -f {tmp_path}/events\n'
        f'echo "$*" >> {tmp_path}/log\nfile="{tmp_path}/$(echo "$*" | tr " " _)"\n'
        '[ -e "$file" ] && cat "$file" && exit 0\necho "Connection failure: Connection refused" >&2\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
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


def test_the_server_is_read(fake_pactl: Path) -> None:
    assert find_server() is None
    with pytest.raises(NoServer, match="is PulseAudio or PipeWire running"):
        pactl("info")
    (fake_pactl / "-f_json_info").write_text(INFO)
    (fake_pactl / "-f_json_list").write_text(LIST)
    assert find_server() == "PipeWire"
    assert [source.n_channels for source in take_snapshot().sources] == [2, 2, 1]
    assert real_default(take_snapshot(), "source") == "usb"  # not our own, though the person made it the default
    sound = Sound(FakePortAudio(), "PipeWire")
    labels = {device.name: device.label for device in sound.list_devices()}
    assert labels["usb"] == "Mikrofon für alle"
    plan = plan_duplex(sound, 16000, input_name="mikrofon", output_name="out")
    assert (plan.input.name, plan.n_input_channels, plan.output.name, plan.n_output_channels) == ("usb", 2, "out", 1)
    with pytest.raises(QuietmicError, match="would hear itself"):
        plan_duplex(sound, 16000, input_name="monitor", output_name="out")


def test_a_new_listener_costs_one_question(fake_pactl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two questions, one after the other, took half of the silence that a listener hears first."""
    monkeypatch.setattr("quietmic.devices.server.watch.LOOK_ANYWAY_S", 600.0)
    events, log = fake_pactl / "events", fake_pactl / "log"
    events.touch()
    (fake_pactl / "-f_json_info").write_text(INFO)
    (fake_pactl / "-f_json_list").write_text(LIST)
    n_changes: list[int] = []
    watch = Watch(Wiring("usb", "out", "quietmic"), tuple, lambda moved: None, lambda: n_changes.append(1), print)

    def asked() -> list[str]:
        return [line.split()[-1] for line in log.read_text().splitlines()] if log.exists() else []

    def tell(event: str, n_expected: int) -> None:
        with events.open("a") as file:
            print(f"Event {event}", file=file)
        wait_until(lambda: len(asked()) >= n_expected)

    try:
        wait_until(lambda: bool(n_changes))
        assert asked() == ["list", "info"] and watch.n_users == 0
        output = {"index": 5, "source": 3, "corked": False, "resample_method": "", "properties": {}}
        (fake_pactl / "-f_json_list").write_text(
            LIST.replace('"source_outputs": []', f'"source_outputs": [{json.dumps(output)}]')
        )
        tell("'new' on source-output #5", 3)
        wait_until(lambda: len(n_changes) == 2)
        assert asked() == ["list", "info", "list"] and watch.n_users == 1
        tell("'change' on server #0", 5)
        assert asked() == ["list", "info", "list", "list", "info"]
    finally:
        watch.close()


def test_no_devices_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`devices` printed an empty table, and 0."""
    nothing = FakePortAudio()
    nothing.unplugged = True
    monkeypatch.setattr(Sound, "find", lambda: Sound(nothing))
    assert cli.main(["devices"]) == 1
    assert "no sound server answers" in capsys.readouterr().err
