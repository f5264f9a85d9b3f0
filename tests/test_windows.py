"""What Windows does not have is not asked for: every module can be imported without it, a run and files succeed.

Modules and members of POSIX systems alone are taken away. The name of the system in `os` stays: by that Python itself
would go for parts of its own which are on Windows alone.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from test_layers import MODULES

from quietmic.devices.board import find_board
from quietmic.devices.keys import Keys
from quietmic.devices.server.pactl import NoServer, pactl
from quietmic.devices.server.pipes import Capture, Playback
from quietmic.enhance.processes import run_in_processes
from quietmic.panel.desk import Desk
from quietmic.panel.orders import LiveWish

ROOT = Path(__file__).resolve().parent.parent

AS_ON_WINDOWS = """
import os, select, signal, socket, sys, time

for name in "fcntl termios tty pty pwd grp resource syslog posix _posixsubprocess".split():
    sys.modules[name] = None
MEMBERS = {
    os: "chown confstr fchown fork get_blocking getegid geteuid getgid getloadavg getpgid getpgrp getpriority getsid "
    "getuid killpg lchown lockf mkfifo mknod nice openpty pipe2 posix_fadvise posix_fallocate posix_spawn pread pwrite "
    "readv register_at_fork sched_getaffinity sched_getscheduler sched_setaffinity sched_setscheduler sched_yield "
    "sendfile set_blocking setpriority setsid setuid statvfs sysconf ttyname uname wait waitid writev O_CLOEXEC "
    "O_DIRECTORY O_NOFOLLOW PRIO_PROCESS",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 SIGWINCH SIGXFSZ SIG_BLOCK SIG_SETMASK "
    "SIG_UNBLOCK alarm pause pthread_kill pthread_sigmask setitimer sigwait",
    socket: "AF_UNIX",
    select: "epoll poll",
    time: "CLOCK_MONOTONIC clock_gettime tzset",
}
for module, members in MEMBERS.items():
    for member in members.split():
        if hasattr(module, member):
            delattr(module, member)
sys.platform = "win32"
"""
AGAIN = """
for name in [name for name in sys.modules if name.split(".")[0] == "quietmic"]:
    del sys.modules[name]
"""
LOAD = """
import importlib, json, sys

def load(names):
    failures = {}
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            failures[name] = error.name if isinstance(error, ModuleNotFoundError) else repr(error)
    return failures

names = json.load(sys.stdin)
as_it_is = load(names)  # and with them the packages of others, which know Windows
"""
RUN = """
from fake_portaudio import FakePortAudio
from live_session import Player
from quietmic import cli

model, source = sys.argv[1:]
sys.modules["sounddevice"] = backend = FakePortAudio()
player = Player(backend)
live = ["live", "--no-ui", "--model", model, "--band", "narrow"]
for words in (
    [*live, "--duration", "1", "--json", "live.json"],
    [*live, "--virtual-mic"],
    ["ctl", "status"],
    ["devices"],
    ["denoise", source, "-o", "out.flac", "--model", model],
    ["denoise", source, "-o", "out.flac", "--model", model, "--overwrite"],
):
    print(cli.main(words), flush=True)
    print("---", file=sys.stderr, flush=True)
player.stop()
"""


def python(folder: Path, modules: list[str], *programs: str, arguments: tuple[object, ...] = ()) -> tuple[str, str]:
    """What programs print on standard output and error, after these modules were loaded."""
    done = subprocess.run(
        [sys.executable, "-c", "".join((LOAD, *programs)), *map(str, arguments)],
        cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))},
        input=json.dumps(modules), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    """`quietmic live` and the panel could not be: what speaks to a sound server of Linux asked for fcntl at once."""
    told, _ = python(tmp_path, sorted(MODULES), AGAIN, AS_ON_WINDOWS, "print(json.dumps([as_it_is, load(names)]))")
    as_it_is, as_there = json.loads(told)
    # Of what needs an extra that is not installed nothing can be told; the run time needs none.
    packages = {name: why.split(".")[0] for name, why in as_it_is.items()}
    lacking = {
        n for n, package in packages.items() if package.isidentifier() and package not in sys.stdlib_module_names
    }
    run_time = {name for name in MODULES if name.startswith(("quietmic.devices", "quietmic.enhance.files"))}
    assert not lacking & {*run_time, "quietmic.panel.run", "quietmic.cli.view", "quietmic.enhance.stream"}
    assert {name: why for name, why in (as_it_is | as_there).items() if name not in lacking} == {}


def test_a_live_run_and_files(tmp_path: Path, passthrough_model: Path) -> None:
    """Behind the imports, too, nothing is asked for that is not there, and what Linux alone has is told as that."""
    begun = [name for name in MODULES if name.startswith(("quietmic.devices", "quietmic.cli", "quietmic.enhance"))]
    arguments = passthrough_model, ROOT / "recordings" / "mono_keyboard_noisy.flac"
    output, errors = python(tmp_path, begun, AGAIN, AS_ON_WINDOWS, RUN, arguments=arguments)
    assert [line for line in output.splitlines() if line.isdigit()] == ["0", "1", "1", "0", "0", "0"], errors
    live, microphone, steered, *_ = errors.split("---\n")
    assert "one stream" in live
    assert "sound servers of Linux; on Windows and macOS play into a loopback device" in microphone
    assert "on Linux and macOS only" in steered
    assert json.loads((tmp_path / "live.json").read_text(encoding="utf-8"))["processed_s"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.json", "out.flac"]


@pytest.mark.parametrize("tool", [Capture, Playback])
def test_a_pipe_of_the_sound_server_says_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tool: type[Capture | Playback]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(NoServer, match="the sound servers of Linux"):
        tool("microphone", 16000, 1, "mono", 0.02)
    with pytest.raises(NoServer, match="the sound servers of Linux"):
        pactl("info")


class Console:
    """The module msvcrt, and the terminal, with keys that a person has pressed."""

    def __init__(self, pressed: str) -> None:
        self.pressed = pressed

    def isatty(self) -> bool:
        return True

    def kbhit(self) -> bool:
        return bool(self.pressed)

    def getwch(self) -> str:
        key, self.pressed = self.pressed[0], self.pressed[1:]
        return key


def test_arrows_and_function_keys_are_no_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """F3 comes as a zero and "=", which moved the attenuation limit; Alt and F10 as a zero and "q", which ended it."""
    console = Console("b\0=\xe0Km\0q+\xe0")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "stdin", console)
    monkeypatch.setitem(sys.modules, "msvcrt", console)
    with Keys() as keys:
        assert [keys.read(), keys.read()] == ["bm+", ""]


def own_number(job: int) -> int:
    return os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere so many take long to start")
def test_no_more_processes_than_can_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows waits for 63 things at most: `--jobs 64` failed there."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert len({process for _, process in run_in_processes(own_number, range(80), 80, "fork")}) < 64


def test_the_panel_hears_of_an_interrupt_while_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows tells a thread that waits without end of no Ctrl-C: the panel could not be ended by it."""

    class Orders(SimpleQueue[Any]):
        """Orders that come after an interrupt, of which one hears between two waits."""

        n_waits = 0

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            assert timeout is not None
            self.n_waits += 1
            if self.n_waits == 3:
                raise KeyboardInterrupt
            raise Empty

    monkeypatch.setattr("quietmic.panel.desk.SimpleQueue", Orders)
    desk = Desk(find_board("desktop"), lambda model, preferred: [], LiveWish(), begins=False)
    with pytest.raises(KeyboardInterrupt):
        desk.run()
