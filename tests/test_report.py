"""The report and the listening page, looked at in a real browser where there is one."""

import base64
import json
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reports_fixtures import RATE, voice, write_pairs

from quietmic import cli
from quietmic.enhance.report.media import sound_uri
from quietmic.enhance.report.report import script_data
from quietmic.enhance.report.spectrogram import peak_db, spectrogram_uri

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


def decoded(uri: str) -> bytes:
    """Bytes of a data URI."""
    return base64.b64decode(uri.split(",", 1)[1])


def png_pixels(data: bytes) -> np.ndarray:
    """Palette indices [height, width] of a PNG that uses no line filter."""
    width, height = struct.unpack(">II", data[16:24])
    compressed = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    return np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(height, width + 1)[:, 1:]


def test_a_tone_lies_at_its_place_in_the_picture():
    tone = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE).astype(np.float32)
    pixels = png_pixels(decoded(spectrogram_uri(tone, peak_db(tone), RATE)))
    assert pixels.shape[0] == 128
    rows = pixels.argmax(axis=0)
    assert abs(np.median(rows) - 95.5) <= 1  # 2 of 8 kHz: a quarter of the height from below
    assert pixels.max() == 255 and np.median(pixels) < 10


def test_a_dashed_line_shows_where_8_khz_is() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 12000 * np.arange(48000) / 48000).astype(np.float32)
    pixels = png_pixels(decoded(spectrogram_uri(tone, peak_db(tone), 48000)))
    assert abs(np.median(pixels.argmax(axis=0)[1::4]) - 63.5) <= 1  # the tone, in the middle of 24 kHz
    assert (pixels[128 - 43, ::4] == 255).all() and pixels[128 - 43, 2] < 10
    assert png_pixels(decoded(spectrogram_uri(tone, peak_db(tone), 16000)))[128 - 43, ::4].max() < 10


def test_flac_sounds_are_exact(tmp_path):
    samples = voice(1.0)
    (tmp_path / "sound.flac").write_bytes(decoded(sound_uri(samples, RATE)))
    again, rate = soundfile.read(tmp_path / "sound.flac", dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(again, samples, atol=1 / 32768)


@pytest.fixture(scope="module")
def page(tmp_path_factory, passthrough_model, model_folder) -> Path:
    """A report of two networks and a peer over three scenes."""
    folder = tmp_path_factory.mktemp("report")
    write_pairs(folder / "scenes")
    arguments = ["report", str(folder / "scenes"), "-o", str(folder / "report.html"), "--peer", "noisereduce"]
    arguments += ["--model", str(passthrough_model), "--model", str(model_folder / "tenth.onnx")]
    arguments += ["--cache", str(folder / "cache"), "--records", str(folder / "records")]
    assert cli.main(arguments) == 0
    return folder / "report.html"


def test_the_page_needs_no_network_and_its_files_agree(page):
    html = page.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(re.match(r"data:|#|report\.(md|csv|json)$", source) for source in sources)
    assert html.count("<audio") == 3 * 4  # best, median, worst: noisy, model, peer, clean
    figures = json.loads(page.with_suffix(".json").read_text())
    mean = figures["evaluation"]["figures"]["summary"]["passthrough"]["si_sdr"]["mean"]
    text = page.with_suffix(".md").read_text()
    assert f"| passthrough | {mean:.2f} |" in text
    assert "not measured" in text  # noisereduce has no live use
    assert len(page.with_suffix(".csv").read_text().splitlines()) == 1 + 3 * 4


def test_a_second_report_draws_from_the_records(page):
    before = sorted((page.parent / "records").iterdir())
    arguments = ["report", "-o", str(page.parent / "again.html"), "--records", str(page.parent / "records")]
    assert cli.main(arguments) == 0
    assert sorted((page.parent / "records").iterdir()) == before
    assert "passthrough" in (page.parent / "again.html").read_text(encoding="utf-8")


def test_without_the_data_the_figures_stay_and_the_sounds_go(page, tmp_path):
    folder = shutil.copytree(page.parent / "records", tmp_path / "records")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace(str(page.parent / "scenes"), str(tmp_path / "gone")))
    assert cli.main(["report", "-o", str(tmp_path / "report.html"), "--records", str(folder)]) == 0
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nothing to play" in html and "<audio" not in html
    assert "passthrough" in html


def test_the_script_gets_numbers_for_the_input_snr(page):
    record = json.loads(page.with_suffix(".json").read_text())["evaluation"]["figures"]
    record["rows"][0]["snr_db"] = "n/a"
    data = script_data(record, None)
    assert [row["snr_db"] for row in data["rows"][:5]] == [None, 0, 0, 0, 5]


def test_a_system_without_recordings_is_wrong_use(page, passthrough_model, tmp_path, capsys):
    arguments = ["report", str(page.parent / "scenes"), "-o", str(tmp_path / "r.html"), "--mics", "2"]
    arguments += ["--model", str(passthrough_model), "--cache", str(tmp_path / "c"), "--records", str(tmp_path / "r")]
    assert cli.main(arguments) == 2
    assert "no recording has 2 channels; name other numbers with --mics" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_listening_page_holds_every_version_of_every_scene(page, passthrough_model):
    out = page.parent / "listen.html"
    scenes = str(page.parent / "scenes")
    assert cli.main(["listen", scenes, "-o", str(out), "--model", str(passthrough_model), "--count", "2"]) == 0
    html = out.read_text(encoding="utf-8")
    assert html.count("data:audio/ogg") == 2 * 3  # noisy, model, clean
    assert "scene_000" in html and "scene_001" in html
    assert cli.main(["report", scenes, "--listen", "--model", str(passthrough_model), "--scene", "nobody"]) == 2


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def open_page(browser, page: Path, width: int, scheme: str) -> np.ndarray:
    """Loads a page and gives its screenshot as [height, width, 3]."""
    import io

    import matplotlib.image

    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())
    return matplotlib.image.imread(io.BytesIO(browser.get_screenshot_as_png()))[..., :3]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(browser, page, width, scheme):
    picture = open_page(browser, page, width, scheme)
    assert picture.std() > 0.05  # not blank
    assert (np.median(picture) > 0.5) == (scheme == "light")
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(browser.find_elements("css selector", "#files-table tbody tr")) == 12
    assert len(browser.find_elements("css selector", "#chart circle")) == 2
    assert all(table.find_elements("css selector", "tbody tr") for table in browser.find_elements("tag name", "table"))


def test_the_table_sorts_and_filters(browser, page):
    open_page(browser, page, 1280, "light")

    def cells(column: int) -> list[str]:
        return [e.text for e in browser.find_elements("css selector", f"#files-table td:nth-child({column})")]

    heading = browser.find_element("css selector", 'th[data-name="si_sdr"] button')
    browser.execute_script("arguments[0].click()", heading)
    column = 1 + [e.text for e in browser.find_elements("css selector", "#files-table th button")].index("SI-SDR dB")
    values = [float(text) for text in cells(column)]
    assert values == sorted(values, reverse=True)
    browser.execute_script("arguments[0].click()", heading)
    assert [float(text) for text in cells(column)] == sorted(values)
    browser.find_element("id", "files-filter").send_keys("street pass")
    assert set(cells(2)) == {"passthrough"} and set(cells(1)) == {"scene_001"}
