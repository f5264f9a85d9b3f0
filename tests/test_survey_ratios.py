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
from quietmic.enhance.onnxfile import read_card
from quietmic.models.export import export, write_card
from quietmic.models.networks.registry import build


def test_a_network_that_was_destroyed_has_no_good_mean(tmp_path):
    """By size and speed alone it was the best: the gain over the noisy input counts, the other way round."""
    torch.manual_seed(0)
    card = ModelCard("tcn", STFT, 8, 0, None, None, None, 0, 0)
    parent = SimpleNamespace(onnx=export(build("tcn", **SIZES["tcn"]), card, tmp_path / "tcn.onnx"))
    small = Path(shutil.copy(parent.onnx, tmp_path / "small.onnx"))
    before = {"rtf": 0.02, "noisy": {"si_sdr": 2.0}, "1_mics": {"si_sdr": 7.0}}

    def ratios(si_sdr, share, storage):
        after = {"noisy": {"si_sdr": 2.0}, "1_mics": {"si_sdr": si_sdr}} if si_sdr is not None else {}
        write_card(small, replace(read_card(small), metrics=after))
        result = SimpleNamespace(ratios=lambda: {"parameters": share, "macs": share}, storage=storage)
        return survey_ratios(parent, result, {"path": str(small), "rtf": 0.01}, before)

    whole, half, destroyed = (ratios(*row, {}) for row in ((7.0, 0.2), (4.5, 0.1), (1.5, 0.01)))
    assert [row["quality"] for row in (whole, half, destroyed)] == pytest.approx([1, 2, 500])
    assert whole["storage"] == pytest.approx(1, abs=0.01)
    assert whole["latency"] == 0.5
    assert "index" not in whole
    assert destroyed["mean"] > 50 > max(whole["mean"], half["mean"])
    assert ratios(None, 0.1, {})["mean"] is None
    assert ratios(7.0, 0.1, {"index": 30, "index_of_all": 100})["index"] == 0.3
