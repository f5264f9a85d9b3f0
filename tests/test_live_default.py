"""Which devices a run uses as others become the default, or go."""

import time

import numpy as np
from sound_server import (
    SAMPLE_RATE,
    SoundServer,
    on_pipewire,
    on_pulseaudio,
    read_raw,
    server,
    wait_for_seconds,
    wait_until,
)
from test_live_server import start, stop

from quietmic.enhance.arrays import Array

__all__ = ["server"]


def add_microphone(server: SoundServer, name: str) -> None:
    """A second microphone, which gives what is played into the sink NAME-feed."""
    sink = ("module-null-sink", f"sink_name={name}-feed", "rate=48000", "channels=1", "channel_map=mono", "norewinds=1")
    server.pactl("load-module", *sink)
    server.pactl(
        "load-module", "module-remap-source", f"source_name={name}", f"master={name}-feed.monitor", "channels=1"
    )


def remove_microphone(server: SoundServer, name: str) -> None:
    for line in reversed(server.pactl("list", "short", "modules").stdout.splitlines()):
        if f"name={name}-feed" in line or f"name={name}\t" in line or f"name={name} " in line:
            server.pactl("unload-module", line.split("\t")[0])


def places(server: SoundServer) -> list[str]:
    """Names of the sources that quietmic records."""
    names = {source["index"]: source["name"] for source in server.listed("sources")}
    streams = server.listed("source-outputs")
    return [names[s["source"]] for s in streams if s["properties"].get("application.name") == "quietmic"]


def level(samples: Array) -> float:
    """Loudest tenth of a second of the last second, as RMS."""
    return float(np.sqrt(np.mean(samples[-SAMPLE_RATE:].reshape(10, -1) ** 2, axis=1)).max())


def test_a_microphone_that_nobody_named_follows_the_default(server: SoundServer) -> None:
    """A headset that is plugged in becomes the default: that is the microphone, then."""
    add_microphone(server, "headset")
    app = start(server, "--virtual-mic", "--always-on")
    app.wait_for("->")
    recording = server.record("quietmic")
    server.play(0.25 * np.sin(0.17 * np.arange(20 * SAMPLE_RATE)).astype(np.float32), sink="headset-feed")
    wait_for_seconds(recording, 1.5)
    assert level(read_raw(recording)) < 1e-3
    server.pactl("set-default-source", "headset")
    wait_until(lambda: level(read_raw(recording)) > 0.05)
    assert places(server) == ["headset"]
    server.pactl("set-default-source", "quietmic")  # that of the desktop is ours: it stays where it is
    time.sleep(1)
    assert places(server) == ["headset"]
    stop(app)
    figures = app.finish()
    assert figures["input"] == "headset"
    assert figures["reconnects"] == 0


@on_pulseaudio
def test_a_microphone_that_was_named_stays(server: SoundServer) -> None:
    """PulseAudio moves a stream when the default changes, also one that asked for its source by name."""
    add_microphone(server, "headset")
    app = start(server, "--virtual-mic", "--always-on", "--input", "mic.mon")  # a part of the name
    app.wait_for("->")
    wait_until(lambda: places(server) == ["mic.monitor"])
    server.pactl("set-default-source", "headset")
    time.sleep(0.5)
    wait_until(lambda: places(server) == ["mic.monitor"])
    stop(app)
    figures = app.finish()
    assert figures["input"] == "mic.monitor"


@on_pipewire
def test_a_microphone_that_goes_is_not_replaced_by_what_others_say(server: SoundServer) -> None:
    """Both servers move the recording to the monitor of the loudspeaker: the meeting would hear itself."""
    add_microphone(server, "headset")
    app = start(server, "--virtual-mic", "--always-on", "--input", "headset")
    app.wait_for("->")
    recording = server.record("quietmic")
    server.play(0.25 * np.sin(0.17 * np.arange(30 * SAMPLE_RATE)).astype(np.float32), sink="speaker")
    wait_for_seconds(recording, 1)
    remove_microphone(server, "headset")
    app.wait_for("headset is not there")
    wait_for_seconds(recording, len(read_raw(recording)) / SAMPLE_RATE + 1)
    assert np.abs(read_raw(recording)).max() < 0.01
    add_microphone(server, "headset")
    app.wait_for("devices are back")
    assert places(server) == ["headset"]
    stop(app)
    assert app.finish()["reconnects"] == 1


@on_pulseaudio
def test_an_output_that_nobody_named_follows_the_default(server: SoundServer) -> None:
    server.pactl("load-module", "module-null-sink", "sink_name=headphones", "rate=48000", "channels=1", "norewinds=1")
    app = start(server, "--input", "mic.monitor")
    app.wait_for("->")
    wait_until(lambda: places(server) == ["mic.monitor"])
    server.pactl("set-default-sink", "headphones")
    wait_until(lambda: sum("->" in message for message in app.messages) == 2)
    stop(app)
    assert app.finish()["output"] == "headphones"
