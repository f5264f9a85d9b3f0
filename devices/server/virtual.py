"""Devices that other programs can pick, made of the sound server's own modules, and gone with the run.

The microphone "quietmic" takes two modules: a sink that we play into, and a source that gives what the sink got. The
loudspeaker "quietmic-speaker" is a sink whose monitor we listen to. All carry the process that made them among their
properties, with the time of its start, as numbers of processes are given again: what a run that was killed left behind
is removed at the next start.
"""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quietmic.devices.server.pactl import PIPEWIRE, PULSEAUDIO, NoServer, Snapshot, pactl, take_snapshot
from quietmic.enhance.errors import QuietmicError

SOURCE, FEED = "quietmic", "quietmic_feed"
SPEAKER = "quietmic-speaker"
ECHO_SOURCE, ECHO_SINK = "quietmic-echo-free", "quietmic-echo-reference"
OURS = (SOURCE, FEED, f"{FEED}.monitor", SPEAKER, f"{SPEAKER}.monitor", ECHO_SOURCE, ECHO_SINK)
"""Names of all that is made here."""

_MONO = ("channels=1", "channel_map=mono")


def _identity(pid: int) -> str | None:
    """A process by number and time of start, as another gets the same number later; None where there is none."""
    try:
        # The name, in brackets, may hold anything; the start is the 20th field after it, see proc(5).
        started = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return None
    return f"{pid}.{started}"


def _properties(kind: str, description: str) -> str:
    return f"{kind}_properties='device.description={description} quietmic.run={_identity(os.getpid())}'"


def _null_sink(name: str, *more: str) -> list[str]:
    # Without rewinds PulseAudio's null sink runs 50 ms ahead at most. With them it runs 2 s ahead after each gap in
    # what it is fed, and these 2 s are silence.
    return ["module-null-sink", f"sink_name={name}", "rate=48000", "norewinds=1", *more, _properties("sink", name)]


@dataclass(frozen=True)
class Recipe:
    """How the sound server makes one virtual device.

    Attributes:
        name: of the device that people see.
        modules: arguments of `pactl load-module`, in this order.
        advice: for when the server refuses them; may be empty.
    """

    name: str
    modules: tuple[list[str], ...]
    advice: str = ""


def microphone() -> Recipe:
    """A source that gives what is played into the sink FEED."""
    # One channel from end to end: PipeWire makes a mono recording of a two-channel source 3 dB louder.
    source = ["module-remap-source", f"source_name={SOURCE}", f"master={FEED}.monitor", *_MONO]
    return Recipe(SOURCE, (_null_sink(FEED, *_MONO), [*source, _properties("source", SOURCE)]))


def speaker() -> Recipe:
    """A sink whose monitor gives what programs play into it."""
    return Recipe(SPEAKER, (_null_sink(SPEAKER, *_MONO),))


# Nothing else of WebRTC's: its noise reduction leaves less for ours, and its gain control moves the person's volume.
_ONLY_ECHO = {
    PULSEAUDIO: "noise_suppression=0 analog_gain_control=0 digital_gain_control=0",
    PIPEWIRE: "webrtc.noise_suppression=false webrtc.gain_control=false",
}


def echo_canceller(server: str, source: str, sink: str) -> Recipe:
    """The server's own canceller (WebRTC's) between a microphone and a loudspeaker.

    Args:
        server: PULSEAUDIO or PIPEWIRE.
        source: name of the microphone.
        sink: name of the loudspeaker; what is played into ECHO_SINK goes there, and is taken out of the microphone.
    """
    names = f"source_name={ECHO_SOURCE}", f"sink_name={ECHO_SINK}", f"source_master={source}", f"sink_master={sink}"
    described = _properties("source", ECHO_SOURCE), _properties("sink", ECHO_SINK)
    method = "aec_method=webrtc", f"aec_args='{_ONLY_ECHO[server]}'"
    return Recipe(
        ECHO_SOURCE,
        (["module-echo-cancel", *names, *method, *described],),
        "it has no echo canceller: it needs module-echo-cancel with WebRTC's method, which comes with the packages "
        "pulseaudio, or pipewire-pulse and libspa-0.2-modules",
    )


@dataclass(frozen=True)
class _Module:
    number: int
    run: str


def _our_modules() -> list[_Module]:
    """All modules in the server that a run of this program made."""
    modules = []
    for line in pactl("list", "short", "modules").splitlines():
        number, name, arguments = [*line.split("\t"), "", ""][:3]
        if name.startswith("module-") and re.search(r"(sink|source)_name=quietmic\b", arguments.replace("_feed", "")):
            run = re.search(r"quietmic\.run=([\d.]+)", arguments)
            modules.append(_Module(int(number), run.group(1) if run else ""))
    return modules


def _is_running(run: str) -> bool:
    pid = run.partition(".")[0]
    return bool(pid) and _identity(int(pid)) == run


@dataclass(frozen=True)
class User:
    """A stream of another program at one of our devices.

    Attributes:
        command: of pactl, that moves it.
        index: the server's number of it.
        device: name of ours.
    """

    command: str
    index: int
    device: str


def _find_users(server: Snapshot) -> list[User]:
    kinds = (
        ("move-source-output", server.recording, server.sources, SOURCE),
        ("move-sink-input", server.playing, server.sinks, SPEAKER),
    )
    return [
        User(command, stream.index, name)
        for command, streams, nodes, name in kinds
        for stream in streams
        for node in nodes
        if (node.index, node.name) == (stream.node, name)
    ]


def remove_stale() -> list[User]:
    """Removes what runs that no longer exist left in the server; raises as `pactl` does.

    Returns:
        Who used that: the server gives them another device, such as the microphone as it is.
    """
    stale = [module for module in reversed(_our_modules()) if not _is_running(module.run)]
    users = _find_users(take_snapshot()) if stale else []
    for module in stale:
        pactl("unload-module", str(module.number))
    return users


def call_back(users: list[User]) -> None:
    """Gives programs the devices that they used before a run was killed, where these are there again."""
    for user in users:
        with contextlib.suppress(QuietmicError):
            pactl(user.command, str(user.index), user.device)


class VirtualDevice:
    """The modules of a recipe for as long as the context lasts."""

    def __init__(self, recipe: Recipe, log: Callable[[str], None] = lambda text: None) -> None:
        """Makes nothing before the context opens.

        Args:
            recipe: the device.
            log: takes messages for the person.
        """
        self._recipe, self._log = recipe, log
        self._modules: list[str] = []

    def __enter__(self) -> "VirtualDevice":
        """Makes the device; raises as `create` does."""
        self.create()
        return self

    def create(self) -> None:
        """Makes the modules, unless they are still in the server (which may have been started anew).

        Raises:
            QuietmicError: no server, or it refuses, or another running quietmic has the device.
        """
        present = {module.number for module in _our_modules() if module.run == _identity(os.getpid())}
        if self._modules and all(int(number) in present for number in self._modules):
            return
        remove_stale()
        server = take_snapshot()
        if self._recipe.name in {node.name for node in server.sources + server.sinks}:
            raise QuietmicError(f"another program already provides {self._recipe.name!r}: end it first")
        self._modules = []
        try:
            for arguments in self._recipe.modules:
                self._modules.append(pactl("load-module", *arguments).strip())
        except NoServer:
            raise
        except QuietmicError as error:
            self.__exit__()
            raise QuietmicError(f"{error}; {self._recipe.advice}" if self._recipe.advice else str(error)) from error

    def __exit__(self, *exception: object) -> None:
        for module in reversed(self._modules):
            try:
                pactl("unload-module", module)
            except QuietmicError as error:
                self._log(f"the sound server has gone, and {self._recipe.name!r} with it ({error})")
                break
        self._modules = []


def real_default(server: Snapshot, kind: str, used: str = "") -> str:
    """The device that is meant where none is named: the default, unless it is one of ours.

    A server that was told to take our microphone as its default takes it again as soon as it is there.

    Args:
        server: as it is now.
        kind: "source" or "sink".
        used: name of the device in use, which stays in use rather than one that is not the default, or than a default
            that is a monitor: servers make one the default when the last microphone is unplugged.

    Raises:
        QuietmicError: there is none.
    """
    nodes = server.sources if kind == "source" else server.sinks
    names = {node.name: node for node in nodes if node.name not in OURS}
    default = names.get(server.default_source if kind == "source" else server.default_sink)
    if default and not (used and default.monitor_of):
        return default.name
    real = [used] if used in names else [name for name, node in names.items() if not node.monitor_of]
    if real:
        return real[0]
    raise QuietmicError(f"the sound server has no {'microphone' if kind == 'source' else 'loudspeaker'} beside ours")
