"""The bench: figures that must hold whatever the machine does, and the arithmetic of limit and plan."""

import json
from pathlib import Path

import numpy as np
import pytest
from make_models import make_card, make_passthrough

from quietmic import cli
from quietmic.enhance.measure.plan import plan
from quietmic.enhance.measure.probe import probe
from quietmic.enhance.measure.sessions import count_sessions, latency_ms
from quietmic.enhance.measure.speed import bench, hop_limit
from quietmic.enhance.measure.speed_tables import bench_markdown, session_tables
from quietmic.enhance.measure.systems import model_system

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A pass-through whose card claims a million parameters and a gigamultiplication per second."""
    path = tmp_path_factory.mktemp("bench") / "small.onnx"
    return make_passthrough(path, make_card("tcn-small", parameters=10**6, macs_per_second=10**9))


def test_figures_of_a_passthrough(small_model, model_folder):
    systems = [model_system(str(small_model)), model_system(str(model_folder / "beam.onnx"), 2)]
    result = bench(systems, seconds=2, max_threads=2)
    first = result["systems"][0]
    hop = first["hop_ms"]
    assert 0 < hop["p50"] <= hop["p95"] <= hop["p99"] <= hop["max"]
    assert first["rtf_live"] == pytest.approx(hop["mean"] / 16.0)
    assert first["rtf_files"] > 0
    assert first["algorithmic_delay_ms"] == 32.0
    assert first["bytes"] == small_model.stat().st_size
    assert list(first["threads"]) == ["1", "2"]
    assert first["peak_memory_bytes"] >= first["memory_before_bytes"] > 10e6
    assert first["network_ms"] < hop["p50"]
    assert first["beamformer_ms"] == 0 < result["systems"][1]["beamformer_ms"] < 16
    assert result["rates"]["read_bytes_per_second"]["4000000"] > 1e7
    (ratio,) = result["ratios"]
    assert (ratio["first"], ratio["second"]) == ("tcn-small", "beam, 2 mics")
    assert ratio["live"]["low"] <= ratio["live"]["mean"] <= ratio["live"]["high"]
    assert result["systems"][1]["limit"]["distance"] is None  # its card states no cost


def test_limit_is_the_longer_of_computing_and_reading(small_model):
    """1e9 MAC/s of audio = 16e6 a hop: 16 ms at 1e9 MAC/s; 4e6 bytes of weights: 4 ms at 1e9 bytes/s."""
    rates = {"macs_per_second": 1e9, "read_bytes_per_second": {"4000000": 1e9}}
    limit = hop_limit(model_system(str(small_model)), 32.0, 62.5, rates)
    assert limit == pytest.approx({"compute_ms": 16.0, "memory_ms": 4.0, "limit_ms": 16.0, "distance": 2.0})


def test_rates_of_a_machine_are_those_of_a_machine():
    """Wide bounds: on a core that a dozen programs shared, products were at a hundredth of their rate."""
    rates = probe("rates", 1 << 20)
    assert 1e7 < rates["macs_per_second"] < 1e13
    assert 1e7 < rates["read_bytes_per_second"][str(1 << 20)] < 1e13


def test_frames_wait_for_those_before_them():
    """Four callers: a frame comes every 5 ms. Computed for 4 ms none waits; for 6 ms each waits 1 ms longer."""
    assert latency_ms(np.full((2, 4), 0.004)) == pytest.approx([4.0] * 8)
    assert latency_ms(np.full((2, 4), 0.006)) == pytest.approx(range(6, 14))


def test_sessions_of_a_passthrough(small_model):
    """How many there are is for the machine to say; what is told of them fits together."""
    counted = count_sessions(small_model, 1, seconds=0.1)
    assert counted["frame_ms"] == 20
    if counted["n_sessions"]:
        assert 0 < counted["load"] < 1
        assert 0 < counted["p50_ms"] <= counted["p99_ms"] < 20
    assert counted["memory_bytes"] < 1e6  # the network is loaded once
    record = {"kind": "model", "label": "small", "sessions": counted}
    (table,) = session_tables([record, {"kind": "model", "label": "not counted"}])
    assert [row[:2] for row in table.rows] == [["small", str(counted["n_sessions"])]]


def test_the_page_of_speeds_is_made_of_its_data() -> None:
    """docs/speed.md and docs/data/speed.json are written by one command; neither is edited by hand."""
    data = json.loads((ROOT / "docs/data/speed.json").read_text(encoding="utf-8"))
    if "ratios" not in data:
        pytest.skip(data["note"])
    record = {"machine": data["machine"], "versions": data["versions"], "figures": data}
    assert (ROOT / "docs/speed.md").read_text(encoding="utf-8") == bench_markdown(record)


def test_plan_adds_up(small_model):
    figures = plan(str(small_model), hours=1000, cores=10, link_mbit=8, seconds=5)
    assert figures["core_hours"] * figures["audio_seconds_per_core_second"] == pytest.approx(1000)
    assert figures["compute_hours"] == pytest.approx(figures["core_hours"] / 10)
    assert figures["bytes_in"] == 1000 * 3600 * 32000
    assert figures["transfer_hours"] == pytest.approx(32)  # 115.2 GB at 1 MB/s
    assert figures["wall_hours"] == pytest.approx(32)
    assert figures["bound_by"] == "link"


def test_the_command_prints_json_alone(small_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", "--model", str(small_model), "--peer", "nsnet2", "--seconds", "1", "--threads", "1"]
    assert cli.main([*arguments, "--json", "--markdown", "bench.md"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [system["label"] for system in figures["systems"]] == ["tcn-small", "nsnet2"]
    assert figures["systems"][1]["rtf_live"] is None  # it works on whole files
    assert figures["systems"][1]["rtf_files"] > 0
    assert figures["machine"]["cores"] >= 1
    text = (tmp_path / "bench.md").read_text()
    assert "not measured" in text and "GMAC/s" in text
    for former in (["bench", "--plan"], ["plan"]):
        assert cli.main([*former, "10", "--model", str(small_model), "--cores", "2", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["cores"] == 2
