"""The sound server's echo canceller before the microphone."""

import time
from pathlib import Path

import make_models
import numpy as np
import pytest
from sound_server import SAMPLE_RATE, SERVERS, SoundServer, needs_pulseaudio, read_raw, server, wait_until
from test_live_server import start, stop

from quietmic.enhance.arrays import Array

__all__ = ["server"]

MODULES = next(iter(Path("/usr/lib").glob("pulse-*/modules")), None)


on_either = pytest.mark.parametrize(
    "server",
    [pytest.param(SoundServer, id="pulseaudio", marks=[needs_pulseaudio, pytest.mark.slow]), SERVERS[1]],
    indirect=True,
)


class ServerWithoutCanceller(SoundServer):
    """PulseAudio that finds all its modules but the one for echoes."""

    def _programs(self) -> list[list[str]]:
        assert MODULES is not None
        modules = self.folder / "modules"
        modules.mkdir(exist_ok=True)
        for module in MODULES.glob("*.so"):
            if "echo-cancel" not in module.name:
                (modules / module.name).symlink_to(module)
        ((program, *arguments),) = super()._programs()
        return [[program, f"--dl-search-path={modules}", *arguments]]


def level(samples: Array) -> float:
    return float(np.sqrt(np.mean(samples**2)))


@on_either
def test_what_the_others_say_is_taken_out(server: SoundServer) -> None:
    """The loudspeaker is heard by the microphone, faint and late; what is said into it stays."""
    model = server.folder / "same.onnx"
    make_models.make_gain(model, 1.0)
    server.pactl("load-module", "module-loopback", "source=speaker.monitor", "sink=mic", "latency_msec=30")
    wait_until(lambda: bool(server.listed("sink-inputs")))
    server.pactl("set-sink-input-volume", str(server.listed("sink-inputs")[0]["index"]), "-12dB")
    app = start(server, "--virtual-mic", "--always-on", "--echo-cancel", "--model", str(model))
    app.wait_for("->")
    paths = server.record("quietmic"), server.record("mic.monitor")
    n = 20 * SAMPLE_RATE
    syllables = np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
    noise = np.random.default_rng(0).standard_normal(n)
    voice = np.convolve(0.1 * syllables * noise, np.hanning(15) / 3, "same").astype(np.float32)
    server.play(voice)
    time.sleep(3)
    near = [level(read_raw(path)[-SAMPLE_RATE:]) for path in paths]
    server.stop_last()
    server.play(voice, sink="quietmic-echo-reference")
    time.sleep(6)
    far = [level(read_raw(path)[-2 * SAMPLE_RATE :]) for path in paths]
    stop(app)
    app.finish()
    assert near[1] > 0.03 and far[1] > 0.01  # WebRTC's gain control made them 30 dB less
    assert near[0] > 0.5 * near[1], (near, far)
    assert far[0] < 0.5 * far[1], (near, far)
    assert not [name for name in server.names("sources") if "quietmic" in name]


@needs_pulseaudio
def test_a_server_without_one_is_named(tmp_path: Path) -> None:
    server = ServerWithoutCanceller(tmp_path)
    try:
        app = start(server, "--virtual-mic", "--echo-cancel")
        assert app.process.wait(60) == 1
        wait_until(lambda: any("has no echo canceller" in message for message in app.messages))
        assert not [name for name in server.names("sources") if "quietmic" in name]
    finally:
        server.close()
