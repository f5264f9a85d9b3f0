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
from chromium import browser, set_screen, take_picture, wait_for
from reports_fixtures import RATE, stop_after_four, voice, write_pairs

from quietmic import cli
from quietmic.enhance.measure import job as single
from quietmic.enhance.measure.summary import FIGURE_NAMES
from quietmic.enhance.measure.tables import evaluation_tables
from quietmic.enhance.report.answer import find_answer
from quietmic.enhance.report.media import sound_uri
from quietmic.enhance.report.report import script_data
from quietmic.enhance.report.spectrogram import peak_db, spectrogram_uri

__all__ = ["browser"]


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
    shutil.copytree(folder / "scenes" / "clean", folder / "scenes" / "reverberant")
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


def test_the_answer_stands_first_then_the_chart_then_tables(page):
    html = page.read_text(encoding="utf-8")
    places = [html.index(text) for text in ("On this machine take passthrough", 'id="chart"', "<table")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("rtf", "title", "reason"),
    [
        ({"small": 0.1, "large": 0.4}, "On this machine take large", "Of 2 models that leave half of one core free"),
        ({"small": 0.1, "large": 0.9}, "On this machine take small", "The only model measured has"),
        ({"small": 0.6, "large": 1.4}, "On this machine take small", "None of 2 models leaves half of one core free"),
        ({}, "Take large", "How fast it is here was not measured."),
    ],
)
def test_the_answer_is_the_best_that_leaves_half_a_core_free(rtf, title, reason):
    means = {"noisy": 1.2, "small": 1.6, "large": 1.9, "array": 2.5, "other": 3.0}
    kinds = {"noisy": "noisy", "small": "model", "large": "model", "array": "model", "other": "peer"}
    figures = {
        "systems": [{"label": one, "kind": kinds[one], "n_mics": 4 if one == "array" else 1} for one in means],
        "summary": {one: {"pesq_wb": {"mean": mean}} for one, mean in means.items()},
    }
    timed = rtf and rtf | {"array": 0.1, "other": 0.3}
    systems = [{"label": one, "rtf_live": share} for one, share in timed.items()] if rtf else []
    bench = {"figures": {"systems": systems, "load_average": 3.0}, "machine": {"cores": 2}} if rtf else None
    answer = find_answer(figures, bench)
    assert answer["title"] == title
    assert any(reason in text for text in answer["reasons"])
    assert any("other (PESQ-WB 3.000) scores higher" in text for text in answer["reasons"]) == bool(rtf)
    assert any("The machine was busy" in text for text in answer["reasons"]) == bool(rtf)


def test_the_best_of_many_systems_come_first():
    """A page began with a table of nineteen rows, which nobody reads."""
    labels = ["noisy", *(f"model {index:02d}" for index in range(14)), "array"]
    mean = {"mean": 1.0, "median": 1.0, "low": None, "high": None, "n": 1, "missing": 0}
    means = {name: mean for name in FIGURE_NAMES}
    summary = {label: means | {"pesq_wb": mean | {"mean": float(i)}} for i, label in enumerate(labels)}
    systems = [
        {"label": one, "kind": "noisy" if one == "noisy" else "model", "n_mics": 4 if one == "array" else 1}
        for one in labels
    ]
    result = {"systems": systems, "summary": summary, "rows": [], "splits": {}, "paired": []}
    first, second = evaluation_tables(result)[:2]
    assert [row[0] for row in first.rows] == ["noisy", *(f"model {index:02d}" for index in range(13, 4, -1))]
    assert len(second.rows) == 16
    few = result | {"systems": systems[:5]}
    assert len(evaluation_tables(few)[0].rows) == 16


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])  # Ctrl-C, and what a SIGTERM raises
def test_a_stopped_run_writes_what_it_has(stop, tmp_path, passthrough_model, model_folder, monkeypatch, capsys):
    """A run of ten minutes that was ended left nothing to look at."""
    write_pairs(tmp_path / "scenes", n_scenes=2)
    measure = single.evaluate_job
    stop_after_four(monkeypatch, stop)
    arguments = ["report", str(tmp_path / "scenes"), "-o", str(tmp_path / "r.html"), "--fast"]
    arguments += ["--model", str(passthrough_model), "--model", str(model_folder / "tenth.onnx")]
    arguments += ["--cache", str(tmp_path / "cache"), "--records", str(tmp_path / "records")]
    if stop is KeyboardInterrupt:
        assert cli.main(arguments) == 1
    else:
        with pytest.raises(SystemExit):
            cli.main(arguments)
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "2 of 6 results" in html and html.rstrip().endswith("</html>")
    assert "r.html holds what was measured until then" in capsys.readouterr().err
    monkeypatch.setattr(single, "evaluate_job", measure)
    assert cli.main(arguments) == 0
    assert "Stopped before the end" not in (tmp_path / "r.html").read_text(encoding="utf-8")


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


def open_page(browser, page: Path, width: int, scheme: str) -> np.ndarray:
    """Loads a page and gives its screenshot as [height, width, 3]."""
    set_screen(browser, width, scheme)
    browser.get(page.as_uri())
    return take_picture(browser)


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
    # What there is to reach stands in sight below the means of the systems, and is not folded away.
    names = browser.find_elements("css selector", "#quality ~ .scroll td:first-child")
    shown = [name.text for name in names if name.is_displayed()][:6]
    assert shown == ["noisy", "passthrough", "gain", "noisereduce", "clean target", "reverberant speech"]


def test_another_system_goes_on_at_the_same_place(browser, page):
    """One press plays; a press on another name switches without going back to the beginning."""
    open_page(browser, page, 390, "light")
    names = browser.find_elements("css selector", ".sounds .hear")[:2]
    sounds = browser.find_elements("css selector", ".sounds audio")[:2]

    def facts(sound):
        return browser.execute_script("return [arguments[0].paused, arguments[0].currentTime]", sound)

    def wait_until_past(sound, seconds):
        wait_for(browser, ".sounds", lambda found: facts(sound)[1] > seconds)

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", names[0])
    names[0].click()
    wait_until_past(sounds[0], 0.3)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", names[1])
    names[1].click()
    wait_for(browser, ".sounds", lambda found: facts(sounds[0])[0])
    assert facts(sounds[1])[1] >= 0.3
    assert [name.get_attribute("aria-pressed") for name in names] == ["false", "true"]
    names[1].click()
    wait_for(browser, ".sounds", lambda found: facts(sounds[1])[0])
    browser.execute_script("for (const one of document.querySelectorAll('audio')) one.currentTime = 0")


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
