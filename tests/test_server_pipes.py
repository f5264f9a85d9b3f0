"""Sound through the server's tools, which are scripts here."""

import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fake_server import fake_pactl, write_program
from sound_server import wait_until

from quietmic.devices.server.pipes import Capture, Pipe, Playback
from quietmic.enhance.errors import QuietmicError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sound servers of Linux")
__all__ = ["fake_pactl"]


CONNECTED = 'echo "Connected to device fake (index: 1, suspended: no)." >&2'


def pipe_of(kind: type[Pipe], folder: Path, script: str, latency_s: float = 0.02) -> Pipe:
    """One of the tools as a script, taken by the server."""
    write_program(folder, "parec" if kind is Capture else "pacat", f"{CONNECTED}\n{script}")
    pipe = kind("fake", 16000, 1, "mono", latency_s)
    pipe.start()
    return pipe


def test_what_a_tool_tells_of_the_server_is_kept(fake_pactl: Path) -> None:
    told = r"printf 'Stream overrun.\nStream underrun.\r\nTime: 1.2 sec; Latency: 23000 usec.\r' >&2"
    with closing(pipe_of(Capture, fake_pactl, f"{told}; sleep 30")) as capture:
        wait_until(lambda: capture.active and capture.latency != 0.02)
        assert capture.latency == pytest.approx(0.023)
        assert [capture.take_gaps(), capture.take_gaps()] == [2, 0]


def test_a_tool_that_tells_much_is_not_held_up(fake_pactl: Path) -> None:
    """What nobody reads fills its pipe after 64 KiB, and the tool waits."""
    go = f"until [ -e {fake_pactl}/go ]; do sleep 0.01; done"
    much = f"head -c 300000 /dev/zero >&2; touch {fake_pactl}/told"
    with closing(pipe_of(Capture, fake_pactl, f"{go}; {much}; sleep 30")) as capture:
        (fake_pactl / "go").touch()
        wait_until(lambda: capture.active and (fake_pactl / "told").exists())


@pytest.mark.parametrize("kind", [Capture, Playback])
def test_a_closed_pipe_touches_no_file_that_got_its_number(kind: type[Pipe], fake_pactl: Path) -> None:
    pipe = pipe_of(kind, fake_pactl, "sleep 30")
    pipe.close()
    others = [(fake_pactl / f"other{i}").open("w+b") for i in range(8)]  # among them the numbers that became free
    block = np.ones((50, 1), np.int16)
    if isinstance(pipe, Playback):
        assert pipe.write(block) == 0
    for other in others:
        other.write(b"Connected")
        other.flush()
        other.seek(0)
    assert (pipe.active, pipe.fill) == (False, 0)
    if isinstance(pipe, Capture):
        assert pipe.read_into(block) == 0
    for other in others:
        assert other.read() == b"Connected"
        other.close()


def test_a_tool_that_is_refused_says_why(fake_pactl: Path) -> None:
    write_program(fake_pactl, "parec", "echo 'Stream error: No such entity' >&2; exit 1")
    with pytest.raises(QuietmicError, match="does not let parec in: Stream error: No such entity"):
        Capture("fake", 16000, 1, "mono", 0.02).start()


def test_a_recording_gives_what_waits_and_lives_though_nobody_reads(fake_pactl: Path) -> None:
    """How long nothing came tells a dead device; a worker that is late must not look like one."""
    (fake_pactl / "block").write_bytes(np.arange(100, dtype="<i2").tobytes())
    go_on = (
        f"cat {fake_pactl}/block; until [ -e {fake_pactl}/more ]; do sleep 0.01; done; cat {fake_pactl}/block; sleep 30"
    )
    with closing(pipe_of(Capture, fake_pactl, go_on)) as capture:
        assert isinstance(capture, Capture)
        wait_until(lambda: capture.fill == 100)
        seen = capture.last_time
        time.sleep(0.05)
        assert capture.fill == 100 and capture.last_time == seen
        (fake_pactl / "more").touch()
        wait_until(lambda: capture.fill == 200)
        assert capture.last_time > seen
        capture.skip(30)
        block = np.zeros((50, 1), np.int16)
        assert capture.read_into(block) == 50
        assert np.array_equal(block[:, 0], np.arange(30, 80))
        capture.skip(10**6)
        assert capture.fill == 0 and capture.read_into(block) == 0


def test_playback_begins_with_silence_and_is_dead_while_nothing_is_taken(fake_pactl: Path) -> None:
    """The server plays when its own buffer is full: of what is held back nothing would be left otherwise."""
    taken = fake_pactl / "taken"
    script = f"until [ -e {fake_pactl}/go ]; do sleep 0.01; done; exec cat > {taken}"
    with closing(pipe_of(Playback, fake_pactl, script, latency_s=0.02)) as playback:
        assert isinstance(playback, Playback)
        playback.hold_back(100)
        voice = np.arange(1, 161, dtype=np.int16)[:, None]
        assert playback.write(voice) == 100 + 320 + 160
        assert playback.fill == 580
        seen = playback.last_time
        time.sleep(0.05)
        assert playback.write(voice) == 160
        assert playback.fill == 740 and playback.last_time == seen
        (fake_pactl / "go").touch()
        wait_until(lambda: playback.fill == 0)
        assert playback.last_time > seen
        wait_until(lambda: taken.stat().st_size == 2 * 740)
        heard = np.frombuffer(taken.read_bytes(), "<i2")
        assert not heard[:420].any()
        assert np.array_equal(heard[420:], np.tile(voice[:, 0], 2))


def test_a_pipe_holds_seconds(fake_pactl: Path) -> None:
    """A worker that was away finds all that came meanwhile; the system's own pipe holds two seconds."""
    with closing(pipe_of(Capture, fake_pactl, "head -c 400000 /dev/zero; sleep 30")) as capture:
        wait_until(lambda: capture.fill == 200000)
