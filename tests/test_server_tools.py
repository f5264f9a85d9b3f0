"""What is asked of the sound server, what is read in its answers, and which devices it is to make."""

import json
import os
import sys
from pathlib import Path

import pytest
from fake_portaudio import FakePortAudio
from fake_server import INFO, LIST, asked, fake_pactl, node, output, tell_list, tell_outputs, watched, write_program

from quietmic.devices.plan import plan_duplex
from quietmic.devices.server.pactl import (
    PIPEWIRE,
    PULSEAUDIO,
    Node,
    NoServer,
    Snapshot,
    Stream,
    find_defaults,
    find_server,
    pactl,
    take_snapshot,
)
from quietmic.devices.server.virtual import (
    VirtualDevice,
    call_back,
    echo_canceller,
    microphone,
    real_default,
    remove_stale,
    speaker,
)
from quietmic.devices.sound import Sound
from quietmic.enhance.errors import QuietmicError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sound servers of Linux")
__all__ = ["fake_pactl", "watched"]


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


def test_tools_speak_english_and_do_not_hear_an_interrupt(fake_pactl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In German a latency has no `usec`; Ctrl-C in a terminal goes to all programs of its session."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    write_program(fake_pactl, "pactl", 'echo "$LC_ALL $(cut -d " " -f 6 /proc/$$/stat)"')
    language, session = pactl("info").split()
    assert language == "C.UTF-8"
    assert int(session) != os.getsid(0)


def test_a_refusal_is_told_with_its_command(fake_pactl: Path) -> None:
    write_program(fake_pactl, "pactl", 'echo "Failure: No such entity" >&2; exit 1')
    with pytest.raises(QuietmicError, match="refuses `pactl unload-module 7`: Failure: No such entity") as raised:
        pactl("unload-module", "7")
    assert not isinstance(raised.value, NoServer)


def test_a_snapshot_tells_who_records(fake_pactl: Path) -> None:
    (fake_pactl / "-f_json_info").write_text(INFO)
    tell_outputs(
        fake_pactl,
        output(5, 3, 70),
        output(6, 3, 71, corked=True),
        output(7, 3, 72, resample_method="peaks"),
        output(8, 3, 73, properties={"application.id": "org.PulseAudio.pavucontrol"}),
        output(9, 1),
    )
    snapshot = take_snapshot()
    assert snapshot.recording == (
        Stream(5, 3, 70, False, False),
        Stream(6, 3, 71, True, False),
        Stream(7, 3, 72, False, True),
        Stream(8, 3, 73, False, True),
        Stream(9, 1, None, False, False),
    )
    assert [source.monitor_of for source in snapshot.sources] == ["", "out", ""]
    assert (snapshot.default_source, snapshot.default_sink) == ("quietmic", "out")


def test_the_environment_may_name_the_defaults(fake_pactl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake_pactl / "-f_json_info").write_text(INFO)
    monkeypatch.setenv("PULSE_SOURCE", "headset")
    assert find_defaults() == ("headset", "out")
    monkeypatch.setenv("PULSE_SINK", "headphones")
    assert find_defaults() == ("headset", "headphones")


def test_what_is_meant_where_no_device_is_named() -> None:
    sources = (node(1, "out.monitor", "out"), node(2, "usb"), node(3, "headset"), node(4, "quietmic"))

    def chosen(default: str, used: str = "", among: tuple[Node, ...] = sources) -> str:
        return real_default(Snapshot(among, (), (), (), default), "source", used)

    assert chosen("headset") == "headset"
    assert chosen("quietmic") == "usb"  # the first that is real
    assert chosen("quietmic", used="headset") == "headset"
    assert chosen("out.monitor") == "out.monitor"  # the person's wish
    assert chosen("out.monitor", used="headset") == "headset"  # the server's makeshift
    with pytest.raises(QuietmicError, match="has no microphone beside ours"):
        chosen("quietmic", among=(node(1, "out.monitor", "out"), node(4, "quietmic")))


MODULES = """1\tmodule-null-sink\tsink_name=other
4\tmodule-null-sink\tsink_name=quietmic_feed sink_properties='quietmic.run={run}'
5\tmodule-remap-source\tsource_name=quietmic source_properties='quietmic.run={run}'
"""


def told(folder: Path) -> list[str]:
    """What the server was told to do so far."""
    return [line for line in asked(folder) if not line.startswith(("list", "-f"))]


def without_ours(folder: Path, *answers: str) -> None:
    """Lets the server have no device of ours, and some lines of `pactl` come before what it says otherwise."""
    tell_list(folder, sources=[source for source in json.loads(LIST)["sources"] if source["name"] != "quietmic"])
    rest = (folder / "bin" / "pactl").read_text().partition("\n")[2]
    write_program(folder, "pactl", "\n".join([*answers, rest]))


@pytest.fixture
def stale(watched: Path) -> Path:
    """What a run left behind whose process number is this process's now; a program records from it."""
    (watched / "list_short_modules").write_text(MODULES.format(run=f"{os.getpid()}.1"))
    for number in (4, 5):
        (watched / f"unload-module_{number}").touch()
    tell_outputs(watched, output(8, 3, 99), output(9, 1, 98))
    return watched


def test_what_a_dead_run_left_is_removed_and_its_listeners_called_back(stale: Path) -> None:
    users = remove_stale()
    assert told(stale) == ["unload-module 5", "unload-module 4"]
    (stale / "move-source-output_8_quietmic").touch()
    call_back(users)
    assert told(stale)[2:] == ["move-source-output 8 quietmic"]


def test_a_device_that_the_server_refuses_half_of_is_taken_back(stale: Path) -> None:
    """The sink of a microphone whose source is refused would stand among the person's loudspeakers."""
    (stale / "unload-module_20").touch()
    without_ours(
        stale,
        f'[ "$1 $2" = "load-module module-null-sink" ] && echo "$*" >> {stale}/log && echo 20 && exit',
        '[ "$1" = load-module ] && echo "Failure: Module initialization failed" >&2 && exit 1',
    )
    with pytest.raises(QuietmicError, match="Module initialization failed"), VirtualDevice(microphone()):
        raise AssertionError("there is no device")
    removed, (made, taken_back) = told(stale)[:2], told(stale)[2:]
    assert removed == ["unload-module 5", "unload-module 4"]
    assert made.startswith("load-module module-null-sink sink_name=quietmic_feed")
    assert taken_back == "unload-module 20"


def test_a_device_is_made_again_only_when_the_server_has_it_no_more(watched: Path) -> None:
    """A server that was started anew knows nothing of it."""
    (watched / "list_short_modules").write_text("")
    without_ours(watched, f'[ "$1" = load-module ] && echo "$*" >> {watched}/log && echo 20 && exit')
    device = VirtualDevice(speaker())
    device.create()
    (made,) = told(watched)
    run = made.partition("quietmic.run=")[2].rstrip("'")
    (watched / "list_short_modules").write_text(f"20\tmodule-null-sink\tsink_name=quietmic-speaker quietmic.run={run}")
    device.create()
    assert told(watched) == [made]
    (watched / "list_short_modules").write_text("")
    device.create()
    assert told(watched) == [made, made]


def test_virtual_devices_are_made_of_one_channel_and_sinks_that_do_not_run_ahead() -> None:
    for recipe in (microphone(), speaker()):
        for module in recipe.modules:
            assert {"channels=1", "channel_map=mono"} <= {*module}
            assert ("norewinds=1" in module) == (module[0] == "module-null-sink")


@pytest.mark.parametrize(("server", "off"), [(PULSEAUDIO, "0"), (PIPEWIRE, "false")])
def test_the_echo_canceller_takes_out_echo_alone(server: str, off: str) -> None:
    """Noise is ours to remove: its own reduction before ours eats speech."""
    (module,) = echo_canceller(server, "usb", "out").modules
    assert {"source_master=usb", "sink_master=out", "aec_method=webrtc"} <= {*module}
    (settings,) = (part for part in module if part.startswith("aec_args="))
    assert f"noise_suppression={off}" in settings and f"gain_control={off}" in settings
    assert "true" not in settings and "=1" not in settings
