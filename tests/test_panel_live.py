"""The live part of the panel on the file-backed card, steered in a real browser."""

import io
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from chromium import browser, set_screen, take_picture, wait_for
from panel_visitor import Program, Visitor, hear, left_in
from test_live_card import babble
from virtual_card import VirtualCard, card, needs_card

from quietmic.devices.remote import send_command

pytest.importorskip("uvicorn", reason="needs the extra panel")
pytestmark = needs_card
__all__ = ["browser", "card"]

WRONG = (
    '{"do": "start", "model": "/etc/passwd"}', '{"do": "start", "array": "/tmp/a.toml"}', '{"do": "shout"}',
    '{"do": "start", "channels": [0, 0]}', '{"do": "steer", "words": ["quit"]}',
)  # fmt: skip
DEVICES = ("--input", "testmic", "--output", "testspk", "--band", "narrow")  # files of 16 kHz


@pytest.fixture
def program(card: VirtualCard, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """The panel with four microphones of the card, of which the third is dead."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(card.folder))
    model = ("--model", str(model_folder / "beam.onnx"), "--channels", "0,1,2,3")
    running = Program(card.folder, card.environment, *DEVICES, *model)
    yield running
    running.process.kill()
    running.process.wait()


def pressed(browser: Any, name: str) -> None:
    """Presses a switch and waits until the run has heard of it."""
    before = browser.find_element("id", name).get_attribute("aria-pressed")
    browser.find_element("id", name).click()
    wait_for(browser, f"#{name}", lambda button: button.get_attribute("aria-pressed") != before)


def wait_for_status(name: str, value: object) -> dict[str, Any]:
    """What `quietmic ctl status` tells, once the order that was sent has come there."""
    end = time.monotonic() + 20
    while (told := send_command(["status"]))[name] != value:
        assert time.monotonic() < end, told
        time.sleep(0.05)
    return told


def levels(browser: Any, what: str) -> list[float]:
    """What a meter shows over a second."""
    found = []
    for _ in range(12):
        found.append(float(browser.find_element("css selector", what).get_attribute("aria-valuenow")))
        time.sleep(0.08)
    return found


def test_a_run_is_steered_from_the_page(browser: Any, card: VirtualCard, program: Program) -> None:
    from selenium.webdriver.common.keys import Keys

    noisy = babble(60, 4)
    noisy *= np.where(np.arange(noisy.shape[1]) // 8000 % 2, 1, 0.1)  # half a second loud, half a second quiet
    noisy[2] = 0
    set_screen(browser, 390, "dark", 1500)
    browser.get(f"{program.address}#live")
    wait_for(browser, "#input", lambda select: select.get_attribute("value") == "testmic")
    browser.find_element("id", "start").click()
    wait_for(browser, "#start", lambda button: button.text == "Stop")
    card.feed(noisy)
    wait_for(browser, "#state", lambda state: state.text == "enhancing")
    wait_for(browser, ".meter.dead", lambda meter: meter.get_attribute("aria-label") == "Mic 3: dead?")
    assert len(browser.find_elements("css selector", ".meter.dead")) == 1
    for what in ("#input-meter", "#output-meter", "#mic-meters div"):
        moving = levels(browser, what)
        assert min(moving) > -70 and max(moving) - min(moving) > 10, (what, moving)
    assert "4 microphones" in browser.find_element("id", "figures").text
    canvas = browser.find_element("id", "running").rect
    picture = take_picture(browser)[int(canvas["y"]) : int(canvas["y"] + canvas["height"])]
    right = picture[:, int(canvas["x"] + canvas["width"]) - 20 : int(canvas["x"] + canvas["width"]) - 4]
    assert right[: len(right) // 2].std() > 0.05 and right[len(right) // 2 :].std() > 0.05

    pressed(browser, "bypass")
    browser.find_element("id", "live-limit").send_keys(Keys.ARROW_LEFT)
    wait_for(browser, "#state", lambda state: state.text == "bypass: key")
    told = wait_for_status("limit_db", 36)  # of the session that `quietmic ctl` steers, too
    assert (told["bypass"], told["mute"], told["limit_db"]) == (True, False, 36)
    send_command(["bypass", "off"])
    wait_for(browser, "#bypass", lambda button: button.get_attribute("aria-pressed") == "false")
    pressed(browser, "mute")
    wait_for(browser, "#output-meter", lambda meter: meter.get_attribute("aria-valuenow") == "-100")
    pressed(browser, "record")
    time.sleep(0.3)
    pressed(browser, "record")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390

    browser.find_element("id", "start").click()
    link = wait_for(browser, "#recordings a[href$='-raw.flac']")
    raw = Visitor(program.address).ask("GET", link.get_attribute("href").removeprefix(program.address.rstrip("/")))
    samples, rate = soundfile.read(io.BytesIO(raw.body))
    assert (samples.shape[1], rate) == (4, 16000) and len(samples) > 4000
    assert not np.any(samples[:, 2]) and np.any(samples[:, 0])
    assert browser.get_log("browser") == []
    assert program.end(signal.SIGTERM) == 0
    assert not left_in(program.scratch)
    assert not (card.folder / "quietmic.sock").exists()


def test_a_board_begins_by_itself_and_a_signal_ends_all(
    card: VirtualCard, passthrough_model: Path, request: pytest.FixtureRequest
) -> None:
    token = "correct-horse-battery"
    arguments = ("--live", "--host", "0.0.0.0", "--token", token, "--model", str(passthrough_model))
    program = Program(card.folder, card.environment, *DEVICES, *arguments)
    request.addfinalizer(program.process.kill)
    assert program.address.endswith(f"?token={token}")
    port = program.address.rpartition(":")[2].partition("/")[0]
    phone = Visitor(f"http://127.0.0.1:{port}/", {"Cookie": f"quietmic-panel={token}"})
    card.feed(babble(30))
    with phone.connect() as socket:
        while hear(socket, "meters")["state"] != "enhancing":
            pass
        socket.send('{"do": "start", "input": "no such microphone"}')
        while (live := hear(socket, "live"))["state"] != "off" or "no such microphone" not in live["about"]:
            pass  # the run that went on ends first
        socket.send('{"do": "start", "input": "testmic", "output": "testspk", "model": "tcn-tiny", "limit_db": 12}')
        while (meters := hear(socket, "meters"))["state"] != "enhancing":
            pass
        assert (meters["model"], meters["limit_db"], meters["n_mics"]) == ("tcn-tiny", 12, 1)
        socket.send('{"do": "start", "input": "testmic", "output": "testspk", "model": "tcn-small"}')
        while (changed := hear(socket, "meters"))["model"] != "tcn-small" or changed["state"] != "enhancing":
            assert changed["state"] in ("enhancing", "bypass: changing the model", "bypass: loading a smaller model")
        assert changed["duration_s"] > meters["duration_s"]  # the same run, which went on
        assert "changed to tcn-small" in changed["messages"] and changed["limit_db"] == 12
        for order in WRONG:
            socket.send(order)
            assert hear(socket, "error")
    assert program.end(signal.SIGHUP) == 0
    assert not left_in(program.scratch)
