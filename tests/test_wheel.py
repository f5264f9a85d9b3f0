"""The wheel owns one name, holds everything, and lives beside packages that are called as our folders are."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import numpy as np
import pytest

import quietmic

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("quietmic", "enhance", "models", "compression", "devices", "recordings")
SHIPPED = {  # what a package can run; the parents are had from the source repository
    f"{name}.onnx" for name in ("fullsubnet-small", "fullsubnet-small-int8", "tcn-small", "tcn-tiny")
}
INDEX = json.loads((ROOT / "models" / "weights" / "index.json").read_text())
HOP_GRAPHS = {model["hop_file"] for model in INDEX["models"] if "hop_file" in model and model["file"] in SHIPPED}
MAX_BYTES = 12e6


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
    wanted = {"quietmic/py.typed", "quietmic/models/weights/index.json"}
    for package in SOURCES:
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".html", ".js", ".css", ".toml", ".npz"):
                name = path.relative_to(ROOT).as_posix()
                wanted.add(name if package == "quietmic" else f"quietmic/{name}")
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())


def test_the_wheel_is_lean(wheel: Path) -> None:
    """It weighed 59 MB: every model with the checkpoint that it was exported from, which only training reads."""
    with zipfile.ZipFile(wheel) as archive:
        weights = {Path(name).name for name in archive.namelist() if name.startswith("quietmic/models/weights/")}
        sounds = [entry for entry in archive.infolist() if entry.filename.startswith("quietmic/recordings/")]
    assert weights == SHIPPED | HOP_GRAPHS | {"index.json"}
    assert wheel.stat().st_size < MAX_BYTES
    assert {Path(entry.filename).name for entry in sounds} == {
        "LICENSES.md", "mono_keyboard_clean.flac", "mono_keyboard_noisy.flac"
    }  # fmt: skip
    assert sum(entry.file_size for entry in sounds) < 300_000


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))).decode()
    facts = message_from_string(text)
    assert (facts["Name"], facts["Version"], facts["License-Expression"]) == ("quietmic", quietmic.__version__, "MIT")
    assert "Typing :: Typed" in facts.get_all("Classifier", [])
    assert "speech enhancement" in facts["Keywords"]
    assert facts["Description-Content-Type"] == "text/markdown"
    assert f"## {quietmic.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_runs_beside_foreign_packages_of_our_names(site: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('this is the app.py of the folder')\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise SystemExit('these are the models of the folder')\n")
    run = "from quietmic.start import run; run()"
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
    assert run_there(site, tmp_path, "-c", code) == "6 True rpi4\nTrue\n"


def test_a_parent_that_is_not_installed_is_named_with_its_place(site: Path, tmp_path: Path) -> None:
    run = "import sys; from quietmic.cli import main; sys.stderr = sys.stdout; print(main(sys.argv[1:]))"
    listed = run_there(site, tmp_path, "-c", run, "models")
    assert {f"{name}.onnx" for name in re.findall(r"^[* ] (\S+) +[\d,]+ ", listed, re.MULTILINE)} == SHIPPED
    assert "not installed" not in listed
    answer = run_there(site, tmp_path, "-c", run, "denoise", "x.wav", "-o", "y.wav", "--model", "tcn")
    assert re.search(r"^Error: tcn is not installed: .*models/weights/ of quietmic's source", answer, re.MULTILINE)
    assert answer.endswith("1\n")


def test_the_demo_works_once_installed(site: Path, tmp_path: Path) -> None:
    """It looked for recordings/ where it was called, and stopped where matplotlib was not installed."""
    without = "import sys, importlib.util as u; find = u.find_spec; sys.modules['matplotlib'] = None;"
    without += "u.find_spec = lambda name, *a: None if name == 'matplotlib' else find(name, *a);"
    run = "from quietmic.cli import main; sys.exit(main(['demo', '-o', sys.argv[1]]))"
    for begin, names in (("import sys;", {"flac", "png"}), (without, {"flac"})):
        out = tmp_path / f"out{len(names)}"
        printed = run_there(site, tmp_path, "-c", begin + run, str(out))
        assert "mono_keyboard" in printed
        assert {path.suffix[1:] for path in out.iterdir()} == names
    assert "Pictures need" in printed


PROGRAM = """
import numpy as np
from quietmic import QuietmicError, Stream, denoise, denoise_file, list_models, open_stream

stream: Stream = open_stream("tcn-tiny", n_mics=2, sample_rate=48000)
reveal_type(stream.process(np.zeros((2, 480), np.float32)))
reveal_type(stream.delay)
reveal_type(denoise(np.zeros(16000), 16000, model="tcn-tiny"))
reveal_type(denoise_file("a.wav", "b.wav", array=True))
reveal_type([model.card.max_mics for model in list_models()])
reveal_type(QuietmicError("x").exit_code)
"""
WRONG = """
import quietmic
quietmic.open_stream(n_mics="two")
quietmic.nonsense
"""


def test_a_type_checker_sees_the_types(wheel: Path, tmp_path: Path) -> None:
    """There was no py.typed, so that everything was Any; and a name that is none of ours was taken as well."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"],
                               check=True, capture_output=True, text=True).stdout.strip())  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "numpy.pth").write_text(str(Path(np.__file__).parent.parent))
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)

    def check(name: str) -> str:
        arguments = ["-m", "mypy", "--strict", "--python-executable", str(python), "--cache-dir", "cache", name]
        return subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True).stdout

    told = check("program.py")
    revealed = [text.replace("builtins.", "") for text in re.findall(r'Revealed type is "(.*)"', told)]
    assert [text.split("[")[0] for text in (revealed.pop(0), revealed.pop(1))] == ["numpy.ndarray"] * 2
    assert revealed == ["int", "list[str]", "list[int]", "int"]
    assert "error" not in told, told
    assert re.findall(r"\[([a-z-]+)\]$", check("wrong.py"), re.MULTILINE) == ["arg-type", "attr-defined"]
