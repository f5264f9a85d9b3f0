"""Every example runs as it stands and does what its first line says."""

import ast
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_portaudio import FakePortAudio

from quietmic import list_models, open_stream

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOISY = ROOT / "recordings" / "mono_street_noisy.wav"


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Runs an example as a program."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


def expected() -> np.ndarray:
    """The recording enhanced, in time with it."""
    noisy, rate = soundfile.read(NOISY, dtype="float32")
    stream = open_stream(sample_rate=rate)
    return np.concatenate([stream.process(noisy), stream.flush()])[stream.delay :]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_and_tell_their_command(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert 10 <= len(text.splitlines()) <= 30
    assert f": python examples/{path.name}" in (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]
    assert f"test_{path.stem}" in Path(__file__).read_text(encoding="utf-8"), "no test runs it"


@pytest.mark.parametrize("name", ["file.py", "stream.py"])
def test_file_and_test_stream_give_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, name, NOISY, tmp_path / "clean.wav")
    clean, rate = soundfile.read(tmp_path / "clean.wav", dtype="float32")
    assert rate == soundfile.info(NOISY).samplerate
    np.testing.assert_allclose(clean, expected(), atol=2 / 32768)


def test_file_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no such file"):
        run(monkeypatch, "file.py", tmp_path / "nothing.wav", tmp_path / "clean.wav")


def test_stream_reads_the_first_channel_at_any_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ROOT / "recordings" / "stereo_outdoors_48k_noisy.wav"
    run(monkeypatch, "stream.py", source, tmp_path / "clean.wav")
    clean, rate = soundfile.read(tmp_path / "clean.wav", dtype="float32")
    assert (len(clean), rate) == (soundfile.info(source).frames, 48000)


def test_live(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    run(monkeypatch, "live.py", 1)
    (card,) = fake.streams
    assert card.closed
    played = np.concatenate(card.written)
    assert played.shape[1] == 1 and len(played) >= 1024
    assert 0 < np.abs(played[512:]).mean() < 0.05  # the fake hears noise of 0.08


def test_compress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "compress.py")
    parent, cut, tuned, *_ = (line.split() for line in capsys.readouterr().out.splitlines())
    assert [int(line[1]) for line in (parent, cut, tuned)] == [4417, int(tuned[1]), int(cut[1])]
    assert int(tuned[1]) <= 1500
    assert float(tuned[-1]) < 0.15 < float(parent[-1])


def test_onnx_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse((ROOT / "examples" / "onnx_alone.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"json", "sys", "numpy", "onnxruntime", "soundfile"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    model = next(entry for entry in list_models() if entry.is_default)
    run(monkeypatch, "onnx_alone.py", model.path, NOISY, tmp_path / "clean.wav")
    clean, _ = soundfile.read(tmp_path / "clean.wav", dtype="float32")
    np.testing.assert_allclose(clean, expected(), atol=2 / 32768)


def test_card(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "card.py")
    text = capsys.readouterr().out
    for entry in list_models():
        assert f"{entry.name}{' (default)' if entry.is_default else ''}, {entry.card.licence}\n" in text
        assert f"{entry.card.parameters:,} parameters" in text
    assert "SI-SDR" in text
