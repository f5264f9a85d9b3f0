"""What README and docs/ tell people to type is right: every line of every block of code is known and checked."""

import ast
import importlib.util
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from documents import PAGES, ROOT, Block, blocks, spans

from quietmic import cli

CALL = re.compile(r"^quietmic (.+)|(?:^| )(?:app\.py|-- quietmic) (.+)")  # as one types it, or behind torchrun, kubectl
TOOL = re.compile(r"^python tools/(\w+\.py)(.*)")
FOREIGN = (  # other programs' commands and files, which nothing here can check
    "sudo ", "git clone ", "python3 -m venv ", "echo ", "journalctl ", "dask ", "helm ", "pip install dask-",
    "python start.py", "TLS=", "@audio - ", "ffmpeg ", "arecord ", "aplay ",
)  # fmt: skip
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.fixture(autouse=True)
def any_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that the pages speak of need not be there."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, parameter, context: Path(value))
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """A command of ours, and its arguments."""
    command = cli.cli.get_command(click.Context(cli.cli), words[0])
    assert command is not None, f"no command {words[0]}"
    return command, words[1:]


def find_tool(name: str, words: list[str]) -> tuple[click.Command, list[str]]:
    """The command of a tool, and its arguments."""
    command = runpy.run_path(str(ROOT / "tools" / name))["main"]
    if isinstance(command, click.Group):
        command, words = command.get_command(click.Context(command), words[0]), words[1:]
        assert command is not None
    return command, words


def check_line(line: str) -> None:
    """A command that one types: it exists, with these options and arguments; it does not run."""
    if " | " in line:
        for part in line.split(" | "):
            check_line(part)
    elif match := CALL.search(line):
        command, words = find_command(shlex.split(match[1] or match[2]))
        command.make_context(command.name, words)
    elif match := TOOL.match(line):
        command, words = find_tool(match[1], shlex.split(match[2]))
        command.make_context(match[1], words)
    elif match := re.match(r"python (examples/\S+\.py)", line):
        assert (ROOT / match[1]).is_file(), line
    elif match := re.match(r"pip install .*\[([\w,]+)\]", line):
        assert set(match[1].split(",")) <= set(EXTRAS), line
    else:
        assert line.startswith(FOREIGN), f"nobody checks: {line}"


def parse(text: str) -> ast.Module | None:
    """Python where it is some: a shell's line is at most an expression to it."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    return tree if any(not isinstance(node, ast.Expr) for node in tree.body) else None


def has_name(module: str, name: str) -> bool:
    """Whether a module of ours gives a name; where it needs a package that is not installed, by its text."""
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("quietmic"):
            raise
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return name in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def check_block(block: Block) -> int:
    """How many statements or commands of a block were checked."""
    if block.language == "text":  # a drawing
        return 0
    if block.language == "toml" or (not block.language and " = " in block.text.splitlines()[0]):
        return len(tomllib.loads(block.text))
    tree = parse(block.text) if block.language in ("", "python") else None
    if tree is None:
        assert block.language in ("", "sh"), f"nobody checks {block.language}"
        for line in block.lines():
            check_line(line)
        return len(block.lines())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "quietmic":
            assert all(has_name(str(node.module), alias.name) for alias in node.names), ast.unparse(node)
    return len(tree.body)


def check_span(span: str) -> None:
    """A command inside a sentence, which may leave out what it needs: its name and its options exist."""
    words = span.split()
    if span.startswith("make "):
        assert words[1] in TARGETS, span
        return
    if tool := TOOL.match(span):
        command, rest = find_tool(tool[1], tool[2].split())
    else:
        command, rest = find_command(words[1 if words[0] == "quietmic" else 2 :])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known, span


def commands_in(page: Path) -> list[str]:
    """Code in the prose that is a command of ours."""
    begins = re.compile(r"(python app\.py|python tools/|quietmic [a-z-]+|make [a-z-]+$)")
    return [span for span in spans(page) if begins.match(span) and span != "python app.py"]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_block_of_code_is_checked(page: Path) -> None:
    """A page whose commands the test does not find used to pass, as nothing was wrong with none of them."""
    n_checked = sum(check_block(block) for block in blocks(page))
    assert n_checked or all(block.language == "text" for block in blocks(page))
    begin = rf"(?:python (?:app\.py|tools/)|quietmic (?:{'|'.join(cli.COMMANDS)})\b)"
    text = page.read_text(encoding="utf-8")
    typed = re.findall(rf"^ *(?:\w+\$ |\.venv/bin/)?{begin}", text, re.MULTILINE)
    found = [line for block in blocks(page) for line in block.lines() if re.match(begin, line)]
    assert len(found) == len(typed)


@pytest.mark.parametrize("page", [p for p in PAGES if commands_in(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_command_in_the_prose_exists(page: Path) -> None:
    for span in commands_in(page):
        check_span(span)


@pytest.mark.parametrize(
    "text",
    [
        "    quietmic denoize in -o out\n",
        "    python app.py denoise in -o out --quiet\n",
        "```sh\nquietmic denoise in -o out \\\n    --loud\n```\n",
        "    one$ python app.py denoise in -o out --quiet\n",
        "    torchrun --nproc-per-node 4 app.py train --modell tcn\n",
        "    python tools/measure_nothing.py SCENES\n",
        "    python tools/measure_beam.py SCENES --loud\n",
        '    pip install "quietmic[everything]"\n',
        "    rm -rf out\n",
        "```python\nfrom quietmic import enhance_all\n```\n",
        "```python\nfrom quietmic import\n```\n",
        "```rust\nfn main() {}\n```\n",
        "    name = [1, 2\n",
    ],
)
def test_what_is_wrong_is_seen(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# Page\n\n{text}\nProse.\n", encoding="utf-8")
    found = blocks(tmp_path / "page.md")
    assert found
    with pytest.raises((AssertionError, click.ClickException, OSError, tomllib.TOMLDecodeError)):
        for block in found:
            check_block(block)


@pytest.mark.parametrize("span", ["quietmic denoize", "quietmic denoise --quiet", "make coffee", "python app.py lists"])
def test_what_is_wrong_in_the_prose_is_seen(span: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# Page\n\nType `{span}` and wait.\n", encoding="utf-8")
    assert commands_in(tmp_path / "page.md") == [span]
    with pytest.raises(AssertionError):
        check_span(span)


def test_published_figures_hold_no_places() -> None:
    """docs/data told the folders of the machine that measured."""
    for path in (ROOT / "docs" / "data").rglob("*.json"):
        places = re.findall(r'"(?:/|[A-Z]:\\\\)[^"]*"', path.read_text(encoding="utf-8"))
        assert not places, f"{path.name}: {places[:3]}"
