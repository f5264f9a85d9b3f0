"""Who imports whom, and that the run time stands without the training framework."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAINING = {"torch", "torchaudio", "onnx", "pyroomacoustics"}
ALLOWED = {
    "enhance": {"quietmic", "quietmic.enhance"},
    "devices": {"quietmic.devices", "quietmic.enhance.files.audio", "quietmic.enhance.resample"},
    "models": {"quietmic.models", "quietmic.enhance"},
    "compression": {"quietmic.compression", "quietmic.enhance", "quietmic.models"},
}


def imports(path: Path) -> list[str]:
    """Full names of all modules that a file imports anywhere, functions included."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_lies_below(package: str) -> None:
    for path in files(package):
        for name in imports(path):
            assert name.split(".")[0] not in ALLOWED, f"{path}: {name}"
            if name.split(".")[0] == "quietmic":
                assert any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[package]), f"{path}: {name}"


@pytest.mark.parametrize("package", ["enhance", "devices"])
def test_run_time_never_imports_training(package: str) -> None:
    for path in files(package):
        assert not TRAINING & {name.split(".")[0] for name in imports(path)}, path


def test_the_command_line_imports_packages_inside_functions() -> None:
    tree = ast.parse((ROOT / "quietmic" / "cli" / "commands.py").read_text(encoding="utf-8"))
    top = {
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name in top if name.split(".")[0] == "quietmic"} == {"quietmic.enhance.errors.QuietmicError"}
    assert {name.split(".")[0] for name in top} <= sys.stdlib_module_names | {"click", "quietmic"}


def test_one_place_knows_audio_files() -> None:
    for package in ("enhance", "devices"):
        users = [path for path in files(package) if any(name.split(".")[0] == "soundfile" for name in imports(path))]
        assert users == ([ROOT / "enhance" / "files" / "audio.py"] if package == "enhance" else [])


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import app, quietmic, quietmic.cli, quietmic.enhance.stream, quietmic.enhance.files.run, quietmic.devices.duplex
"""


def test_imports_without_training_sound_or_pictures() -> None:
    names = TRAINING | {"sounddevice", "matplotlib", "pesq", "pystoi", "speechmos", "dask"}
    subprocess.run([sys.executable, "-c", WITHOUT.format(names=names)], cwd=ROOT, check=True)


def test_files_stay_short() -> None:
    long = {str(path): n for package in ALLOWED for path in files(package)
            if (n := len(path.read_text(encoding="utf-8").splitlines())) > 330}  # fmt: skip
    assert not long
