"""Training on two gloo processes gives what one process gives at the same batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import SMALL_ROOMS, write_corpus

from quietmic.enhance.errors import QuietmicError
from quietmic.models.mixtures.pack import pack_folder
from quietmic.models.mixtures.rooms import build_rooms
from quietmic.models.training.parallel import Team

LOOPBACK = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))  # a host name may lead nowhere
SCRIPT = Path(__file__).with_name("share_training.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("speech", "noise")):
        pack_folder(write_corpus(folder / name, 4, seed), "train", folder / "cache")
    build_rooms(folder / "cache", 3, 0, SMALL_ROOMS)
    return folder


def run(data: Path, out: Path, model: str, n_processes: int, n_steps: int) -> np.ndarray:
    """Losses of the steps that one or more processes make, going on in `out`."""
    out.mkdir(exist_ok=True)
    before = set(out.glob("losses-*"))
    start = [sys.executable]
    if n_processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
    arguments = [str(SCRIPT), str(data), str(out), model, str(n_steps)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": LOOPBACK}
    done = subprocess.run([*start, *arguments], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (path,) = set(out.glob("losses-*")) - before
    return np.array(json.loads(path.read_text()))


@pytest.mark.parametrize("model", ["tcn", pytest.param("fullsubnet", marks=pytest.mark.slow)])
def test_two_processes_give_the_losses_of_one(data: Path, tmp_path: Path, model: str) -> None:
    alone = run(data, tmp_path / "alone", model, 1, 30)
    together = run(data, tmp_path / "together", model, 2, 30)
    print(f"{model}: largest difference of the loss {np.abs(alone - together).max():.2e}")
    assert np.abs(alone - together).max() < 1e-3
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("alone", "together")]
    assert states[0]["progress"] == states[1]["progress"]
    for name, value in states[0]["average"].items():
        assert torch.allclose(value.float(), states[1]["average"][name].float(), atol=1e-2), name


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(data: Path, tmp_path: Path) -> None:
    whole = run(data, tmp_path / "alone", "tcn", 1, 12)
    run(data, tmp_path / "changing", "tcn", 2, 4)
    second = run(data, tmp_path / "changing", "tcn", 1, 4)
    third = run(data, tmp_path / "changing", "tcn", 2, 4)
    assert np.abs(whole[4:] - np.concatenate([second, third])).max() < 1e-3


def test_shares_make_up_the_batch() -> None:
    assert [list(range(6))[Team(rank, 3).share(6)] for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert list(range(5))[Team().share(5)] == list(range(5))
    with pytest.raises(QuietmicError, match="a batch of 5 cannot be shared by 2"):
        Team(0, 2).share(5)
