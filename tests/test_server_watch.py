"""What is seen in the sound server while a run lasts, and what is done about it."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fake_server import asked, fake_pactl, node, output, tell_outputs, watched
from sound_server import wait_until

from quietmic.devices.server.pactl import Snapshot, Stream
from quietmic.devices.server.watch import Watch, Wiring, count_users, find_misplaced

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sound servers of Linux")
__all__ = ["fake_pactl", "watched"]

USUAL = Wiring("usb", "out", "quietmic")


def test_users_are_programs_that_record_and_no_level_meters() -> None:
    sources = (node(1, "mic"), node(2, "quietmic"))
    recording = (
        Stream(1, 2, 7, False, False),  # a meeting
        Stream(2, 2, 8, True, False),  # paused
        Stream(3, 2, 9, False, True),  # a volume control
        Stream(4, 1, 10, False, False),  # at another microphone
    )
    snapshot = Snapshot(sources, (), recording, ())
    assert count_users(Wiring(offered="quietmic"), snapshot) == 1


def tell(folder: Path, event: str) -> None:
    with (folder / "events").open("a") as events:
        print(f"Event {event}", file=events)


def watching(
    wiring: Wiring = USUAL, pids: tuple[int, ...] = (), silence: Callable[[bool], None] = lambda moved: None,
    on_change: Callable[[], None] = lambda: None,
) -> closing[Watch]:  # fmt: skip
    """A watch of the streams of some processes, for as long as the context lasts."""
    return closing(Watch(wiring, lambda: pids, silence, on_change, print))


def questions(folder: Path) -> list[str]:
    """Last words of what was asked so far."""
    return [line.split()[-1] for line in asked(folder)]


def test_a_new_listener_costs_one_question(watched: Path) -> None:
    """Two questions, one after the other, took half of the silence that a listener hears first."""
    n_changes: list[int] = []
    with watching(on_change=lambda: n_changes.append(1)) as watch:
        wait_until(lambda: bool(n_changes))
        assert questions(watched) == ["list", "info"] and watch.n_users == 0
        tell_outputs(watched, output(5, 3))
        tell(watched, "'new' on source-output #5")
        wait_until(lambda: len(n_changes) == 2)
        assert questions(watched) == ["list", "info", "list"] and watch.n_users == 1
        tell(watched, "'change' on server #0")
        wait_until(lambda: len(questions(watched)) >= 5)
        assert questions(watched) == ["list", "info", "list", "list", "info"]


def test_streams_of_ours_are_found_where_they_do_not_belong() -> None:
    sources = (node(1, "usb"), node(2, "headset"))
    recording = (Stream(5, 2, 70, False, False), Stream(6, 1, 70, False, False), Stream(7, 2, 99, False, False))
    server = Snapshot(sources, (), recording, ())
    found = find_misplaced(Wiring(source="usb"), server, (70,))
    assert [(move.command, move.index, move.place, move.home) for move in found] == [
        ("move-source-output", 5, "headset", "usb")
    ]
    assert not find_misplaced(Wiring(), server, (70,))  # the server's default: anywhere is right


def test_the_server_is_asked_when_something_changed_that_concerns_a_run(watched: Path) -> None:
    with watching():
        wait_until(lambda: questions(watched) == ["list", "info"])
        for event in ("'new' on source-output #5", "'change' on sink-input #6", "'change' on sink #7"):
            n = len(questions(watched))
            tell(watched, event)
            wait_until(lambda n=n: questions(watched)[n:] == ["list"])
        for event in ("'new' on sink #8", "'remove' on source #9", "'change' on server #0"):
            n = len(questions(watched))
            tell(watched, event)
            wait_until(lambda n=n: questions(watched)[n:] == ["list", "info"])
        n = len(questions(watched))
        tell(watched, "'new' on client #10")
        tell(watched, "'change' on card #11")
        time.sleep(0.5)
        assert len(questions(watched)) == n


def test_all_is_asked_now_and_then_though_nothing_was_told(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quietmic.devices.server.watch.LOOK_ANYWAY_S", 0.1)
    with watching():
        wait_until(lambda: questions(watched)[:6] == 3 * ["list", "info"])
        tell(watched, "'new' on source-output #5")  # says nothing of defaults, this once
        wait_until(lambda: "list list info" in " ".join(questions(watched)))


def test_a_run_follows_the_default_only_where_none_was_named() -> None:
    nodes = (node(1, "usb"), node(2, "headset"))
    server = Snapshot(nodes, nodes, (), (), "headset", "headset")
    named = Wiring("usb", "usb", follows_source=False, follows_sink=False)
    assert named.follow(server) == named
    for follows in ((True, False), (False, True)):
        followed = Wiring("usb", "usb", "", *follows).follow(server)
        assert (followed.source == "headset", followed.sink == "headset") == follows


def moves(folder: Path) -> list[str]:
    return [line for line in asked(folder) if line.startswith("move-")]


def test_a_stream_that_was_moved_is_silent_until_it_is_back(watched: Path) -> None:
    """A recording of the loudspeaker would let the meeting hear itself."""
    silenced: list[bool] = []
    tell_outputs(watched, output(5, 2, 70))
    (watched / "move-source-output_5_usb").touch()
    with watching(pids=(70,), silence=silenced.append):
        wait_until(lambda: len(moves(watched)) == 1)
        assert silenced == [True] and moves(watched) == ["move-source-output 5 usb"]
        tell_outputs(watched, output(5, 1, 70))
        tell(watched, "'change' on source-output #5")
        wait_until(lambda: silenced == [True, False])
        assert len(moves(watched)) == 1


def test_a_stream_is_left_alone_while_another_default_is_taken_up(watched: Path) -> None:
    """The session opens the new device; a stream put back meanwhile would be moved to and fro."""
    changes: list[int] = []
    tell_outputs(watched, output(5, 2, 70))
    wiring = Wiring("old", "out", "quietmic", follows_source=True)
    with watching(wiring, pids=(70,), on_change=lambda: changes.append(1)) as watch:
        wait_until(lambda: bool(changes))
        wait_until(lambda: watch.looked_at > 0)
        assert watch.wanted.source == "usb" and watch.missing == "old"
        watch.look()
        assert not moves(watched)
        assert len(changes) == 1  # the second look told nothing new


def test_nobody_is_known_to_listen_once_the_server_is_gone(watched: Path) -> None:
    with watching() as watch:
        wait_until(lambda: watch.n_users == 0)
        (watched / "-f_json_list").unlink()
        tell(watched, "'change' on server #0")
        wait_until(lambda: watch.n_users is None)


def test_a_subscription_ends_with_the_run(watched: Path) -> None:
    """`pactl subscribe` ends by itself only when it has something to tell."""
    code = (
        "from quietmic.devices.server.watch import Watch, Wiring\nimport time, sys\n"
        "watch = Watch(Wiring('usb', 'out', 'quietmic'), tuple, lambda moved: None, lambda: None, print)\n"
        "while watch.n_users is None: time.sleep(0.01)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    assert run.stdout is not None and run.stdout.readline() == b"ready\n"
    assert subscriptions(watched)
    run.kill()
    run.wait()
    run.stdout.close()
    wait_until(lambda: not subscriptions(watched))


def subscriptions(folder: Path) -> list[Path]:
    """Processes that read this test's events."""
    return [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if _reads(path, folder / "events")]


def _reads(cmdline: Path, events: Path) -> bool:
    try:
        return str(events).encode() in cmdline.read_bytes()
    except OSError:
        return False
