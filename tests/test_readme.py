"""What README and docs/ say is right: commands on recordings run, tables are the generated ones."""

import json
import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT, Block, blocks

from quietmic import cli, open_stream
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.measure.summary import summarise_rows
from quietmic.enhance.report.model_table import compared_markdown, models_markdown

README = ROOT / "README.md"
CALL = re.compile(r"(?:python app\.py|quietmic) (.+)")


def calls(found: list[Block]) -> list[str]:
    """The arguments of every call of quietmic in blocks of code."""
    return [match[1] for block in found for line in block.lines() if (match := CALL.match(line))]


def test_the_readme_shows_commands_for_the_first_steps() -> None:
    names = {line.split()[0] for line in calls(blocks(README))}
    assert {"devices", "live", "denoise", "models", "evaluate", "bench", "report", "compress"} <= names
    assert {"scenes", "train", "export"} <= {line.split()[0] for line in calls(blocks(ROOT / "docs" / "training.md"))}


def test_the_readmes_file_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks(README) if "quietmic denoise" in block.text and "--array" in block.text]
    assert len(calls([block])) >= 4
    for line in calls([block]):
        assert cli.main(shlex.split(line)) == 0, line
    assert len(list((tmp_path / "out" / "clean").rglob("*.*"))) == len(list((ROOT / "recordings").glob("*_*.*")))


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    names = {"block": np.zeros(1000, np.float32), "noisy": np.zeros(48000)}
    programs = [block.text for block in blocks(README) if block.language == "python"]
    for program in programs:
        exec(program, names)
    assert len(programs) == 2
    assert len(names["enhanced"]) + len(names["tail"]) == 1000 + names["stream"].delay
    assert (tmp_path / "out" / "street.flac").exists() and "tcn-tiny" in names["names"]


def test_the_delay_is_one_story() -> None:
    """The first lines said 32 and 38 ms, and `stream.delay` below them was 16 and 22, without a word of why."""
    readme, page = README.read_text(encoding="utf-8"), (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    stft = next(model.card.stft for model in list_models() if model.name == "tcn-tiny")
    hop_ms = 1e3 * stft.hop_length / stft.sample_rate
    delays = {}
    for rate in (8000, 16000, 48000):
        stream = open_stream("tcn-tiny", sample_rate=rate)
        assert stream.delay == open_stream("tcn-tiny", sample_rate=rate, band="narrow").delay
        block = np.zeros(1, np.float32)
        held = max(k + 1 - n for k, n in enumerate(np.cumsum([len(stream.process(block)) for _ in range(rate // 20)])))
        assert 0.99 * hop_ms < 1e3 * (held + 1) / rate <= hop_ms
        delays[rate] = (f"{1e3 * stream.delay / rate:.3g}", f"{1e3 * stream.delay / rate + hop_ms:.3g}")
        own, live = (f"{float(text):.0f}" if rate > 8000 else text for text in delays[rate])
        assert re.search(rf"\| {rate // 1000} kHz.* \| {stream.delay} samples, {own} ms \| {live} ms \|", page)
    (own, live), (own48, live48) = ([round(float(text)) for text in delays[rate]] for rate in (16000, 48000))
    assert f"with a delay of {live} ms ({live48} at 48 kHz" in " ".join(readme.split())
    assert f"`stream.delay` samples, which are {own} ms ({own48} at 48 kHz)" in " ".join(readme.split())


def test_the_tables_of_models_are_the_generated_ones() -> None:
    entries = {entry.name: entry for entry in list_models()}
    assert models_markdown(list(entries.values())) in (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    data = ROOT / "docs" / "data"
    quality, speed = (json.loads((data / name).read_text()) for name in ("quality.json", "speed.json"))
    shown = [entries[name] for name in ("tcn-tiny", "tcn-small", "fullsubnet-small")]
    assert compared_markdown(shown, quality, speed) in README.read_text(encoding="utf-8")


def test_published_quality_is_thinned_out() -> None:
    """Whoever measures anew runs tools/write_docs.py behind it: it took 2.6 MB, half of them told in figures.md."""
    quality = json.loads((ROOT / "docs" / "data" / "quality.json").read_text())
    thin_out = runpy.run_path(str(ROOT / "tools" / "write_docs.py"))["thin_out"]
    assert thin_out(quality) == quality
    assert thin_out({"rows": [{"stoi": 0.123456789, "n": 3}], "paired": [1]}) == {"rows": [{"stoi": 0.123457, "n": 3}]}
    assert summarise_rows(quality["rows"])["paired"]


def test_what_the_readme_shows_and_plays_is_small() -> None:
    """A first page that loads slowly is closed before it is read."""
    assert (ROOT / "docs" / "pictures" / "street.png").stat().st_size < 150_000
    for name in ("noisy", "enhanced"):
        assert (ROOT / "docs" / "sounds" / f"street_{name}.flac").stat().st_size < 200_000
