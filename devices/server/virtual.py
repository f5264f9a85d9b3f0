"""Devices that other programs can pick, made of the sound server's own modules, and gone with the run.

The microphone "quietmic" takes two modules: a sink that we play into, and a source that gives what the sink got. The
loudspeaker "quietmic-speaker" is a sink whose monitor we listen to. All carry the process that made them in their
description: what a run that was killed left behind is removed at the next start.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from quietmic.devices.server.pactl import default_node, pactl, take_snapshot
from quietmic.enhance.errors import QuietmicError

SOURCE, FEED = "quietmic", "quietmic_feed"
SPEAKER = "quietmic-speaker"
ECHO_SOURCE, ECHO_SINK = "quietmic-echo-free", "quietmic-echo-reference"
OURS = (SOURCE, FEED, f"{FEED}.monitor", SPEAKER, f"{SPEAKER}.monitor", ECHO_SOURCE, ECHO_SINK)
"""Names of all that is made here."""

_MONO = ("channels=1", "channel_map=mono")


def _properties(kind: str, description: str) -> str:
    return f"{kind}_properties='device.description={description} quietmic.pid={os.getpid()}'"


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
    """

    name: str
    modules: tuple[list[str], ...]


def microphone() -> Recipe:
    """A source that gives what is played into the sink FEED."""
    # One channel from end to end: PipeWire makes a mono recording of a two-channel source 3 dB louder.
    source = ["module-remap-source", f"source_name={SOURCE}", f"master={FEED}.monitor", *_MONO]
    return Recipe(SOURCE, (_null_sink(FEED, *_MONO), [*source, _properties("source", SOURCE)]))


def speaker() -> Recipe:
    """A sink whose monitor gives what programs play into it."""
    return Recipe(SPEAKER, (_null_sink(SPEAKER, *_MONO),))


def echo_canceller(source: str, sink: str) -> Recipe:
    """The server's own canceller (WebRTC's) between a microphone and a loudspeaker.

    Args:
        source: name of the microphone.
        sink: name of the loudspeaker; what is played into ECHO_SINK goes there, and is taken out of the microphone.
    """
    names = f"source_name={ECHO_SOURCE}", f"sink_name={ECHO_SINK}", f"source_master={source}", f"sink_master={sink}"
    described = _properties("source", ECHO_SOURCE), _properties("sink", ECHO_SINK)
    return Recipe(ECHO_SOURCE, (["module-echo-cancel", *names, "aec_method=webrtc", *described],))


@dataclass(frozen=True)
class _Module:
    number: int
    pid: int | None


def _our_modules() -> list[_Module]:
    """All modules in the server that a run of this program made."""
    modules = []
    for line in pactl("list", "short", "modules").splitlines():
        number, name, arguments = [*line.split("\t"), "", ""][:3]
        if name.startswith("module-") and re.search(r"(sink|source)_name=quietmic\b", arguments.replace("_feed", "")):
            pid = re.search(r"quietmic\.pid=(\d+)", arguments)
            modules.append(_Module(int(number), int(pid.group(1)) if pid else None))
    return modules


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def remove_stale() -> None:
    """Removes what runs that no longer exist left in the server; raises as `pactl` does."""
    for module in reversed(_our_modules()):
        if module.pid is None or not _is_running(module.pid):
            pactl("unload-module", str(module.number))


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
        present = {module.number for module in _our_modules() if module.pid == os.getpid()}
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
        except QuietmicError:
            self.__exit__()
            raise

    def __exit__(self, *exception: object) -> None:
        for module in reversed(self._modules):
            try:
                pactl("unload-module", module)
            except QuietmicError as error:
                self._log(f"the sound server has gone, and {self._recipe.name!r} with it ({error})")
                break
        self._modules = []


def real_default(kind: str) -> str:
    """The default "source" or "sink" unless it is one of ours, else the first real one.

    A server that was told to take our microphone as its default takes it again as soon as it is there.

    Raises:
        QuietmicError: there is none.
    """
    name = default_node(kind)
    if name and name not in OURS:
        return name
    server = take_snapshot()
    for node in server.sources if kind == "source" else server.sinks:
        if node.name not in OURS and not node.monitor_of:
            return node.name
    raise QuietmicError(f"the sound server has no {'microphone' if kind == 'source' else 'loudspeaker'} beside ours")
