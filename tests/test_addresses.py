"""Addresses of storage: what is shown of them, and what is said of servers and packages that are missing."""

import importlib.util
import socket
from pathlib import Path

import pytest

from quietmic import cli
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.storage import find_location
from quietmic.enhance.redact import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:se/cr+et@host/a.wav", "s3://***@host/a.wav"),
        ("at http://localhost:8080/a@b.wav", "at http://localhost:8080/a@b.wav"),
        ("s3://bucket/a:b.wav", "s3://bucket/a:b.wav"),
        ("https://h/a?token=abc&x=1", "https://h/a?token=***&x=1"),
        ("no address: me@here", "no address: me@here"),
    ],
)
def test_redaction(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_a_web_server_that_does_not_answer_is_no_missing_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was told as "no such file", as its library says it."""
    pytest.importorskip("aiohttp")
    with socket.socket() as held:  # a port at which nobody listens
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}/a.wav"
        assert cli.main(["denoise", address, "-o", str(tmp_path / "a.wav")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"Error: {address}: the storage gives an error: ")
    assert "check its address" in told
    assert told.count("\n") == 1


def test_storage_that_needs_another_package_names_it() -> None:
    """Google's said to install the extra, which does not hold it."""
    if importlib.util.find_spec("gcsfs"):
        pytest.skip("it is installed here")
    with pytest.raises(QuietmicError, match="gcsfs"):
        find_location("gs://bucket/a.wav").exists()
