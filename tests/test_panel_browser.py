"""The panel as a person uses it: in a real browser, by mouse, keyboard and phone."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from chromium import browser, set_screen, take_picture, wait_for
from panel_visitor import open_panel

from quietmic import cli
from quietmic.panel.options import PanelOptions

pytest.importorskip("uvicorn", reason="needs the extra panel")
__all__ = ["browser"]

DROP = """
const [name, text] = arguments, data = new DataTransfer();
data.items.add(new File([Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0))], name));
document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
"""
LISTEN = """
const connect = AudioNode.prototype.connect;
window.heard = [];
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode && !(this instanceof ScriptProcessorNode)) {
    const ear = this.context.createScriptProcessor(1024, 1, 1);
    ear.onaudioprocess = (event) => window.heard.push(...event.inputBuffer.getChannelData(0));
    connect.call(this, ear);
    connect.call(ear, to);
  }
  return connect.call(this, to, ...rest);
};
"""  # what goes to the loudspeaker is kept, too
NAMELESS = """
return [...document.querySelectorAll("button, input, select, a[href], canvas, progress, [role=tab]")]
  .filter((node) => node.checkVisibility())
  .filter((node) => {
    const names = node.matches("input, select, progress") ? [...node.labels] : [node];
    return !node.ariaLabel && !names.some((each) => each.textContent.trim());
  })
  .map((node) => node.outerHTML);
"""


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a panel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("scratch")))
        with open_panel(PanelOptions(port=0, grace_s=0.1)) as address:
            yield address


def click(browser: Any, what: str) -> None:
    """Clicks where a person would, wherever the page is scrolled to."""
    wait_for(browser, what, lambda found: found.is_displayed() and found.is_enabled())
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", browser.find_element("css selector", what))
    browser.find_element("css selector", what).click()


def noise_and_tone(path: Path) -> None:
    """Two seconds that no model keeps: what is heard before is far from what is heard after."""
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal(2 * 16000), 16000, subtype="PCM_16")


def test_a_file_is_dropped_played_switched_and_downloaded(browser: Any, panel: str, tmp_path: Path) -> None:
    noise_and_tone(tmp_path / "noise.wav")
    set_screen(browser, 1280, "light")
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "got")})
    browser.get(panel)
    wait_for(browser, "#file-model option")
    browser.find_element("css selector", "#file-model option[value=tcn-tiny]").click()
    browser.execute_script(DROP, "noise.wav", base64.b64encode((tmp_path / "noise.wav").read_bytes()).decode())
    wait_for(browser, "#list > li", lambda card: card.get_attribute("data-state") == "done")
    click(browser, ".switch input[value=before]")
    click(browser, ".match")  # as it is: the voice of noise alone is no measure
    click(browser, ".play")
    wait_for(browser, ".cursor", lambda cursor: float(cursor.value_of_css_property("left")[:-2]) > 300)
    click(browser, ".switch input[value=after]")
    wait_for(browser, ".play", lambda button: button.text == "Play")  # it has come to the end
    heard = np.array(browser.execute_script("return window.heard"), np.float32)
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    click(browser, ".download")
    expected = tmp_path / "expected.wav"
    assert cli.main(["denoise", str(tmp_path / "noise.wav"), "-o", str(expected), "--model", "tcn-tiny"]) == 0
    end = time.monotonic() + 20
    while not (tmp_path / "got" / "noise-enhanced.wav").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (tmp_path / "got" / "noise-enhanced.wav").read_bytes() == expected.read_bytes()
    loud = np.abs(heard[: len(heard) // 10 * 10].reshape(-1, 10)).max(axis=1) > 0.1
    first, last = np.flatnonzero(loud)[[0, -1]]
    assert loud[first:last].mean() > 0.4  # noise before, without a gap
    assert np.abs(heard[10 * last + 2000 :]).max() < 0.03  # and nearly silence after the switch
    assert not [entry for entry in browser.get_log("browser") if "ScriptProcessor" not in entry["message"]]


def test_it_is_readable_at_both_widths_by_day_and_by_night(browser: Any, panel: str, recordings: Path) -> None:
    browser.get(panel)
    wait_for(browser, "#file-model option")
    browser.find_element("css selector", "#file-model option[value=tcn-tiny]").click()
    browser.find_element("id", "chooser").send_keys(str(recordings / "mono_keyboard_noisy.flac"))
    wait_for(browser, "#list > li", lambda card: card.get_attribute("data-state") == "done")
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            set_screen(browser, width, scheme, 1400)
            canvas = wait_for(browser, "canvas.picture", lambda found: found.size["width"] > width / 2)  # noqa: B023
            time.sleep(0.1)
            picture = take_picture(browser)
            assert (np.median(picture) > 0.5) == (scheme == "light")
            box = canvas.rect
            seen = picture[int(box["y"]) : int(box["y"] + box["height"]), int(box["x"]) : int(box["x"] + box["width"])]
            for part in np.array_split(seen, 3):  # the waves and both spectrograms
                assert part.std() > 0.04
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert browser.execute_script(NAMELESS) == []
    assert browser.get_log("browser") == []


def test_the_parts_are_reached_by_keyboard(browser: Any, panel: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(panel)
    wait_for(browser, "#file-model option")
    browser.find_element("id", "files-tab").send_keys(Keys.ARROW_RIGHT)
    assert browser.switch_to.active_element.get_attribute("id") == "live-tab"
    assert browser.find_element("id", "live").is_displayed() and not browser.find_element("id", "files").is_displayed()
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "file-model"
    slider = browser.find_element("id", "file-limit")
    slider.send_keys(Keys.ARROW_LEFT)
    assert slider.get_attribute("aria-valuetext") == "36 dB at most"
