"""Who imports whom: packages, their folders from the lowest up, no circles, and no training at run time."""

import ast
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

import quietmic
from quietmic.cli import COMMANDS
from quietmic.enhance.measure.systems import STREAM_SOURCES

ROOT = Path(__file__).resolve().parent.parent
TRAINING = {"torch", "torchaudio", "onnx", "pyroomacoustics"}
PACKAGES = ("enhance", "devices", "models", "compression")
ALLOWED = {
    "enhance": {"quietmic.enhance"},
    "devices": {"quietmic.devices", "quietmic.enhance"},
    "models": {"quietmic.models", "quietmic.enhance"},
    "compression": {"quietmic.compression", "quietmic.enhance", "quietmic.models"},
}
# A folder imports from itself and from those before it, never from a later one; "" is what lies at a package's top and
# is not named on its own. Two folders of one line do not know each other.
FOLDERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "enhance": (("",), ("cluster",), ("files",), ("measure",), ("report",)),
    "devices": (("server",), ("",)),
    "models": (("networks",), ("mixtures",), ("training",), ("",)),
    "compression": (
        ("task",),
        ("finetune",),
        ("structure",),
        ("cost",),
        ("criteria",),
        ("factor",),
        ("",),
        ("enhancer",),
    ),
}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    """Full name of a module: enhance/files/audio.py is quietmic.enhance.files.audio."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "quietmic" else ("quietmic", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for package in ("quietmic", *PACKAGES) for path in files(package)}
CLI = {module for module in MODULES if module.startswith("quietmic.cli")}


def is_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@lru_cache(maxsize=1024)
def imports(path: Path, everywhere: bool = True) -> tuple[str, ...]:
    """Full names of all that a file imports, functions included, or only what it imports while it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif everywhere or not (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(node)):
            nodes += ast.iter_child_nodes(node)
    return tuple(names)


def module_of(name: str) -> str | None:
    """The module of ours that an imported name comes from: it is one, or lies in one."""
    parts = name.split(".")
    return next((m for k in range(len(parts), 0, -1) if (m := ".".join(parts[:k])) in MODULES), None)


def test_all_imports_of_ours_begin_with_quietmic() -> None:
    for path in [*MODULES.values(), ROOT / "app.py", *files("tests"), *files("tools"), *files("examples")]:
        assert not {"app", *PACKAGES} & {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_lies_below(package: str) -> None:
    # One makes `from enhance import open_stream` work in a checkout, the other asks where quietmic lies.
    exceptions = {(ROOT / "enhance" / name, "quietmic") for name in ("__init__.py", "measure/probe.py")}
    for path in files(package):
        for name in imports(path):
            if name.split(".")[0] == "quietmic" and (path, name) not in exceptions:
                assert any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[package]), f"{path}: {name}"


def floor_of(package: str, module: str) -> tuple[int, str]:
    """Number and name of the folder that a module of a package lies in."""
    parts = module.split(".")[2:]
    floors = {folder: floor for floor, folders in enumerate(FOLDERS[package]) for folder in folders}
    # Without a folder: the package's own __init__, or a module at its top.
    folder = parts[0] if parts and parts[0] in floors else ""
    assert folder or len(parts) < 2, f"{module} is in no folder that this test knows"
    return floors[folder], folder


@pytest.mark.parametrize("package", FOLDERS)
def test_no_folder_imports_from_a_later_one(package: str) -> None:
    for path in files(package):
        module = name_of(path)
        if module == f"quietmic.{package}":
            continue  # gives what the package is for, whatever folder it lies in
        floor, folder = floor_of(package, module)
        for name in imports(path):
            target = module_of(name)
            if target and target.startswith(f"quietmic.{package}."):
                other, other_folder = floor_of(package, target)
                allowed = (other, other_folder) == (floor, folder) or other < floor
                assert allowed, f"{module} ({folder}) imports {target}"


def test_only_the_command_line_and_app_import_the_command_line() -> None:
    for module, path in MODULES.items():
        if not module.startswith("quietmic.cli") and module != "quietmic.start":  # the console script
            assert not [name for name in imports(path) if name.startswith("quietmic.cli")], path


def test_integrations_stand_on_what_everyone_has() -> None:
    """A filter for another framework is what anybody could write: it imports public names and nothing behind them."""
    for module, path in MODULES.items():
        if module.startswith("quietmic.integrations"):
            ours = {name for name in imports(path) if name.split(".")[0] == "quietmic"}
            public = {f"quietmic.{name}" for name in quietmic.__all__}
            assert {name for name in ours if not name.startswith("quietmic.integrations.")} <= public, module
            assert len(path.read_text(encoding="utf-8").splitlines()) < 120


def test_a_page_of_the_panel_is_one_more_view() -> None:
    """What enhances and what runs live knows nothing of it; it stands on them as the command line does."""
    for module, path in MODULES.items():
        ours = {module_of(name) for name in imports(path) if name.split(".")[0] == "quietmic"}
        if module.startswith("quietmic.panel"):
            assert all(
                str(name).startswith(("quietmic.panel", "quietmic.enhance", "quietmic.devices")) for name in ours
            )
        elif module != "quietmic.cli.panel":
            assert not [name for name in ours if str(name).startswith("quietmic.panel")], module


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(stack[at:])
            del stack[at:]

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_no_circles() -> None:
    graph = {
        module: {
            target for name in imports(path, everywhere=False) if (target := module_of(name)) not in (None, module)
        }
        for module, path in MODULES.items()
    }
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]
    packages = {"quietmic", *(f"quietmic.{package}" for package in PACKAGES)}  # their faces name what lies behind them
    assert not circles({m: {t for t in targets if t} - packages for m, targets in graph.items() if m not in packages})


@pytest.mark.parametrize("package", ["enhance", "devices"])
def test_run_time_never_imports_training(package: str) -> None:
    for path in files(package):
        assert not TRAINING & {name.split(".")[0] for name in imports(path)}, path


# What a stream imports and what makes no sample: names, checks, and cards, which stand in a model's hash.
NO_SAMPLES = {"card", "catalogue", "errors", "hashes", "onnxfile", "served", "streamstate"}


def test_all_that_makes_samples_makes_cached_figures_stale() -> None:
    """offset.py and samples.py were missing: a change of theirs would have left what an evaluation had kept."""
    waiting, found = ["quietmic.enhance.stream"], set[str]()
    while waiting:
        module = waiting.pop()
        found.add(module)
        names = {module_of(name) for name in imports(MODULES[module])}
        waiting += [name for name in names if name and name.startswith("quietmic.enhance.") and name not in found]
    made = {f"{module.removeprefix('quietmic.enhance.')}.py" for module in found}
    assert made - {f"{name}.py" for name in NO_SAMPLES} == {name for name in STREAM_SOURCES if name.endswith(".py")}


# Loaded only where a command runs, so they may import what they draw or describe.
PLAIN = {"quietmic.enhance.errors", "quietmic.enhance.redact"}  # of enhance, and import nothing themselves
BEHIND_COMMANDS = {"quietmic.cli.bar", "quietmic.cli.candidates", "quietmic.cli.view"}
COMMAND_MODULES = {f"quietmic.cli.{name}" for name in set(COMMANDS.values())}


def test_a_command_imports_what_it_needs_when_it_runs() -> None:
    """`quietmic --help` loads all modules with commands: none of them may bring in numpy, ONNX Runtime or torch."""
    for module, path in MODULES.items():
        if module.startswith("quietmic.cli") and module not in BEHIND_COMMANDS:
            top = imports(path, everywhere=False)
            ours = {module_of(name) for name in top if name.split(".")[0] == "quietmic"}
            assert not {name for name in ours if name not in ("quietmic", *PLAIN)} - CLI, module
            assert {name.split(".")[0] for name in top} <= sys.stdlib_module_names | {"click", "quietmic"}, module


def test_modules_of_commands_are_no_libraries_for_each_other() -> None:
    assert set(MODULES) >= COMMAND_MODULES
    for module in CLI - {"quietmic.cli"}:
        others = {module_of(name) for name in imports(MODULES[module])} - {module}
        assert not others & COMMAND_MODULES, module


def test_one_folder_knows_audio_files() -> None:
    for package in ("enhance", "devices", "models"):
        for path in files(package):
            libraries = {"soundfile", "mutagen"} & {name.split(".")[0] for name in imports(path)}
            assert not libraries or path.parent == ROOT / "enhance" / "files", path


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import app, quietmic.cli, quietmic.enhance.stream, quietmic.enhance.files.run, quietmic.cli.denoise
import quietmic.devices.duplex
quietmic.open_stream
"""


def test_imports_without_training_sound_or_pictures() -> None:
    names = TRAINING | {"sounddevice", "matplotlib", "pesq", "pystoi", "speechmos", "dask"}
    subprocess.run([sys.executable, "-c", WITHOUT.format(names=names)], cwd=ROOT, check=True)


def test_in_a_checkout_enhance_gives_what_quietmic_gives() -> None:
    code = "import quietmic, enhance; assert enhance.open_stream is quietmic.open_stream; enhance.Stream"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_files_stay_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values()}
    assert not {path: n for path, n in lengths.items() if n > 330}
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) <= 10
