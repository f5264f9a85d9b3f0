"""The application on real sound servers: the virtual microphone, what it hears, and how it ends."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import make_models
import numpy as np
import pytest
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
from virtual_card import ROOT, Application, aligned_si_sdr_db

from quietmic import cli
from quietmic.devices.remote import send_command
from quietmic.devices.server.virtual import microphone
from quietmic.enhance.arrays import Array

__all__ = ["server"]


@pytest.fixture
def voice() -> Array:
    """[n_samples], two seconds of low-pass noise in syllables: the servers' resamplers leave it whole."""
    rng = np.random.default_rng(0)
    n = 2 * SAMPLE_RATE
    envelope = 0.1 + np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
    return np.convolve(0.02 * envelope * rng.standard_normal(n), np.hanning(31), "same").astype(np.float32)


def start(server: SoundServer, *arguments: str, name: str = "report", gain: float = 0.5) -> Application:
    """Starts `live` on the server with a model that has a gain alone."""
    model, report = server.folder / "gain.onnx", server.folder / f"{name}.json"
    make_models.make_gain(model, gain)
    program = [sys.executable, str(ROOT / "app.py"), "live", "--band", "narrow"]  # the voices here are of 16 kHz
    command = [*program, "--model", str(model), "--no-ui", "--json", str(report)]
    process = subprocess.Popen([*command, *arguments], env=server.environment, stderr=subprocess.PIPE, text=True)
    server.keep(process)
    return Application(process, report)


def stop(app: Application, number: int = signal.SIGINT) -> None:
    app.process.send_signal(number)


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
    wait_for_seconds(recording, 1)
    server.play_through(voice, recording)
    stop(app)
    figures = app.finish()
    check_voice(voice, read_raw(recording))
    assert (figures["input"], figures["output"]) == ("mic.monitor", "quietmic_feed")
    assert (server.names("sources"), server.names("sinks")) == before


@on_pipewire
def test_a_mono_listener_hears_the_same_level(server: SoundServer) -> None:
    """PipeWire made a mono recording of the two-channel microphone 3 dB louder."""
    app = start(server, "--virtual-mic", "--always-on", gain=1.0)
    app.wait_for("->")
    tone = 0.25 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    recording, heard = server.record("quietmic"), server.record("mic.monitor")
    wait_for_seconds(recording, 0.5)
    server.play_through(tone.astype(np.float32), recording)
    stop(app)
    app.finish()
    levels = [np.median(np.abs(samples[np.abs(samples) > 0.01])) for samples in map(read_raw, (recording, heard))]
    assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(0, abs=0.2)


def test_it_never_listens_to_itself(server: SoundServer, voice: Array) -> None:
    """When the person made `quietmic` the default input, the server moved our own recording to it, and it howled."""
    app = start(server, "--virtual-mic", "--always-on")
    app.wait_for("->")
    recording = server.record("quietmic")
    wait_for_seconds(recording, 0.5)
    server.pactl("set-default-source", "quietmic")
    ours = [s for s in server.listed("source-outputs") if s["properties"].get("application.name") == "quietmic"]
    for place in ("quietmic", "quietmic_feed.monitor"):  # and by hand, as in a volume control
        server.pactl("move-source-output", str(ours[0]["index"]), place, check=False)
    mic = next(s["index"] for s in server.listed("sources") if s["name"] == "mic.monitor")

    def is_back() -> bool:
        now = [s for s in server.listed("source-outputs") if s["index"] == ours[0]["index"]]
        return bool(now) and now[0]["source"] == mic

    wait_until(is_back)
    wait_for_seconds(recording, len(read_raw(recording)) / SAMPLE_RATE + 0.5)
    server.play_through(voice, recording)
    stop(app)
    app.finish()
    check_voice(voice, read_raw(recording))
    assert np.abs(read_raw(recording)).max() < 0.5  # no howl


@on_pulseaudio
def test_every_ending_removes_the_devices(server: SoundServer) -> None:
    """A closed terminal left a dead microphone behind that meeting programs went on using."""
    before = server.names("sources"), server.names("sinks")
    endings = {"--virtual-mic": signal.SIGHUP, "--virtual-speaker": signal.SIGTERM}  # Ctrl-C ends the others here
    apps = {option: start(server, option, name=option) for option in endings}
    for option, ending in endings.items():
        apps[option].wait_for("->")
        stop(apps[option], ending)
        apps[option].finish()
    assert (server.names("sources"), server.names("sinks")) == before


@on_pulseaudio
def test_what_a_killed_run_left_is_removed_also_when_its_number_was_given_again(server: SoundServer) -> None:
    """The number of a process that ended is another program's by and by, which is not quietmic."""
    left = microphone().modules
    other = subprocess.Popen(["sleep", "60"], text=True)
    server.keep(other)
    for arguments in left:
        server.pactl("load-module", *(re.sub(r"quietmic.run=\d+", f"quietmic.run={other.pid}", a) for a in arguments))
    assert server.names("sources").count("quietmic") == 1
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    assert server.names("sources").count("quietmic") == 1
    stop(app)
    app.finish()
    assert "quietmic" not in server.names("sources")


@on_pipewire
def test_it_rests_while_nobody_listens_and_obeys_from_outside(
    server: SoundServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(server.folder))
    app = start(server, "--virtual-mic")
    app.wait_for("resting until one does")
    assert not [s for s in server.listed("source-outputs") if s["properties"].get("application.name") == "quietmic"]
    assert send_command(["status"])["state"].startswith("resting")
    socket = server.folder / "quietmic.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    server.play(0.25 * np.sin(0.17 * np.arange(60 * SAMPLE_RATE)).astype(np.float32))
    server.record("quietmic")
    app.wait_for("awake again")
    wait_until(lambda: send_command(["status"])["state"] == "enhancing")
    assert cli.main(["ctl", "bypass", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["state"], state["bypass"], state["mute"]) == ("bypass: key", True, False)
    assert send_command(["limit", "12"])["limit_db"] == 12
    assert cli.main(["ctl", "louder"]) == 2
    assert "limit DB" in capsys.readouterr().err
    assert cli.main(["ctl", "limit", "-3"]) == 2
    assert "a number of dB from 0 on" in capsys.readouterr().err  # it was taken for an option that there is not
    server.stop_last()
    wait_until(lambda: sum("resting until" in message for message in app.messages) == 2)
    stop(app)
    assert app.finish()["rested_s"] > 0.1
    assert not socket.exists()
    assert cli.main(["ctl", "status"]) == 1
    assert "quietmic is running" in capsys.readouterr().err


@on_pipewire
def test_the_virtual_speaker_cleans_what_is_played(server: SoundServer, voice: Array) -> None:
    app = start(server, "--virtual-speaker", "--always-on")
    app.wait_for("->")
    recording = server.record("speaker.monitor")
    wait_for_seconds(recording, 0.5)
    server.play_through(voice, recording, sink="quietmic-speaker")
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

    wait_for_seconds(server.record("quietmic"), 1)
    counts = [count()]
    wait_until(lambda: counts.append(count()) or len(counts) > 150)
    before = min(counts)  # a question to the server takes more for a moment
    server.kill()
    app.wait_for("lost the sound devices")
    server.start()
    app.wait_for("devices are back")
    recording = server.record("quietmic")
    wait_for_seconds(recording, 0.5)
    wait_until(lambda: count() == before)
    server.play_through(voice, recording)
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
def test_an_input_that_would_hear_the_output_is_refused(
    server: SoundServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULSE_SERVER", server.environment["PULSE_SERVER"])
    assert cli.main(["live", "--input", "speaker.monitor", "--output", "speaker"]) == 2
    assert "would hear itself" in capsys.readouterr().err


def test_without_a_server_the_advice_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It advised to install a package that was there."""
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nobody")
    assert cli.main(["live", "--virtual-mic"]) == 1
    assert "is PulseAudio or PipeWire running?" in capsys.readouterr().err


@on_pulseaudio
def test_a_stumble_costs_what_it_lasts(server: SoundServer) -> None:
    """Each gap in what the virtual microphone was fed cost 1.93 s of silence: PulseAudio's null sink ran 2 s ahead."""
    app = start(server, "--virtual-mic")
    app.wait_for("->")
    recording = server.record("quietmic")
    server.play(0.25 * np.sin(0.17 * np.arange(20 * SAMPLE_RATE)).astype(np.float32))
    wait_until(lambda: bool(np.any(read_raw(recording))))
    wait_for_seconds(recording, len(read_raw(recording)) / SAMPLE_RATE + 1)
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
