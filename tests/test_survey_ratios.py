"""What a compressed enhancer keeps of its parent, summed up."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_compress_cli import SIZES

from quietmic.compression.enhancer.make import survey_ratios
from quietmic.compression.enhancer.speech import STFT
from quietmic.enhance.card import ModelCard
from quietmic.enhance.measure.energy import energy_of
from quietmic.enhance.measure.speed import hop_energies
from quietmic.enhance.onnxfile import read_card
from quietmic.models.export import export, write_card
from quietmic.models.networks.registry import build


def test_a_network_that_was_destroyed_has_no_good_mean(tmp_path):
    """By size and speed alone it was the best: the gain over the noisy input counts, the other way round."""
    torch.manual_seed(0)
    card = ModelCard("tcn", STFT, 8, 0, None, None, None, 0, 0)
    parent = SimpleNamespace(onnx=export(build("tcn", **SIZES["tcn"]), card, tmp_path / "tcn.onnx"))
    small = Path(shutil.copy(parent.onnx, tmp_path / "small.onnx"))
    before = {"rtf": 0.02, "joules": 40.0, "noisy": {"si_sdr": 2.0}, "1_mics": {"si_sdr": 7.0}}

    def ratios(si_sdr, share, storage, joules=None):
        after = {"noisy": {"si_sdr": 2.0}, "1_mics": {"si_sdr": si_sdr}} if si_sdr is not None else {}
        write_card(small, replace(read_card(small), metrics=after))
        result = SimpleNamespace(ratios=lambda: {"parameters": share, "macs": share}, storage=storage)
        return survey_ratios(parent, result, {"path": str(small), "rtf": 0.01, "joules": joules}, before)

    whole, half, destroyed = (ratios(*row, {}) for row in ((7.0, 0.2), (4.5, 0.1), (1.5, 0.01)))
    assert [row["quality"] for row in (whole, half, destroyed)] == pytest.approx([1, 2, 500])
    assert whole["storage"] == pytest.approx(1, abs=0.01)
    assert whole["latency"] == 0.5
    assert "index" not in whole
    assert destroyed["mean"] > 50 > max(whole["mean"], half["mean"])
    assert ratios(None, 0.1, {})["mean"] is None
    assert ratios(7.0, 0.1, {"index": 30, "index_of_all": 100})["index"] == 0.3
    assert whole["energy"] is None  # not readable, and no part of the mean
    known = ratios(7.0, 0.2, {}, joules=10.0)
    assert known["energy"] == 0.25
    assert known["mean"] == pytest.approx((5 * whole["mean"] + 0.25) / 6)


def zone(folder, name, count, largest=999_999):
    """A zone of the kernel as its files are, beside the counters of other things."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in (("name", name), ("energy_uj", count), ("max_energy_range_uj", largest)):
        (folder / file).write_text(f"{value}\n")


def test_energy_is_what_all_packages_took(tmp_path):
    """Two packages, one of whose counters begins anew; cores and the platform would count twice."""
    for number, (name, count) in enumerate((("package-0", 100_000), ("package-1", 900_000), ("psys", 5))):
        zone(tmp_path / f"intel-rapl:{number}", name, count)
    zone(tmp_path / "intel-rapl:0:0", "core", 7)
    (tmp_path / "intel-rapl:3").mkdir()  # without files

    def work():
        zone(tmp_path / "intel-rapl:0", "package-0", 350_000)
        zone(tmp_path / "intel-rapl:1", "package-1", 150_000)
        for path in ("intel-rapl:2", "intel-rapl:0:0"):
            (tmp_path / path / "energy_uj").write_text("800000")

    assert energy_of(work, tmp_path) == pytest.approx(0.25 + 0.25)
    assert energy_of(work, tmp_path / "none") is None


def test_models_have_energies_where_there_are_counters(tmp_path):
    card = ModelCard("tcn", STFT, 8, 0, None, None, None, 0, 0)
    path = export(build("tcn", **SIZES["tcn"]), card, tmp_path / "tcn.onnx")
    assert hop_energies([path, path], 0.1, tmp_path / "none") is None
    zone(tmp_path / "intel-rapl:0", "package-0", 100)
    assert hop_energies([path, path], 0.1, tmp_path) == [0, 0]
