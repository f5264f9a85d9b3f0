"""The view at every size of the terminal, the losses in seconds, and what is told of them."""

import errno
import io
import os
import re
import select
import sys

import pytest
from fake_portaudio import FakePortAudio
from live_session import make_session
from rich.console import Console

from quietmic.cli.view import live_view, render
from quietmic.devices.controls import HELP
from quietmic.devices.keys import Keys
from quietmic.devices.losses import Losses, advise
from quietmic.devices.session import Session
from quietmic.devices.tally import Tally


def text_of(session: Session, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, record=True)
    console.print(render(session, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(40, 24), (40, 16), (80, 14), (80, 24), (200, 50)])
def test_nothing_needed_is_cut(backend: FakePortAudio, width: int, height: int) -> None:
    session = make_session(backend)
    session.latency_s = 0.1  # as once there is sound, when there is most to show
    for n in range(9):
        session.log(f"fell {n}.5 s behind: dropped {n} blocks")
    session.log("this is the newest message")
    lines = text_of(session, width, height)
    assert len(lines) < height and max(map(len, lines)) <= width
    text = " ".join(line.strip("│ ") for line in lines)
    for part in ("waiting for sound", "input", "output", "this is the newest message", *HELP.split("  ")):
        assert part in text, lines
    assert sum("-100.0 dB" in line for line in lines) == 2
    names = [re.split(r"  +", line.strip("│ "))[0] for line in lines[1 : -len(HELP) // width - 2]]
    assert not [name for name in names if name.endswith("…") and len(name) < 12], lines


def test_a_long_state_cuts_no_names_and_nothing_that_was_switched(backend: FakePortAudio) -> None:
    """At 40 columns `muted` was cut, and the names down to two letters."""
    session = make_session(backend)
    session.rest.begin()
    session.controls.press("m")
    text = "\n".join(text_of(session, 40, 20))
    for part in ("state", "muted  resting: no pro", "input", "output", "losses"):
        assert part in text, text


class ClosedTerminal(io.StringIO):
    """A terminal that was closed: what is written into it is an error."""

    is_closed = False
    n_refused = 0

    def write(self, text: str) -> int:
        if self.is_closed:
            self.n_refused += 1
            raise OSError(errno.EIO, "Input/output error")
        return len(text)


def test_a_terminal_that_is_closed_ends_no_run(backend: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the view failed, so the figures of the run were not written, and the exit code was 1."""
    terminal = ClosedTerminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with live_view(make_session(backend)) as refresh:
        terminal.is_closed = True
        for _ in range(8):
            refresh()
    assert terminal.n_refused > 0


@pytest.mark.skipif(os.name == "nt", reason="terminals as Unix has them")
def test_keys_of_a_terminal_come_also_after_ctrl_s_and_not_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-S held the view, and with it the run: no listener woke it any more."""
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Keys() as keys:
            os.write(keyboard, b"\x13m")
            assert select.select([terminal], [], [], 20)[0]
            assert keys.read() == "\x13m"
            os.close(keyboard)
            assert keys.read() == ""


def test_before_the_first_block_nothing_is_enhanced(backend: FakePortAudio) -> None:
    text = "\n".join(text_of(make_session(backend), 80, 24))
    assert "waiting for sound" in text
    assert "latency" not in text and "enhancing" not in text


def test_one_message_for_one_cause_with_its_count(backend: FakePortAudio) -> None:
    session = make_session(backend)
    for n in range(3):
        session.log(f"trying again in {n} s")
    session.log("the sound devices are back")
    lines = [line for line in text_of(session, 80, 24) if "again" in line or "back" in line]
    assert len(lines) == 2
    assert "are back" in lines[0] and "trying again in 2 s (3 times)" in lines[1]


def test_losses_are_weighed_in_seconds() -> None:
    """Two gaps of two seconds each were two events, and nothing was said."""
    tally = Tally()
    losses = Losses(tally, 0.01, window_s=5.0)
    losses.open(100.0)
    for _ in range(500):
        tally.add_hop(0.001)
    assert losses.judge(105.0) is None
    for _ in range(300):
        tally.add_hop(0.001)
    assert losses.judge(109.0) is None  # the window lasts
    assert losses.judge(110.0) == "2.0 of 5 s of sound were lost"
    assert losses.lost_s(110.0) == pytest.approx(2.0)
    losses.close(110.0)
    assert losses.lost_s(200.0) == pytest.approx(2.0)
    losses.open(200.0)
    tally.underruns += 4
    for _ in range(500):
        tally.add_hop(0.001)
    assert losses.judge(205.0) == "4 gaps in 5 s"
    tally.underruns += 3
    for _ in range(700):
        tally.add_hop(0.001)
    assert losses.judge(212.0) is None  # asked late, of seven seconds
    assert losses.judge(218.0) == "6.0 of 6 s of sound were lost"
    assert losses.lost_s(218.0) == pytest.approx(8.0)
    for n_hops, begin_s, told in ((470, 218.0, "0.3 of 5 s of sound were lost"), (490, 223.0, None)):
        for _ in range(n_hops):
            tally.add_hop(0.001)
        assert losses.judge(begin_s + 5) == told


@pytest.mark.parametrize(
    ("latency", "has_jitter", "one_clock", "advice"),
    [
        ("low", False, True, "try a latency of 0.2 s or more jitter or two clocks"),
        (0.2, False, False, "try more jitter"),
        (0.2, True, False, "too busy for so short a buffer"),
    ],
)
def test_followed_advice_is_not_repeated(latency: float | str, has_jitter: bool, one_clock: bool, advice: str) -> None:
    assert advise(latency, has_jitter, one_clock).endswith(advice)
