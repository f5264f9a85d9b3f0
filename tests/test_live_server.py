"""The application on real sound servers: the virtual microphone, what it hears, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import make_models
import numpy as np
import pytest
from sound_server import SAMPLE_RATE, SoundServer, on_pipewire, on_pulseaudio, read_raw, server, wait_until
from virtual_card import ROOT, Application, aligned_si_sdr_db

from quietmic.enhance.arrays import Array

__all__ = ["server"]


@pytest.fixture
def voice() -> Array:
    """[n_samples], two seconds of low-pass noise in syllables: the servers' resamplers leave it whole."""
    rng = np.random.default_rng(0)
    n = 2 * SAMPLE_RATE
    envelope = 0.1 + np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
    return np.convolve(0.02 * envelope * rng.standard_normal(n), np.hanning(31), "same").astype(np.float32)


def start(server: SoundServer, *arguments: str, name: str = "report") -> Application:
    """Starts `live` on the server; the test model halves the sound."""
    model, report = server.folder / "half.onnx", server.folder / f"{name}.json"
    make_models.make_gain(model, 0.5)
    command = [sys.executable, str(ROOT / "app.py"), "live", "--model", str(model), "--no-ui", "--json", str(report)]
    process = subprocess.Popen([*command, *arguments], env=server.environment, stderr=subprocess.PIPE, text=True)
    return Application(process, report)


def ctl(server: SoundServer, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "app.py"), "ctl", *words, "--json"]
    return subprocess.run(command, env=server.environment, capture_output=True, text=True, timeout=60)


def stop(app: Application, number: int = signal.SIGINT) -> None:
    app.process.send_signal(number)


def crash(server: SoundServer) -> Application:
    """A virtual microphone that was killed while it ran."""
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    stop(app, signal.SIGKILL)
    app.process.wait()
    return app


def check_voice(voice: Array, recorded: Array, gain: float = 0.5) -> None:
    """Most of the voice is there at its level; servers slip by samples under load, so not each quarter second."""
    n = SAMPLE_RATE // 4
    figures_db = [aligned_si_sdr_db(voice[k : k + n], recorded)[0] for k in range(0, len(voice), n)]
    assert np.median(figures_db) > 15, figures_db
    level_db = 20 * np.log10(np.percentile(np.abs(recorded[recorded != 0]), 90) / np.percentile(np.abs(voice), 90))
    assert level_db == pytest.approx(20 * np.log10(gain), abs=1)


def sources(server: SoundServer) -> list[str]:
    return server.names("sources")


@on_pulseaudio
def test_the_virtual_microphone_carries_the_voice(server: SoundServer, voice: Array) -> None:
    before = server.names("sources"), server.names("sinks")
    app = start(server, "--virtual-mic", "--input", "pulse")
    app.wait_for("->")
    recording = server.record("quietmic")
    time.sleep(2)
    server.play(voice)
    time.sleep(3)
    stop(app)
    figures = app.finish()
    check_voice(voice, read_raw(recording))
    assert (figures["input"], figures["output"]) == ("mic.monitor", "quietmic_feed")
    assert (server.names("sources"), server.names("sinks")) == before


@on_pipewire
def test_a_mono_listener_hears_the_same_level(server: SoundServer) -> None:
    """PipeWire made a mono recording of the two-channel microphone 3 dB louder."""
    model = server.folder / "same.onnx"
    make_models.make_gain(model, 1.0)
    app = start(server, "--virtual-mic", "--always-on", "--model", str(model))
    app.wait_for("->")
    tone = 0.25 * np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE)
    recording, heard = server.record("quietmic"), server.record("mic.monitor")
    time.sleep(1)
    server.play(tone.astype(np.float32))
    time.sleep(2.5)
    stop(app)
    app.finish()
    levels = [np.median(np.abs(samples[np.abs(samples) > 0.01])) for samples in map(read_raw, (recording, heard))]
    assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(0, abs=0.2)


def test_it_never_listens_to_itself(server: SoundServer, voice: Array) -> None:
    """When the person made `quietmic` the default input, the server moved our own recording to it, and it howled."""
    app = start(server, "--virtual-mic", "--always-on")
    app.wait_for("->")
    recording = server.record("quietmic")
    time.sleep(1.5)
    server.pactl("set-default-source", "quietmic")
    ours = [s for s in server.listed("source-outputs") if s["properties"].get("application.name") == "quietmic"]
    for place in ("quietmic", "quietmic_feed.monitor"):  # and by hand, as in a volume control
        server.pactl("move-source-output", str(ours[0]["index"]), place, check=False)
    mic = next(s["index"] for s in server.listed("sources") if s["name"] == "mic.monitor")

    def is_back() -> bool:
        now = [s for s in server.listed("source-outputs") if s["index"] == ours[0]["index"]]
        return bool(now) and now[0]["source"] == mic

    wait_until(is_back)
    time.sleep(1)
    server.play(voice)
    time.sleep(3)
    stop(app)
    app.finish()
    check_voice(voice, read_raw(recording))
    assert np.abs(read_raw(recording)).max() < 0.5  # no howl


@on_pulseaudio
def test_every_ending_removes_the_microphone(server: SoundServer) -> None:
    """A closed terminal left a dead microphone behind that meeting programs went on using."""
    for ending in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        app = start(server, "--virtual-mic")
        app.wait_for("->")
        assert "quietmic" in sources(server)
        stop(app, ending)
        app.finish()
        assert "quietmic" not in sources(server), ending


@on_pulseaudio
def test_what_a_crash_left_is_removed_at_the_next_start(server: SoundServer) -> None:
    crash(server)
    assert sources(server).count("quietmic") == 1
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    assert sources(server).count("quietmic") == 1
    second = start(server, "--virtual-mic", name="second")
    assert second.process.wait(60) == 1  # one at a time
    stop(app)
    app.finish()
    assert "quietmic" not in sources(server)


@on_pulseaudio
def test_what_a_crash_left_is_removed_also_when_its_number_was_given_again(server: SoundServer) -> None:
    """The number of a process that ended is another program's by and by, which is not quietmic."""
    crashed = crash(server)
    left = [
        line.split("\t")
        for line in server.pactl("list", "short", "modules").stdout.splitlines()
        if f"quietmic.run={crashed.process.pid}." in line
    ]
    assert [name for _, name, *_ in left] == ["module-null-sink", "module-remap-source"]
    for index, *_ in reversed(left):
        server.pactl("unload-module", index)
    other = subprocess.Popen(["sleep", "60"])
    for _, name, arguments, *_ in left:
        server.pactl("load-module", name, arguments.replace(f"={crashed.process.pid}.", f"={other.pid}."))
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    other.kill()
    assert sources(server).count("quietmic") == 1
    stop(app)
    app.finish()
    assert "quietmic" not in sources(server)


@on_pipewire
def test_it_rests_while_nobody_listens_and_obeys_from_outside(server: SoundServer) -> None:
    app = start(server, "--virtual-mic")
    app.wait_for("resting until one does")
    assert not [s for s in server.listed("source-outputs") if s["properties"].get("application.name") == "quietmic"]
    assert json.loads(ctl(server, "status").stdout)["state"].startswith("resting")
    socket = server.folder / "quietmic.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    server.play(0.25 * np.sin(0.17 * np.arange(60 * SAMPLE_RATE)).astype(np.float32))
    server.record("quietmic")
    app.wait_for("awake again")
    wait_until(lambda: json.loads(ctl(server, "status").stdout)["state"] == "enhancing")
    state = json.loads(ctl(server, "bypass").stdout)
    assert (state["state"], state["bypass"], state["mute"]) == ("bypass: key", True, False)
    assert json.loads(ctl(server, "limit", "12").stdout)["limit_db"] == 12
    refused = ctl(server, "louder")
    assert (refused.returncode, "limit DB" in refused.stderr) == (2, True)
    server.stop_last()
    wait_until(lambda: sum("resting until" in message for message in app.messages) == 2)
    stop(app)
    assert app.finish()["rested_s"] > 0.1
    assert not socket.exists()
    assert "quietmic is running" in ctl(server, "status").stderr


@on_pipewire
def test_the_virtual_speaker_cleans_what_is_played(server: SoundServer, voice: Array) -> None:
    app = start(server, "--virtual-speaker", "--always-on")
    app.wait_for("->")
    recording = server.record("speaker.monitor")
    time.sleep(1.5)
    server.play(voice, sink="quietmic-speaker")
    time.sleep(3)
    stop(app)
    figures = app.finish()
    check_voice(voice, read_raw(recording))
    assert (figures["input"], figures["output"]) == ("quietmic-speaker.monitor", "speaker")


@on_pulseaudio
def test_it_heals_when_the_server_dies_and_leaves_nothing_behind(server: SoundServer, voice: Array) -> None:
    """Each death of the server left three threads and eight descriptors behind, and sometimes took both cores."""
    app = start(server, "--virtual-mic", "--always-on")
    app.wait_for("->")
    folder = Path(f"/proc/{app.process.pid}")

    def count() -> tuple[int, int]:
        return len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir()))

    time.sleep(1)
    before = count()
    server.kill()
    app.wait_for("lost the sound devices")
    server.start()
    app.wait_for("devices are back")
    recording = server.record("quietmic")
    time.sleep(2)
    assert count() == before
    server.play(voice)
    time.sleep(3)
    stop(app)
    figures = app.finish()
    check_voice(voice, read_raw(recording))
    assert figures["reconnects"] >= 1


@on_pipewire
def test_the_servers_devices_have_names(server: SoundServer) -> None:
    """`devices` listed only `pulse` and `default` on a sound server."""
    command = [sys.executable, str(ROOT / "app.py"), "devices", "--json"]
    listed = json.loads(subprocess.run(command, env=server.environment, capture_output=True, check=True).stdout)
    by_name = {device["name"]: device for device in listed}
    assert by_name["mic.monitor"]["is_default_input"] and by_name["speaker"]["is_default_output"]
    assert by_name["mic.monitor"]["monitor_of"] == "mic"
    assert "pulse" not in by_name


@on_pulseaudio
def test_an_input_that_would_hear_the_output_is_refused(server: SoundServer) -> None:
    app = start(server, "--input", "speaker.monitor", "--output", "speaker")
    assert app.process.wait(60) == 2


def test_without_a_server_the_advice_is_true(tmp_path: Path) -> None:
    """It advised to install a package that was there."""
    environment = dict(os.environ, PULSE_SERVER=f"unix:{tmp_path}/nobody")
    command = [sys.executable, str(ROOT / "app.py"), "live", "--virtual-mic"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, "is PulseAudio or PipeWire running?" in result.stderr) == (1, True)


@on_pulseaudio
def test_a_stumble_costs_what_it_lasts(server: SoundServer) -> None:
    """Each gap in what the virtual microphone was fed cost 1.93 s of silence: PulseAudio's null sink ran 2 s ahead."""
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    recording = server.record("quietmic")
    server.play(0.25 * np.sin(0.17 * np.arange(20 * SAMPLE_RATE)).astype(np.float32))
    wait_until(lambda: bool(np.any(read_raw(recording))))
    time.sleep(1)
    begin = len(read_raw(recording))
    for _ in range(3):
        stop(app, signal.SIGSTOP)
        time.sleep(0.4)
        stop(app, signal.SIGCONT)
        time.sleep(1.6)
    heard = read_raw(recording)[begin:]
    stop(app)
    figures = app.finish()
    silent_s = np.count_nonzero(np.abs(heard) < 1e-3) / SAMPLE_RATE
    assert silent_s < 3 * 0.9, (silent_s, figures)
    assert figures["lost_s"] < 1.5
