"""What README and docs/ say is right: commands parse, those on recordings run, tables are the generated ones."""

import json
import re
import shlex
import shutil
from pathlib import Path

import click
import numpy as np
import pytest

from quietmic import cli
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.report.model_table import compared_markdown, models_markdown

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CALL = re.compile(r"^\s*(?:\.venv/bin/)?(?:python app\.py|quietmic) (\S.*)$", re.MULTILINE)
needs_models = pytest.mark.skipif(not list_models(), reason="no weights are shipped yet")


def calls(page: Path) -> list[str]:
    """Every command line of quietmic in a page, continued lines joined."""
    return CALL.findall(page.read_text(encoding="utf-8").replace("\\\n", " "))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_documented_command_and_option_exists(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, parameter, context: Path(value))
    for line in calls(page):
        name, *words = shlex.split(line, comments=True)
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None, f"{page.name}: no command {name}"
        try:
            command.make_context(name, [word for word in words if word not in ("|", "...")])
        except click.exceptions.Exit:  # --help
            continue


def test_the_readme_shows_commands_for_the_first_steps() -> None:
    names = {line.split()[0] for line in calls(PAGES[0])}
    assert {"devices", "live", "denoise", "models", "evaluate", "bench", "report", "compress"} <= names
    assert {"scenes", "train", "export"} <= {line.split()[0] for line in calls(ROOT / "docs" / "training.md")}


@needs_models
def test_the_readmes_file_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    block = re.search(r"## Files\s+```sh\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    assert block
    for line in CALL.findall(block.group(1)):
        assert cli.main(shlex.split(line)) == 0, line
    assert len(list((tmp_path / "out" / "clean").rglob("*.*"))) == len(list((ROOT / "recordings").glob("*_*.*")))


@needs_models
def test_the_readmes_python_runs() -> None:
    code = re.search(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    assert code
    names = {"block": np.zeros(1000, np.float32)}
    exec(code.group(1), names)
    stream = names["stream"]
    assert len(names["enhanced"]) + len(names["tail"]) == 1000 + stream.delay


@needs_models
def test_the_tables_of_models_are_the_generated_ones() -> None:
    entries = {entry.name: entry for entry in list_models()}
    assert models_markdown(list(entries.values())) in (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    data = ROOT / "docs" / "data"
    quality, speed = (json.loads((data / name).read_text()) for name in ("quality.json", "speed.json"))
    shown = [entries[name] for name in ("tcn-tiny", "tcn-small", "tcn-small-int8")]
    assert compared_markdown(shown, quality, speed) in PAGES[0].read_text(encoding="utf-8")


def test_what_the_readme_shows_and_plays_is_small() -> None:
    """A first page that loads slowly is closed before it is read."""
    assert (ROOT / "docs" / "pictures" / "street.png").stat().st_size < 150_000
    for name in ("noisy", "enhanced"):
        assert (ROOT / "docs" / "sounds" / f"street_{name}.flac").stat().st_size < 200_000
