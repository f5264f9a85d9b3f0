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

SECONDS = range(0, 4 * SAMPLE_RATE, SAMPLE_RATE)
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
    return float(np.linalg.norm(samples)) / max(len(samples), 1) ** 0.5


def shares(server: SoundServer, voice: Array, sink: str) -> list[float]:
    """Plays a voice during a run of the program: how much of the microphone's level comes out, in each second."""
    server.kill()  # PipeWire's server for PulseAudio's clients may have died with the canceller of the last run
    server.start()
    server.hear_the_speaker()
    app = start(server, "--virtual-mic", "--always-on", "--echo-cancel", gain=1.0)
    app.wait_for("->")
    recordings = server.record("quietmic"), server.record("mic.monitor")
    server.play(voice, sink)
    wait_until(lambda: level(read_raw(recordings[1])[-SAMPLE_RATE:]) > 0.01)  # WebRTC's gain control: 30 dB less
    begin = len(read_raw(recordings[0])) + SAMPLE_RATE  # the canceller's output comes later
    wait_for_seconds(recordings[0], begin / SAMPLE_RATE + 4)
    wait_for_seconds(recordings[1], begin / SAMPLE_RATE + 4)
    for _ in (*recordings, sink):
        server.stop_last()
    stop(app)
    app.finish()
    assert "quietmic" not in server.pactl("list", "short", "sources", check=False).stdout
    out, heard = ([level(read_raw(path)[begin + k :][:SAMPLE_RATE]) for k in SECONDS] for path in recordings)
    return [a / b for a, b in zip(out, heard, strict=True)]


@on_either
def test_what_the_others_say_is_taken_out(server: SoundServer) -> None:
    """The loudspeaker is heard by the microphone; what is said into it stays."""
    n = 20 * SAMPLE_RATE
    syllables = np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
    noise = np.random.default_rng(0).standard_normal(n)
    voice = np.convolve(0.03 * syllables * noise, np.hanning(15) / 3, "same").astype(np.float32)
    assert np.median(shares(server, voice, "mic")) > 0.5
    # A run that the machine misses puts PipeWire's canceller out of step for good: it is made anew then.
    assert any(min(shares(server, voice, "quietmic-echo-reference")) < 0.3 for _ in range(12))


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
