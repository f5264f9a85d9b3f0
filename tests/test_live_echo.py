"""The sound server's echo canceller before the microphone."""

from pathlib import Path

import numpy as np
import pytest
from sound_server import (
    SAMPLE_RATE,
    SERVERS,
    SoundServer,
    needs_pulseaudio,
    read_raw,
    server,
    wait_for_seconds,
    wait_until,
)
from test_live_server import start, stop

from quietmic import cli
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
    server.pactl("load-module", "module-loopback", "source=speaker.monitor", "sink=mic", "latency_msec=30")
    wait_until(lambda: bool(server.listed("sink-inputs")))
    server.pactl("set-sink-input-volume", str(server.listed("sink-inputs")[0]["index"]), "-12dB")
    app = start(server, "--virtual-mic", "--always-on", "--echo-cancel", gain=1.0)
    app.wait_for("->")
    paths = server.record("quietmic"), server.record("mic.monitor")
    n = 20 * SAMPLE_RATE
    syllables = np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
    noise = np.random.default_rng(0).standard_normal(n)
    voice = np.convolve(0.1 * syllables * noise, np.hanning(15) / 3, "same").astype(np.float32)

    def levels() -> list[float]:
        return [level(read_raw(path)[-SAMPLE_RATE:]) for path in paths]

    server.play(voice)
    wait_until(lambda: levels()[1] > 0.03)  # WebRTC's gain control made it 30 dB less
    wait_until(lambda: levels()[0] > 0.5 * levels()[1])
    server.stop_last()
    wait_until(lambda: max(levels()) < 1e-3)
    server.play(voice, sink="quietmic-echo-reference")
    wait_until(lambda: levels()[1] > 0.01)
    wait_for_seconds(paths[0], len(read_raw(paths[0])) / SAMPLE_RATE + 2)  # the canceller's output comes later
    wait_until(lambda: levels()[0] < 0.5 * levels()[1])  # it learns the way that the echo takes
    stop(app)
    app.finish()
    assert not [name for name in server.names("sources") if "quietmic" in name]


@needs_pulseaudio
def test_a_server_without_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ServerWithoutCanceller(tmp_path)
    try:
        monkeypatch.setenv("PULSE_SERVER", server.environment["PULSE_SERVER"])
        assert cli.main(["live", "--virtual-mic", "--echo-cancel"]) == 1
        assert "has no echo canceller" in capsys.readouterr().err
        assert not [name for name in server.names("sources") if "quietmic" in name]
    finally:
        server.close()
