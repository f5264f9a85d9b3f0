"""The wheel owns one name, holds everything, and lives beside packages that are called as our folders are."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("quietmic", "enhance", "models", "compression", "devices")


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools leaves a folder beside what it builds, and takes up what lies there."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "app.py"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", str(source), "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out))
    return next(out.glob("quietmic-*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site-packages with the wheel, and another project's app.py, enhance/ and models/ installed after it."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    for name in ("app.py", "models/__init__.py", "enhance/__init__.py"):
        assert not (folder / name).exists()
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("OWNER = 'another project'\n")
    (folder / "pyproject.toml").write_text("[project]\nname = 'another'\n")  # some wheels leave one there
    return folder


def run_there(site: Path, folder: Path, *arguments: str) -> str:
    """Output of Python in a folder, with the installed packages and not this checkout."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_one_top_level_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        told = next(name for name in names if name.endswith(".dist-info/top_level.txt"))
        assert archive.read(told).decode().split() == ["quietmic"]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"quietmic"}


def test_the_wheel_holds_every_module_and_template(wheel: Path) -> None:
    wanted = set()
    for package in SOURCES:
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".html", ".js", ".css", ".toml", ".onnx") or path.name == "index.json":
                name = path.relative_to(ROOT).as_posix()
                wanted.add(name if package == "quietmic" else f"quietmic/{name}")
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())


def test_the_command_runs_beside_foreign_packages_of_our_names(site: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('this is the app.py of the folder')\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise SystemExit('these are the models of the folder')\n")
    run = "from quietmic.cli import run; run()"
    assert "tcn" in run_there(site, tmp_path, "-c", run, "models")
    assert "quietmic, version" in run_there(site, tmp_path, str(site / "bin" / "quietmic"), "--version")
    for name in ("app", "models", "enhance"):
        code = f"import {name}; print({name}.OWNER)"
        assert run_there(site, tmp_path / "elsewhere", "-c", code) == "another project\n"


def test_what_is_installed_is_what_runs(site: Path, tmp_path: Path) -> None:
    code = (
        "import quietmic, quietmic.enhance.stream as s, quietmic.devices.duplex as d, numpy as np;"
        "stream = quietmic.open_stream(); stream.process(np.zeros(999, np.float32));"
        "print(quietmic.__file__, s.__file__, d.__file__, len(quietmic.__path__), sep='\\n')"
    )
    *paths, n_folders = run_there(site, tmp_path, "-c", code).splitlines()
    assert n_folders == "1"
    for path in paths:
        assert path.startswith(str(site / "quietmic")), path


def test_pages_and_probes_find_their_parts_once_installed(site: Path, tmp_path: Path) -> None:
    code = (
        "from quietmic.enhance.report.pages import render; from quietmic.enhance.measure.probe import probe;"
        "from quietmic.enhance.measure.peers import list_peers; from quietmic.devices.board import find_board;"
        "import jinja2; loader = jinja2.PackageLoader('quietmic.enhance.report', 'templates');"
        "print(len(loader.list_templates()), 'gtcrn' in list_peers(), find_board('rpi4').name);"
        "print(probe('rates', 1000)['macs_per_second'] > 0)"
    )
    assert run_there(site, tmp_path, "-c", code) == "5 True rpi4\nTrue\n"
