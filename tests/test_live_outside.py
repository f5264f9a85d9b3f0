"""What reaches a run from outside: commands over a socket, the service."""

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

from quietmic import cli
from quietmic.devices import service
from quietmic.devices.commands import NO_LIMIT, Command, read_command
from quietmic.devices.remote import Remote, send_command, socket_path
from quietmic.devices.sound import Sound
from quietmic.enhance.errors import QuietmicError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sockets and programs as Unix has them")


def test_a_command_reaches_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    said: list[str] = []

    def obey(words: list[str]) -> dict[str, Any]:
        if words == ["record"]:
            raise QuietmicError("the disk is full")
        return {"words": words}

    with Remote(obey, said.append) as remote:
        assert stat.S_IMODE(socket_path().stat().st_mode) == 0o600
        answers: list[Any] = []

        def send() -> None:
            answers.append(send_command(["limit", "12"]))
            with pytest.raises(QuietmicError, match="the disk is full"):
                send_command(["record"])

        thread = threading.Thread(target=send)
        thread.start()
        while thread.is_alive():
            remote.poll()
        assert answers == [{"words": ["limit", "12"]}]
    assert not socket_path().exists()
    with pytest.raises(QuietmicError, match="no quietmic is running"):
        send_command(["status"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["louder"], "no command 'louder': there are bypass, mute and record"),
        (["mute", "yes"], "no command 'mute yes'"),
        (["mute", "on", "now"], "no command"),
        (["limit"], "no command 'limit'"),
        (["limit", "-3"], "from 0 on, or none, not '-3'"),
        (["limit", "nan"], "from 0 on, or none, not 'nan'"),
        (["quit", "now"], "no command"),
        ([], "no command"),
    ],
)
def test_what_is_no_command_is_told_whether_or_not_one_runs(words: list[str], message: str) -> None:
    """Nothing was said of it while none ran, but that none runs."""
    with pytest.raises(QuietmicError, match=message) as told:
        send_command(words)
    assert told.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["bypass"], Command("bypass")), (["mute", "on"], Command("mute", True)),
        (["record", "off"], Command("record", False)), (["limit", "12"], Command("limit", limit_db=12.0)),
        (["limit", "none"], Command("limit", limit_db=NO_LIMIT)), (["quit"], Command("quit")),
        (["status"], Command("status")),
    ],
)  # fmt: skip
def test_commands_as_they_are_said(words: list[str], command: Command) -> None:
    assert read_command(words) == command


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


@pytest.mark.parametrize(
    ("platform", "advice"),
    [("linux", "no sound server answers"), ("darwin", "System Settings"), ("win32", "desktop apps"), ("plan9", "card")],
)
def test_no_devices_is_an_error(
    platform: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`devices` printed an empty table, and 0."""
    nothing = FakePortAudio()
    nothing.unplugged = True
    monkeypatch.setattr(Sound, "find", lambda: Sound(nothing))
    monkeypatch.setattr("quietmic.cli.live.sys.platform", platform)
    assert cli.main(["devices"]) == 1
    assert advice in capsys.readouterr().err
