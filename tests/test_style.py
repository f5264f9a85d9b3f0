"""How tests, tools and examples are written: through contracts, short, each tool saying what it is for."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("enhance", "devices", "models", "compression", "quietmic")
FOLDERS = ("tests", "tools", "examples")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PRIVATE = re.compile(r"(^|\.)_[A-Za-z]\w*$")


def is_private(name: str) -> bool:
    return bool(PRIVATE.search(name)) and not name.endswith("__")


def programs(tree: ast.AST) -> Iterator[ast.AST]:
    """The tree, and those of programs inside its strings, which a test runs in a process of their own."""
    yield tree
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in parts)
        if "import " in text and "\n" in text:
            try:
                yield ast.parse(text)
            except SyntaxError:
                continue  # prose


def private_members(tree: ast.AST) -> list[str]:
    """Names with a leading underscore that a program takes from elsewhere, by import, attribute or patch."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value  # super() of a class of torch
            if not (isinstance(owner, ast.Name) and owner.id in ("self", "cls", "super")):
                found.append(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "setattr", "getattr", "delattr", "patch",
        ):  # fmt: skip
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            found += [text for text in texts if is_private(text)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_reaches_into_private_members(path: Path) -> None:
    """A test of what nobody promised breaks with every change inside and proves nothing to a user."""
    found = [name for tree in programs(ast.parse(path.read_text(encoding="utf-8"))) for name in private_members(tree)]
    assert not found


def test_reaching_in_is_noticed() -> None:
    code = """
from quietmic.enhance.stream import ~check
stream.~push(self.~own, cls.~own, stream.__class__)
monkeypatch.setattr("quietmic.devices.duplex.~SILENT_S", 1)
program = f'''
import quietmic
recorder.~queue[{1}]
'''
""".replace("~", "_")  # so that this file itself is clean
    found = {name for tree in programs(ast.parse(code)) for name in private_members(tree)}
    assert found == {"_check", "_push", "quietmic.devices.duplex._SILENT_S", "_queue"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 330


LIBRARY = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_say_what_for(path: Path) -> None:
    """ "Itself." and "Nothing." are true and tell a stranger nothing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            first = text.splitlines()[0]
            assert len(first.split()) >= 4, f"line {node.lineno}: {first}"
            assert not first.startswith(("Raises ", "Args:", "Likewise")), f"line {node.lineno}: {first}"


# Of environments of their own (`make test-agents`, `make zoo`), and what comes along with aiobotocore.
BROUGHT_OTHERWISE = {"pipecat", "livekit", "torch_pruning", "torchvision", "aiohttp"}


def packages_of(extra: str, extras: dict[str, list[str]]) -> Iterator[str]:
    """Names of the packages that an extra brings, those of the extras that it names among them."""
    for need in extras[extra]:
        if ours := re.fullmatch(r"quietmic\[(.+)\]", need):
            for other in ours[1].split(","):
                yield from packages_of(other, extras)
        else:
            yield re.split(r"[^\w-]", need)[0]


def test_what_tests_are_skipped_without_comes_with_the_extra_test() -> None:
    """A suite whose needs are missing passes as well, and nobody sees that it ran nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = set(packages_of("test", project["optional-dependencies"]))
    assert {"starlette", "uvicorn", "websockets", "selenium"} <= brought  # of the panel and its pages
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "importorskip":
                for name in [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []:
                    assert str(name).split(".")[0] in brought | BROUGHT_OTHERWISE, f"{path}: {name}"
