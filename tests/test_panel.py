"""The panel's files and its safety, without a browser: what it gives is what `denoise` gives, and who is refused."""

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from panel_visitor import Visitor, hear, left_in, open_panel, wait_until_done

from quietmic import cli
from quietmic.enhance.errors import QuietmicError
from quietmic.panel.names import attachment, distinct, safe_ending, shown_name
from quietmic.panel.options import PanelOptions, panel_options
from quietmic.panel.preview import make_preview
from quietmic.panel.scratch import scratch_folder

pytest.importorskip("uvicorn", reason="needs the extra panel")
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the panels of this module work."""
    place = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(place))
        yield place


@pytest.fixture(scope="module")
def panel(folder: Path) -> Iterator[str]:
    """The address of a panel with small limits."""
    with open_panel(PanelOptions(port=0, max_visits=2, max_files=3, max_bytes=3_000_000, grace_s=0.3)) as address:
        yield address
    assert not left_in(folder)


@pytest.fixture
def visitor(panel: str) -> Visitor:
    return Visitor(panel)


@pytest.fixture
def page(visitor: Visitor) -> Iterator[tuple[Any, str]]:
    """An open socket and the key of its visit."""
    with visitor.connect() as socket:
        yield socket, hear(socket, "visit")


def two_seconds(source: Path, out: Path) -> bytes:
    """The beginning of a recording, as a file of its own."""
    with soundfile.SoundFile(source) as file:
        samples = file.read(2 * file.samplerate, dtype="int16")
        soundfile.write(out, samples, file.samplerate)
    return out.read_bytes()


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


def test_what_is_no_sound_is_told(visitor: Visitor, page: tuple[Any, str]) -> None:
    socket, visit = page
    assert visitor.upload(visit, "letter.wav", b"dear reader").status == 201
    assert visitor.enhance(visit, 1).status == 202
    item = wait_until_done(socket, 1)
    assert item["state"] == "failed" and "not audio" in item["about"][0]
    assert visitor.ask("GET", f"/visits/{visit}/files/1/enhanced").status == 409
    assert visitor.ask("DELETE", f"/visits/{visit}/files/1").status == 204
    assert visitor.ask("GET", f"/visits/{visit}/files/1/enhanced").status == 404


def test_a_visit_takes_its_files_with_it(visitor: Visitor, folder: Path) -> None:
    with visitor.connect() as socket:
        visit = hear(socket, "visit")
        visitor.upload(visit, "a.wav", b"x" * 1000)
        assert [path.name for path in left_in(folder) if path.name != "lock"] == ["source.wav"]
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


@pytest.mark.parametrize(
    "name", ["../../../../evil.wav", "/etc/evil.wav", "..\\..\\evil.wav", "C:\\evil.wav", "evil.wav\0.sh", "....", ""]
)
def test_a_name_is_never_a_path(name: str, visitor: Visitor, page: tuple[Any, str], folder: Path) -> None:
    _, visit = page
    before = {path.parent for path in left_in(folder)}
    answer = visitor.upload(visit, name, b"RIFF")
    assert answer.status == 201
    shown = answer.json["name"]
    assert not set("/\\:\0") & set(shown) and ".." not in shown
    new = [path for path in left_in(folder) if path.name != "lock" and path.parent not in before]
    assert [path.name for path in new] in (["source.wav"], ["source.bin"])


def test_names_keep_what_a_person_wrote() -> None:
    assert shown_name("Gespräch mit Ayşe.WAV") == "Gespräch mit Ayşe.WAV"
    assert shown_name("a" * 300 + ".flac") == "a" * 120 + ".flac"
    assert shown_name("\u202efdp.wav") == "fdp.wav"
    assert (safe_ending("x.WAV"), safe_ending("x.mp4"), safe_ending("x.exe"), safe_ending("x")) == (
        ".wav", ".mp4", ".bin", ".bin",
    )  # fmt: skip
    assert attachment('ä"\r\n.wav') == "attachment; filename=\"____.wav\"; filename*=UTF-8''%C3%A4%22%0D%0A.wav"
    assert distinct(["a.wav", "A.wav", "a-2.wav", "a.wav"]) == ["a.wav", "A-2.wav", "a-2-2.wav", "a-3.wav"]


@pytest.mark.parametrize(
    "path",
    ["/static/../guard.py", "/static/%2e%2e/guard.py", "/static/..%2fguard.py", "/static/", "/static//etc/passwd",
     "/visits/../all.zip", "/visits/none/files/1/enhanced"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(path: str, visitor: Visitor) -> None:
    assert visitor.ask("GET", path).status == 404


def test_what_is_asked_for_is_checked(visitor: Visitor, page: tuple[Any, str], passthrough_model: Path) -> None:
    """A model of the page is a name: a path would let it open any file of this machine."""
    socket, visit = page
    assert visitor.upload(visit, "a.wav", b"x").status == 201
    for wish in ({"model": str(passthrough_model)}, {"channels": "raw"}, {"limit_db": -1}, {"limit_db": "12"},
                 {"limit_db": float("nan")}, {"model": ["tcn-tiny"]}):  # fmt: skip
        assert visitor.enhance(visit, 1, **wish).status == 400, wish
    for body in (b"", b"[]", b"{" * 2000, b"\xff\xfe"):
        assert visitor.ask("POST", f"/visits/{visit}/files/1", body).status == 400
    assert visitor.ask("POST", f"/visits/{visit}/files/1", b" " * 5000).status == 413
    socket.send("no json")
    assert hear(socket, "error") == "that is no JSON"


FOREIGN = [
    {"Host": "evil.example"}, {"Host": "evil.example:80"}, {"Host": ""}, {"Host": "127.0.0.1.evil.example"},
    {"Host": "192.168.1.2"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1"},
    {"Origin": "http://localhost:1"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_foreign_names_and_pages_are_refused(headers: dict[str, str], visitor: Visitor, page: tuple[Any, str]) -> None:
    """A name that was made to lead here (DNS rebinding), and requests that another site's page sends."""
    from websockets.exceptions import InvalidStatus

    _, visit = page
    sent = {name.replace("-", "_"): value for name, value in headers.items()}
    for method, path in (
        ("GET", "/"),
        ("PUT", f"/visits/{visit}/files?name=a.wav"),
        ("GET", f"/visits/{visit}/all.zip"),
    ):
        assert visitor.ask(method, path, b"x" if method == "PUT" else None, **sent).status in (403, 421)
    if "Host" not in headers:
        with pytest.raises(InvalidStatus), visitor.connect(**sent):
            pass
    host = visitor.address.removeprefix("http://").strip("/")
    assert visitor.ask("GET", "/", Origin=f"http://{host}").status == 200
    assert visitor.ask("GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200  # a link


def test_the_page_may_not_reach_out(visitor: Visitor) -> None:
    policy = visitor.ask("GET", "/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy and "*" not in policy and "frame-ancestors 'none'" in policy


def test_no_asset_names_a_foreign_host() -> None:
    for path in (Path(__file__).parent.parent / "quietmic" / "panel" / "static").iterdir():
        text = path.read_text(encoding="utf-8")
        for word in ("http:", "https:", "//cdn", "url(//", 'src="//', 'href="//'):
            assert word not in text.replace("`ws://${location.host}", ""), f"{path.name}: {word}"
        assert text.count("ws://") == (path.name == "main.js")


def test_beyond_this_machine_a_token_opens_page_socket_and_files(folder: Path) -> None:
    from websockets.exceptions import InvalidStatus

    with open_panel(PanelOptions("0.0.0.0", 0, TOKEN)) as address:
        assert address.endswith(f"?token={TOKEN}")
        port = int(address.rpartition(":")[2].partition("/")[0])
        visitor = Visitor(f"http://127.0.0.1:{port}/")
        for method, path in (
            ("GET", "/"),
            ("GET", "/static/main.js"),
            ("PUT", "/visits/x/files"),
            ("GET", "/visits/x/all.zip"),
        ):
            assert visitor.ask(method, path, Cookie="quietmic-panel=guess").status == 401
        for headers in ({}, {"Cookie": "quietmic-panel=guess"}):
            with pytest.raises(InvalidStatus), visitor.connect(**headers):
                pass
        assert visitor.ask("GET", "/?token=guess").status == 401
        assert visitor.ask("GET", f"/static/main.js?token={TOKEN}").status == 401  # it opens the page alone
        opened = visitor.ask("GET", f"/?token={TOKEN}")
        assert (opened.status, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        friend = Visitor(visitor.address, {"Cookie": cookie.partition(";")[0]})
        assert friend.ask("GET", "/").status == 200
        with friend.connect() as socket:
            visit = hear(socket, "visit")
            assert friend.upload(visit, "a.wav", b"x").status == 201
            assert visitor.upload(visit, "a.wav", b"x").status == 401
        assert friend.ask("GET", "/", Host="evil.example").status == 421
        assert friend.ask("GET", "/", Host="192.168.1.2:80").status == 200  # an address cannot be rebound


def test_a_token_is_made_where_one_is_needed() -> None:
    assert panel_options("127.0.0.1", 0, None).token is None
    assert panel_options("localhost", 0, None).is_local and panel_options("::1", 0, None).is_local
    made = {panel_options("0.0.0.0", 0, None).token for _ in range(2)}
    assert len(made) == 2 and all(len(str(token)) >= 20 for token in made)
    assert TOKEN not in repr(panel_options("0.0.0.0", 0, TOKEN))
    with pytest.raises(QuietmicError, match="12 characters"):
        panel_options("0.0.0.0", 0, "1234")


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
    quiet = slice(preview.levels.shape[2] * 3 // 10, preview.levels.shape[2] * 45 // 100)
    assert preview.levels[0, :, quiet].mean() > preview.levels[1, :, quiet].mean() + 50  # the pauses are dark after
    assert int(preview.levels[0].max()) == 255
