"""The application on a real sound server: the virtual microphone, and a server that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import make_models
import numpy as np
import pytest
from sound_server import SAMPLE_RATE, SoundServer, needs_server, read_raw, server
from virtual_card import ROOT, Application, aligned_si_sdr_db

from quietmic.enhance.arrays import Array

pytestmark = needs_server
__all__ = ["server"]


@pytest.fixture
def voice() -> Array:
    """[n_samples], four seconds of low-pass noise in syllables: the servers' resamplers leave it whole."""
    rng = np.random.default_rng(0)
    n = 4 * SAMPLE_RATE
    envelope = 0.1 + np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
    return np.convolve(0.02 * envelope * rng.standard_normal(n), np.hanning(31), "same").astype(np.float32)


def start(server: SoundServer, *arguments: str) -> Application:
    """Starts `live` on the server; the test model halves the sound."""
    model, report = server.folder / "half.onnx", server.folder / "report.json"
    make_models.make_gain(model, 0.5)
    command = [sys.executable, str(ROOT / "app.py"), "live", "--model", str(model), "--input", "pulse"]
    process = subprocess.Popen(
        [*command, "--no-ui", "--json", str(report), *arguments],
        env=server.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return Application(process, report)


def check_voice(voice: Array, recorded: Array) -> None:
    """Most of the voice is there, at half its level; servers slip by samples under load, so not each quarter second."""
    n = SAMPLE_RATE // 4
    figures_db = [aligned_si_sdr_db(voice[k : k + n], recorded)[0] for k in range(0, len(voice), n)]
    assert np.median(figures_db) > 15, figures_db
    level = np.sqrt(np.mean(recorded[recorded != 0] ** 2) / np.mean(voice**2))
    assert level == pytest.approx(0.5, abs=0.1)


def test_the_virtual_microphone_carries_the_voice(server: SoundServer, voice: Array) -> None:
    app = start(server, "--virtual-mic", "--duration", "60")
    app.wait_for("->")
    assert "quietmic" in server.names("sources")
    recording = server.record("quietmic")
    time.sleep(2)
    server.play(voice)
    time.sleep(6)
    app.process.send_signal(signal.SIGINT)
    figures = app.finish()
    check_voice(voice, read_raw(recording))
    assert figures["output"] == "pulse"
    assert server.names("sources") == ["mic.monitor", "speaker.monitor"]
    assert server.names("sinks") == ["mic", "speaker"]


def test_two_streams_carry_the_voice_too(server: SoundServer, voice: Array) -> None:
    app = start(server, "--output", "pulse", "--two-clocks", "--duration", "60")
    app.wait_for("two streams with drift correction")
    recording = server.record("speaker.monitor")
    time.sleep(2)
    server.play(voice)
    time.sleep(6)
    app.process.send_signal(signal.SIGINT)
    figures = app.finish()
    check_voice(voice, read_raw(recording))
    assert figures["one_clock"] is False


def test_what_a_crash_left_is_removed_at_the_next_start(server: SoundServer) -> None:
    crashed = start(server, "--virtual-mic")
    crashed.wait_for("->")
    os.kill(crashed.process.pid, signal.SIGKILL)
    crashed.process.wait()
    assert server.names("sources").count("quietmic") == 1
    app = start(server, "--virtual-mic", "--duration", "30")
    app.wait_for("->")
    assert server.names("sources").count("quietmic") == 1
    second = start(server, "--virtual-mic")
    assert second.process.wait(60) == 1  # one at a time
    app.process.send_signal(signal.SIGTERM)  # as a service is stopped
    app.finish()
    assert "quietmic" not in server.names("sources")


def test_the_stream_heals_when_the_server_restarts(server: SoundServer, voice: Array) -> None:
    app = start(server, "--output", "pulse", "--duration", "120")
    app.wait_for("->")
    time.sleep(2)
    server.kill()
    app.wait_for("lost the sound devices")
    app.wait_for("trying again in 1 s")
    server.start()
    app.wait_for("the sound devices are back")
    recording = server.record("speaker.monitor")
    time.sleep(2)
    server.play(voice)
    time.sleep(6)
    app.process.send_signal(signal.SIGINT)
    figures = app.finish()
    check_voice(voice, read_raw(recording))
    assert figures["reconnects"] >= 1  # a busy machine's server may be lost again while it starts


@pytest.mark.parametrize("kind", ["card", "list"])
def test_the_command_devices_lists_the_servers_device(server: SoundServer, kind: str) -> None:
    result = subprocess.run(
        [sys.executable, str(Path(ROOT) / "app.py"), "devices", *(["--json"] if kind == "list" else [])],
        env=server.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ('"name": "pulse"' if kind == "list" else "pulse (ALSA)") in result.stdout
