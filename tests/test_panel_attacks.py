"""Who is refused by the panel, and what no request can reach."""

from pathlib import Path
from typing import Any

import pytest
from panel_visitor import Visitor, folder, hear, left_in, open_panel, page, panel, visitor

from quietmic.enhance.errors import QuietmicError
from quietmic.panel.options import PanelOptions, panel_options

pytest.importorskip("uvicorn", reason="needs the extra panel")
__all__ = ["folder", "page", "panel", "visitor"]
TOKEN = "correct-horse-battery"


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
    {"Host": "192.168.1.2"}, {"Host": "x; script-src *@127.0.0.1"},
    {"Host": "evil.example@127.0.0.1"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1"},
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


@pytest.mark.parametrize(
    "token", ["one two three", "seven;eight;nine", "日本語のトークンですよとても", "a&token=b&more"]
)
def test_a_token_that_no_address_carries_is_refused(token: str) -> None:
    """One of Japanese letters was taken, and then the page could not be opened: no cookie holds them."""
    with pytest.raises(QuietmicError, match="plain letters"):
        panel_options("0.0.0.0", 0, token)
