"""The tools for maintainers: each tells what for and by which command, and its help comes without its work."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
SCRIPTS = sorted((ROOT / "tools").rglob("*.sh"))
HELP_OF_EACH = """
import contextlib, io, json, runpy, sys
texts, before = {}, list(sys.path)
for path in sys.argv[1:]:
    sys.path[:] = [path.rpartition("/")[0], *before[1:]]  # as when it is run
    sys.argv = [path, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name="__main__")
    texts[path.rpartition("/")[2]] = text.getvalue()
print(json.dumps(texts))
"""


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What --help of each tool prints, in one process elsewhere, so that torch is loaded once."""
    command = [sys.executable, "-c", HELP_OF_EACH, *(str(ROOT / "tools" / name) for name in TOOLS)]
    done = subprocess.run(command, cwd=tmp_path_factory.mktemp("elsewhere"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_tells_what_for_and_how(name: str, helps: dict[str, str]) -> None:
    tree = ast.parse((ROOT / "tools" / name).read_text(encoding="utf-8"))
    assert f": python tools/{name}" in (ast.get_docstring(tree) or "").splitlines()[0]
    usage, _, rest = helps[name].partition("\n")
    assert usage.startswith(f"Usage: {name}")
    about, _, options = rest.partition("Options:")
    assert len(about.split()) > 5
    for line in options.splitlines():
        assert not line.startswith("  --") or len(line.split()) > 2, f"{line.strip()} is not explained"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_tells_what_for(path: Path) -> None:
    for arguments in (["--help"], []):
        text = subprocess.run(["bash", str(path), *arguments], check=True, capture_output=True, text=True).stdout
        assert text.startswith(f"{path.name} DIR")
