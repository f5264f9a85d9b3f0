"""The command line as a whole: its help, its start, its log, and how the library's errors become those of options."""

import ast
import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from quietmic import cli
from quietmic.cli.hints import HINTS
from quietmic.cli.options import gather
from quietmic.enhance.errors import QuietmicError

OPTION = re.compile(r"[(`'\"]*--[a-z]")
ROOT = Path(__file__).resolve().parent.parent
LIBRARY = [
    path for package in ("enhance", "devices", "models", "compression") for path in (ROOT / package).rglob("*.py")
]
LIBRARY += [ROOT / "quietmic" / "__init__.py"]
NAMES = {  # what others script against
    "denoise", "live", "devices", "board", "models", "demo", "evaluate", "bench", "report", "scenes", "train", "export",
    "compress", "compare-criteria", "sweep",
}  # fmt: skip


def command(name: str) -> click.Command:
    found = cli.cli.get_command(click.Context(cli.cli), name)
    assert found is not None
    return found


@pytest.fixture
def help_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What --help prints on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> str:
        assert cli.main([*arguments, "--help"]) == 0
        return capsys.readouterr().out

    return call


def words(text: str) -> str:
    return " ".join(text.split())


def test_help_is_not_cut_at_80_columns(help_of: Callable[..., str]) -> None:
    """Click cuts the line of a command with three dots; seven of fifteen lines ended so."""
    text = help_of()
    assert max(map(len, text.splitlines())) <= 80
    for name in cli.COMMANDS:
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert not line.endswith("..."), line


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_is_whole_at_80_columns(help_of: Callable[..., str], name: str) -> None:
    text = help_of(name)
    assert max(map(len, text.splitlines())) <= 80
    for parameter in command(name).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"
            assert words(parameter.help) in words(text), f"{name} {parameter.opts[0]}"


def test_the_names_that_scripts_use_are_there() -> None:
    assert set(cli.COMMANDS) >= NAMES
    assert all(command(name).name == name for name in cli.COMMANDS)
    assert cli.cli.get_command(click.Context(cli.cli), "no-such-command") is None


LOADED = """
import sys
from quietmic import cli
assert cli.main(sys.argv[1:]) == 0
print([name for name in ("numpy", "onnxruntime", "rich", "torch") if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["denoise", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stderr.strip() == "[]"


@pytest.mark.parametrize("name", cli.COMMANDS)
@pytest.mark.parametrize("text", ["nan", "inf"])
def test_no_option_takes_what_is_no_number(name: str, text: str) -> None:
    """`--jitter nan` ended in Python's lines, `--attenuation-limit nan` and `--duration nan` were taken."""
    for parameter in command(name).params:
        if isinstance(parameter.type, click.types.FloatParamType) and parameter.name != "minutes":  # refused elsewhere
            with pytest.raises(click.BadParameter):
                parameter.type.convert(text, parameter, None)
    if name == "compress":
        (amount,) = [parameter for parameter in command(name).params if parameter.name == "params"]
        with pytest.raises(click.BadParameter):
            amount.process_value(click.Context(command(name)), text)


INTERRUPTED = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
raise SystemExit(7)
"""
START = "import signal; signal.signal(signal.SIGINT, signal.{}); from quietmic.start import run; run()"


@pytest.mark.skipif(os.name == "nt", reason="signals as Unix has them")
@pytest.mark.parametrize(("heard", "code"), [("default_int_handler", -signal.SIGINT), ("SIG_IGN", 7)])
def test_an_interrupt_while_it_is_loaded_ends_it_in_silence(tmp_path: Path, heard: str, code: int) -> None:
    """It gave the lines of whatever was being imported; one that the shell has ignored stays so."""
    (tmp_path / "click.py").write_text(INTERRUPTED, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", START.format(heard)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (code, "")
    before = "import sys, quietmic.start; print({'typing', 'pathlib', 're', 'importlib.util'} & set(sys.modules))"
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {before}"  # without site, which loads them, too
    assert subprocess.check_output([sys.executable, "-S", "-c", path], text=True).strip() == "set()"
    assert 'quietmic = "quietmic.start:run"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_an_interrupt_while_a_library_is_loaded_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime makes "initialization failed" of it, which was shown with 43 lines."""

    def fail(**options: object) -> None:
        raise ImportError("initialization failed") from cause

    monkeypatch.setattr(cli.cli, "main", fail)
    cause: BaseException = KeyboardInterrupt()
    assert (cli.main([]), capsys.readouterr().err) == (1, "Stopped.\n")
    cause = OSError("no such library")
    with pytest.raises(ImportError):
        cli.main([])


def test_a_system_error_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had the number of the error, and of a file of figures the hidden name."""

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    place = tmp_path / "models.json"
    assert cli.main(["models", "--json", str(place)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {place}: permission denied"


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def test_there_is_one_way_to_raise_for_wrong_use() -> None:
    """A second positional argument once stood for the exit code in half of the places."""
    for path in [*LIBRARY, *(ROOT / "quietmic").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        for call in calls(path):
            if name_of(call) == "QuietmicError":
                assert len(call.args) == 1, f"{path}, line {call.lineno}"
                assert {keyword.arg for keyword in call.keywords} <= {"exit_code", "argument"}, path
    with pytest.raises(TypeError):
        QuietmicError("no such device", 2)  # type: ignore[misc]


def test_the_library_does_not_print() -> None:
    for path in LIBRARY:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # A module that is run on its own prints what it is run for.
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
        ]
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Call) and name_of(node) == "print"), f"{path}, line {node.lineno}"
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else []:
                module = getattr(node, "module", None) or alias.name
                assert module.split(".")[0] not in ("click", "rich"), f"{path} imports {module}"


def sentences(path: Path) -> list[str]:
    """Strings of several words in a module, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
    return [node.value for node in strings if isinstance(node.value, str) and " " in node.value]


def test_the_library_does_not_speak_of_options() -> None:
    """`open_stream` once told a program to choose with --channels."""
    for path in LIBRARY:
        for text in sentences(path):
            if "systemctl" in text or text.startswith("--"):  # an option of another program
                continue
            assert not any(OPTION.match(word) for word in text.split()), f"{path}: {text}"


def test_every_argument_that_an_error_names_has_its_option() -> None:
    named = {
        keyword.value.value
        for path in LIBRARY
        for call in calls(path)
        for keyword in call.keywords
        if keyword.arg == "argument" and isinstance(keyword.value, ast.Constant)
    }
    options = {option for name in cli.COMMANDS for parameter in command(name).params for option in parameter.opts}
    assert named | {"overwrite"} == set(HINTS)  # that one comes with a file that is skipped
    for hint in HINTS.values():
        assert {word.strip(",") for word in hint.split() if word.startswith("--")} <= options


def test_an_error_keeps_its_code_and_argument_on_the_way_from_a_process() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(QuietmicError("no", exit_code=2, argument="n_mics")))
    assert (str(error), error.exit_code, error.argument) == ("no", 2, "n_mics")


def test_the_log_is_shown_on_standard_error_and_json_stays_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from quietmic.enhance import catalogue

    def warn_and_read() -> catalogue.Catalogue:
        logging.getLogger("quietmic.enhance.catalogue").warning("%s is missing", "a.onnx")
        logging.getLogger("quietmic.devices").info("plugged in")
        return catalogue.Catalogue([], [])

    monkeypatch.setattr(catalogue, "read_catalogue", warn_and_read)
    for _ in range(2):
        assert cli.main(["models", "--json"]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out) == []
        assert captured.err == "warning: a.onnx is missing\nplugged in\n"


def test_options_that_are_gathered_become_one_argument() -> None:
    @click.command()
    @click.option("--first", type=int, default=1)
    @gather(
        "pair",
        lambda left, both: (left, both),
        click.option("--left", type=int, default=2),
        gather(
            "both", lambda first, right: (first, right), click.option("--right", type=int, default=3), keep=("first",)
        ),
    )
    @click.option("--last", type=int, default=4)
    def shown(first: int, pair: tuple[int, tuple[int, int]], last: int) -> None:
        click.echo([first, pair, last])

    assert [parameter.name for parameter in shown.params] == ["first", "left", "right", "last"]
    assert CliRunner().invoke(shown, ["--right", "5"]).output == "[1, (2, (1, 5)), 4]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["scenes", "--classes", "rain", "--classes", "wind"],
        ["denoise", "-o", "clean", "--out", "other", "noisy.wav"],
        ["bench", "--seconds", "2", "--model", "tcn-tiny", "--seconds", "3"],
    ],
)
def test_an_option_that_takes_one_value_is_refused_twice(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert "is given 2 times, but takes one value" in capsys.readouterr().err


def test_options_of_several_values_and_flags_may_stand_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "--fast", "--fast", "--model", "none-a", "--model", "none-b", "nowhere"]) == 2
    assert "times" not in capsys.readouterr().err
