"""The panel's files, without a browser: what it gives is what `denoise` gives, within its limits, and nothing stays."""

import io
import os
import re
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from panel_visitor import Program, Visitor, folder, hear, left_in, page, panel, visitor, wait_until_done

from quietmic import cli
from quietmic.panel.names import attachment, distinct, enhanced_name, safe_ending, shown_name
from quietmic.panel.preview import make_preview
from quietmic.panel.scratch import scratch_folder

pytest.importorskip("uvicorn", reason="needs the extra panel")
__all__ = ["folder", "page", "panel", "visitor"]


def two_seconds(source: Path, out: Path) -> bytes:
    """The beginning of a recording, as a file of its own."""
    with soundfile.SoundFile(source) as file:
        samples = file.read(2 * file.samplerate, dtype="int16")
        soundfile.write(out, samples, file.samplerate)
    return out.read_bytes()


def make_wav(samples: NDArray[Any] | None = None) -> bytes:
    """A second as a WAV file of floats."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000) if samples is None else samples, 16000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def denoised(source: Path, out: Path, *options: str) -> bytes:
    """The bytes that the command line writes."""
    assert cli.main(["denoise", str(source), "-o", str(out), "--model", "tcn-tiny", *options]) == 0
    return out.read_bytes()


def test_what_it_gives_is_what_denoise_gives(
    visitor: Visitor, page: tuple[Any, str], recordings: Path, tmp_path: Path
) -> None:
    socket, visit = page
    street = two_seconds(recordings / "mono_street_noisy.wav", tmp_path / "street.wav")
    kitchen = two_seconds(recordings / "array4_kitchen_noisy.flac", tmp_path / "kitchen.flac")
    first, second = visitor.upload(visit, "street.wav", street), visitor.upload(visit, "street.flac", kitchen)
    assert (first.status, second.status) == (201, 201)
    assert visitor.enhance(visit, 1, limit_db=12).status == visitor.enhance(visit, 2, channels="array").status == 202
    items = [wait_until_done(socket, number) for number in (1, 2)]
    assert [(item["state"], item["output"]) for item in items] == [
        ("done", "street-enhanced.wav"), ("done", "street-enhanced.flac")
    ]  # fmt: skip
    expected = [
        denoised(tmp_path / "street.wav", tmp_path / "a.wav", "--attenuation-limit", "12"),
        denoised(tmp_path / "kitchen.flac", tmp_path / "b.flac", "--array"),
    ]
    for number, wanted in enumerate(expected, 1):
        assert visitor.ask("GET", f"/visits/{visit}/files/{number}/enhanced").body == wanted
    packed = zipfile.ZipFile(io.BytesIO(visitor.ask("GET", f"/visits/{visit}/all.zip").body))
    assert packed.testzip() is None
    assert {name: packed.read(name) for name in packed.namelist()} == dict(
        zip(("street-enhanced.wav", "street-enhanced.flac"), expected, strict=True)
    )
    both, rate = soundfile.read(io.BytesIO(visitor.ask("GET", f"/visits/{visit}/files/1/sound").body), dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(both[:, 0], soundfile.read(io.BytesIO(street), dtype="int16")[0])
    np.testing.assert_array_equal(both[:, 1], soundfile.read(io.BytesIO(expected[0]), dtype="int16")[0])
    assert visitor.ask("GET", f"/visits/{visit}/files/1/sound", Range="bytes=0-3").body == b"fLaC"


@pytest.mark.slow
def test_three_hours_do_not_fill_memory(tmp_path: Path) -> None:
    """The whole of it is 691 MB as float32, and the sound of before and after twice that."""
    source, rate, n_seconds = tmp_path / "long.wav", 16000, 3 * 3600
    noise = (0.05 * np.random.default_rng(0).standard_normal(60 * rate)).astype(np.float32)
    with soundfile.SoundFile(source, "w", rate, 1, "PCM_16") as file:
        for _ in range(n_seconds // 60):
            file.write(noise)
    program = Program(tmp_path, dict(os.environ))
    visitor = Visitor(program.address)
    status = Path(f"/proc/{program.process.pid}/status")
    with visitor.connect() as socket, source.open("rb") as body:
        visit = hear(socket, "visit")
        size = str(source.stat().st_size)
        assert visitor.ask("PUT", f"/visits/{visit}/files?name=long.wav", body, Content_Length=size).status == 201
        begin = time.monotonic()
        assert visitor.enhance(visit, 1).status == 202
        item = wait_until_done(socket, 1)
        seconds = time.monotonic() - begin
        assert item["state"] == "done", item
        assert len(visitor.ask("GET", f"/visits/{visit}/files/1/pictures").body) < 500_000
    peak_mb = int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) / 1024
    print(f"three hours: {seconds:.0f} s, {peak_mb:.0f} MB at most")
    assert program.end(signal.SIGTERM) == 0
    assert peak_mb < 400


def test_what_is_no_sound_is_told(visitor: Visitor, page: tuple[Any, str]) -> None:
    socket, visit = page
    assert visitor.upload(visit, "letter.wav", b"dear reader").status == 201
    assert visitor.enhance(visit, 1).status == 202
    item = wait_until_done(socket, 1)
    assert item["state"] == "failed" and "not audio" in item["about"][0]
    assert visitor.ask("GET", f"/visits/{visit}/files/1/enhanced").status == 409
    assert visitor.ask("DELETE", f"/visits/{visit}/files/1").status == 204
    assert visitor.ask("GET", f"/visits/{visit}/files/1/enhanced").status == 404


def test_a_sound_without_an_ending_comes_back_as_wav(
    visitor: Visitor, page: tuple[Any, str], recordings: Path, tmp_path: Path
) -> None:
    """It failed, and told where the server keeps its files."""
    socket, visit = page
    street = two_seconds(recordings / "mono_street_noisy.wav", tmp_path / "street.wav")
    visitor.upload(visit, "memo", street)
    visitor.upload(visit, "letter.txt", b"dear reader")
    visitor.enhance(visit, 1)
    visitor.enhance(visit, 2)
    memo, letter = (wait_until_done(socket, number) for number in (1, 2))
    assert (memo["state"], memo["output"]) == ("done", "memo-enhanced.wav")
    enhanced = visitor.ask("GET", f"/visits/{visit}/files/1/enhanced").body
    assert enhanced == denoised(tmp_path / "street.wav", tmp_path / "a.wav")
    assert letter["state"] == "failed" and "not audio" in letter["about"][0]


def test_a_visit_takes_its_files_with_it(visitor: Visitor, folder: Path) -> None:
    earlier = set(left_in(folder))  # visits that have just ended go a moment later
    with visitor.connect() as socket:
        visit = hear(socket, "visit")
        visitor.upload(visit, "a.wav", b"x" * 1000)
        left = set(left_in(folder)) - earlier
        assert [path.name for path in left if path.name != "lock"] == ["source.wav"]
    with visitor.connect(visit) as socket:  # back in time
        assert hear(socket, "visit") == visit
        assert hear(socket, "file")["name"] == "a.wav"
    end = time.monotonic() + 10
    while [path for path in left_in(folder) if path.name != "lock"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert visitor.ask("GET", f"/visits/{visit}/files/1/enhanced").status == 404


def test_limits_of_pages_files_and_bytes(visitor: Visitor, page: tuple[Any, str]) -> None:
    _, visit = page
    with visitor.connect(), visitor.connect() as third:
        assert "close one" in hear(third, "error")
    assert visitor.upload(visit, "long.wav", b"x" * 3_000_001).status == 413
    endless = visitor.ask("PUT", f"/visits/{visit}/files", b"0\r\n\r\n", Transfer_Encoding="chunked")
    assert endless.status == 411
    for _ in range(3):
        assert visitor.upload(visit, "a.wav", b"x" * 900_000).status == 201
    assert visitor.upload(visit, "a.wav", b"x").status == 413
    assert visitor.ask("DELETE", f"/visits/{visit}/files/1").status == 204
    assert visitor.upload(visit, "a.wav", b"x" * 1_300_000).status == 413  # 3 MB with the two that are there
    assert visitor.upload(visit, "a.wav", b"x").status == 201


def test_names_keep_what_a_person_wrote(tmp_path: Path) -> None:
    assert shown_name("Gespräch mit Ayşe.WAV") == "Gespräch mit Ayşe.WAV"
    assert shown_name("C:\\fakepath\\voice.wav") == shown_name("home/voice.wav") == "voice.wav"
    assert shown_name("a" * 300 + ".flac") == "a" * 200 + ".flac"
    for long in ("🎙" * 62 + ".wav", "録" * 82 + ".wav"):  # counted in signs, they could not be taken out of the ZIP
        (tmp_path / enhanced_name(shown_name(long))).touch()
    assert shown_name("\u202efdp.wav") == "fdp.wav"
    assert (safe_ending("x.WAV"), safe_ending("x.mp4"), safe_ending("x.exe"), safe_ending("x")) == (
        ".wav", ".mp4", ".bin", ".bin",
    )  # fmt: skip
    assert attachment('ä"\r\n.wav') == "attachment; filename=\"____.wav\"; filename*=UTF-8''%C3%A4%22%0D%0A.wav"
    assert distinct(["a.wav", "A.wav", "a-2.wav", "a.wav"]) == ["a.wav", "A-2.wav", "a-2-2.wav", "a-3.wav"]


def test_what_a_killed_panel_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    abandoned = tmp_path / "quietmic-panel-dead"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    (abandoned / "source.wav").touch()
    (tmp_path / "quietmic-panel-mine.txt").touch()
    with scratch_folder() as first:
        assert not abandoned.exists() and first.stat().st_mode & 0o777 == 0o700
        with scratch_folder() as second:
            assert first.exists() and second != first  # the one that is held stays
    assert [path.name for path in tmp_path.iterdir()] == ["quietmic-panel-mine.txt"]


def test_the_voice_is_as_loud_after_as_before(tmp_path: Path) -> None:
    """With the same loudness of all sound, what has less noise would seem the louder."""
    rng = np.random.default_rng(0)
    voice = np.repeat([0.3, 0.0, 0.2, 0.0], 8000) * np.sin(np.arange(32000) / 5)
    soundfile.write(tmp_path / "a.wav", voice + 0.02 * rng.standard_normal(32000), 16000)
    soundfile.write(tmp_path / "b.wav", 0.5 * voice, 16000)
    preview = make_preview(tmp_path / "a.wav", tmp_path / "b.wav", 32000, tmp_path / "both.flac")
    assert preview.gain_db == pytest.approx(6, abs=0.2)
    assert preview.peaks.shape[1] == preview.levels.shape[2] <= 1000
    assert preview.peaks[0, : preview.peaks.shape[1] // 4].mean() == pytest.approx(0.33, abs=0.03)
    soundfile.write(tmp_path / "c.wav", voice + 0.1 * rng.standard_normal(32000), 16000)
    loud = make_preview(tmp_path / "c.wav", tmp_path / "b.wav", 32000, tmp_path / "both.flac")
    assert loud.gain_db == pytest.approx(6.9, abs=0.4)  # over all of it 8.1 dB of energy went, most of it noise
    quiet = slice(preview.levels.shape[2] * 3 // 10, preview.levels.shape[2] * 45 // 100)
    assert preview.levels[0, :, quiet].mean() > preview.levels[1, :, quiet].mean() + 50  # the pauses are dark after
    assert int(preview.levels[0].max()) == 255


def test_samples_that_are_no_numbers_are_shown_as_silence(visitor: Visitor, page: tuple[Any, str]) -> None:
    """The sound of both is FLAC, which holds no NaN: the page waited for ever."""
    socket, visit = page
    samples = np.full(16_000, 0.1, np.float32)
    samples[4000:4500], samples[9000] = np.nan, np.inf
    assert visitor.upload(visit, "nan.wav", make_wav(samples)).status == 201
    assert visitor.enhance(visit, 1).status == 202
    item = wait_until_done(socket, 1)
    assert item["state"] == "done" and "501 samples" in item["about"][0]
    assert visitor.ask("GET", f"/visits/{visit}/files/1/pictures").json["seconds"] == 1


def test_a_fault_that_nobody_thought_of_is_told(
    visitor: Visitor, page: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr("quietmic.panel.work.draw", fail)
    socket, visit = page
    assert visitor.upload(visit, "a.wav", make_wav()).status == 201
    assert visitor.enhance(visit, 1).status == 202
    item = wait_until_done(socket, 1)
    assert item["state"] == "failed" and "AssertionError" in item["about"][0]
