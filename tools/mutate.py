"""Changes the core maths by hand and sees whether the tests notice: python tools/mutate.py PART.

Each row of the lists in tools/mutations is one wrong line. It is written into a copy of the checkout, the fast tests of
its file run there until one fails, and a table in docs says which. What survives is named first: a hole in the tests.
Takes about half an hour for each part on a busy machine of two cores.
"""

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import click
import onnxruntime  # noqa: F401  what all tests load, before the first fork; nothing of ours, which is read there
import pytest
import torch  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutations.compression import COMPRESSION
from mutations.part import Mutation, Part
from mutations.run_time import RUN_TIME

ROOT = Path(__file__).resolve().parent.parent
PARTS = {"compression": COMPRESSION, "run-time": RUN_TIME}
FOLDERS = ("quietmic", "enhance", "devices", "models", "compression", "recordings", "tests", "pyproject.toml")
LIMIT_S = 1200  # a wrong line may never end; on a busy machine a right one takes minutes


def copy_checkout(target: Path) -> None:
    """What the tests need of the checkout."""
    for name in FOLDERS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


class _Failures:
    """Notes the tests that fail."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.names.append(report.nodeid.removeprefix("tests/"))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.names.append(f"{report.nodeid.removeprefix('tests/')} (import)")


def _test(checkout: Path, tests: tuple[str, ...], fast: str, answer: Connection) -> None:
    """Runs tests of a checkout in this process, silently, until one fails."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    failures = _Failures()
    files = [f"tests/test_{name}.py" for name in tests]
    pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-k", fast, *files], [failures])
    answer.send(failures.names)


def failed_tests(checkout: Path, tests: tuple[str, ...], fast: str) -> list[str]:
    """The first of some tests that fails there, or none.

    In a fork of this process, which has loaded what all tests load: importing torch takes longer than most tests.
    """
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=_test, args=(checkout, tests, fast, theirs))
    process.start()
    theirs.close()
    try:
        return mine.recv() if mine.poll(LIMIT_S) else ["no end"]
    except EOFError:
        return ["a crash of the interpreter"]
    finally:
        process.kill()
        process.join()


def run(checkout: Path, part: Part, mutation: Mutation) -> list[str]:
    """Tests that notice one wrong line."""
    path = checkout / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.right) != 1:
        raise click.ClickException(
            f"{mutation.file} holds '{mutation.right}' {text.count(mutation.right)} times, not once"
        )
    path.write_text(text.replace(mutation.right, mutation.wrong), encoding="utf-8")
    try:
        return failed_tests(checkout, part.tests[path.stem], part.fast)
    finally:
        path.write_text(text, encoding="utf-8")


def table(part: Part, found: dict[str, str]) -> str:
    """What the page shows of the wrong lines that have been tried."""
    rows = [(mutation, found[mutation.what]) for mutation in part.mutations if mutation.what in found]
    caught = sum(bool(test) for _, test in rows)
    lines = [
        f"{len(rows)} of {len(part.mutations)} lines have been tried, {caught} are noticed:", "",
        "| what is wrong | where | noticed first by |", "|---|---|---|",
    ]  # fmt: skip
    for mutation, test in sorted(rows, key=lambda row: bool(row[1])):
        noticed = f"`{test.replace('|', ' ')}`" if test else "**nobody**"
        lines.append(f"| {mutation.what} | `{mutation.file.removeprefix('compression/')}` | {noticed} |")
    return "\n".join(lines)


@click.command()
@click.argument("name", metavar="PART", type=click.Choice(list(PARTS)))
@click.argument("words", nargs=-1)
def main(name: str, words: tuple[str, ...]) -> None:
    """Tries each wrong line of PART, compression or run-time, in turn and writes its table into docs.

    With WORDS only the wrong lines that are described with one of these are tried, and the other rows stay as they
    were. Each row is kept as soon as it is there: after a run that was stopped, name the rest.
    """
    part = PARTS[name]
    path = ROOT / "docs" / "data" / part.found
    chosen = [m for m in part.mutations if not words or any(word in m.what for word in words)]
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if words and path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        copy_checkout(checkout)
        used = (test for mutation in chosen for test in part.tests[Path(mutation.file).stem])
        if broken := failed_tests(checkout, tuple(dict.fromkeys(used)), part.fast):
            raise click.ClickException(f"the tests fail as they are: {broken[0]}")
        for mutation in chosen:
            started = time.monotonic()
            found[mutation.what] = next(iter(run(checkout, part, mutation)), "")
            path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            click.echo(f"{mutation.what}: {found[mutation.what] or 'NOBODY'} ({time.monotonic() - started:.0f} s)")
    from quietmic.enhance.report.model_table import write_into  # not before the last fork

    write_into(ROOT / "docs" / part.page, "mutation", table(part, found), "make mutate")


if __name__ == "__main__":
    main()
