"""Scenes and tables of rivals on a cluster: the files and figures of one process."""

import json
from pathlib import Path

import pytest
import torch
from cluster_processes import DaskProcesses
from corpus import write_corpus

from quietmic import cli
from quietmic.models.networks.registry import build, save_network

SIZES = {"encoder": (6, 8), "width": 16, "n_units": 24, "dilations": (1, 2)}
RECIPE = """
n_calibration = 2
[prune]
steps = 2
[finetune]
steps = 2
"""


@pytest.mark.slow
def test_scenes_and_criteria_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "speech", 4, 0)
    write_corpus(tmp_path / "noise", 3, 1)
    torch.manual_seed(0)
    save_network(build("tcn", **SIZES), tmp_path / "tcn.pt", {})
    (tmp_path / "recipe.toml").write_text(RECIPE)
    data = ["--speech", "speech", "--noise", "noise"]
    scenes = ["scenes", *data, "--count", "4", "--split", "train", "-o"]
    table = ["compare-criteria", *data, "--rooms", "4", "--model", "tcn.pt", "--recipe", "recipe.toml",
             "--params", "5k", "--criteria", "l1,random", "-o"]  # fmt: skip
    assert cli.main([*scenes, "scenes-here"]) == 0
    assert cli.main([*table, "table-here"]) == 0
    with DaskProcesses(tmp_path) as started:
        assert cli.main([*scenes, "scenes-there", "--cluster", started.address]) == 0
        assert cli.main([*table, "table-there", "--cluster", started.address]) == 0
    here, there = tmp_path / "scenes-here", tmp_path / "scenes-there"
    for name in ("manifest.csv", *(f"{part}/scene-{i:03d}.flac" for part in ("noisy", "clean") for i in range(4))):
        assert (here / name).read_bytes() == (there / name).read_bytes()
    tables = [json.loads((tmp_path / f"table-{where}" / "criteria.json").read_text()) for where in ("here", "there")]
    for row, other in zip(tables[0]["rows"], tables[1]["rows"], strict=True):
        assert row["label"] == other["label"]
        assert row["figures"] == pytest.approx(other["figures"], rel=1e-3)
