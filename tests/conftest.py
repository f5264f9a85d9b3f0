"""Fixtures that every test may use."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))

import make_models  # noqa: E402
from fake_portaudio import FakePortAudio  # noqa: E402
from live_session import Player  # noqa: E402

from quietmic import cli  # noqa: E402


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny networks: passthrough, bare (no card), tenth, beam, counter, each an .onnx file."""
    folder = tmp_path_factory.mktemp("models")
    make_models.make_passthrough(folder / "passthrough.onnx", make_models.make_card("passthrough"))
    make_models.make_passthrough(folder / "bare.onnx", None)
    make_models.make_gain(folder / "tenth.onnx", 0.1)
    make_models.make_beam(folder / "beam.onnx")
    make_models.make_counter(folder / "counter.onnx")
    return folder


@pytest.fixture(scope="session")
def passthrough_model(model_folder: Path) -> Path:
    """An ONNX file that gives the reference microphone back."""
    return model_folder / "passthrough.onnx"


@pytest.fixture
def denoise(passthrough_model: Path) -> Callable[..., int]:
    """Runs the command with the pass-through model; gives the exit code."""

    def run(*arguments: object) -> int:
        return cli.main(["denoise", "--model", str(passthrough_model), *map(str, arguments)])

    return run


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The repository's noisy recordings and their clean pairs."""
    return ROOT / "recordings"


@pytest.fixture
def backend() -> Iterator[FakePortAudio]:
    """A PortAudio whose streams get their callbacks in real time."""
    fake = FakePortAudio()
    player = Player(fake)
    yield fake
    player.stop()
