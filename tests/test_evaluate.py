"""Evaluation: layouts found by name, figures of known signals, cache, pool, intervals, and the command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reports_fixtures import RATE, voice, write_pairs

import app
from enhance import evaluate as evaluation
from enhance.dataset import find_scenes
from enhance.errors import UserError
from enhance.evaluate_command import choose_systems
from enhance.records import read_records, write_record
from enhance.statistics import paired_difference, summarise
from enhance.summary import FIGURE_NAMES, summarise_rows
from enhance.systems import model_system


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(160), RATE)


def test_layouts_are_found_by_name(tmp_path):
    vbd, dns, flat, alone = (tmp_path / name for name in ("vbd", "dns", "flat", "alone"))
    touch(vbd / "noisy_testset_wav" / "p232_001.wav")
    touch(vbd / "clean_testset_wav" / "p232_001.wav")
    (vbd / "log_testset.txt").write_text("p232_001 bus 2.5\n")
    touch(dns / "noisy" / "clnsp1_x_snr15_tl-21_fileid_7.wav")
    touch(dns / "clean" / "clean_fileid_7.wav")
    touch(flat / "mono" / "desk_noisy.flac")
    touch(flat / "mono" / "desk_clean.wav")
    touch(alone / "a" / "street.ogg")
    (scene,) = find_scenes(vbd)
    assert (scene.clean.name, scene.facts) == ("p232_001.wav", {"noise": "bus", "snr_db": 2.5})
    (scene,) = find_scenes(dns)
    assert (scene.clean.name, scene.facts) == ("clean_fileid_7.wav", {"snr_db": 15})
    (scene,) = find_scenes(flat)
    assert (scene.name, scene.clean.name) == ("mono/desk", "desk_clean.wav")
    (scene,) = find_scenes(alone)
    assert (scene.name, scene.clean) == ("a/street", None)
    (dns / "clean" / "clean_fileid_7.wav").unlink()
    with pytest.raises(UserError, match="no pair"):
        find_scenes(dns)


def test_bootstrap_interval_is_that_of_the_normal_theory():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    summary = summarise([*values, None])
    assert summary["mean"] == pytest.approx(values.mean())
    assert summary["median"] == pytest.approx(np.median(values))
    half = 1.96 * values.std() / 20
    assert summary["low"] == pytest.approx(values.mean() - half, abs=0.02)
    assert summary["high"] == pytest.approx(values.mean() + half, abs=0.02)
    assert (summary["n"], summary["missing"]) == (400, 1)
    assert summarise([None]) == {"mean": None, "median": None, "low": None, "high": None, "n": 0, "missing": 1}


def test_paired_difference_sees_what_means_hide():
    scenes = np.random.default_rng(1).normal(0, 10, 50)
    difference = paired_difference([*(scenes + 0.5), None], [*scenes, 1.0])
    assert difference["mean"] == pytest.approx(0.5)
    assert difference["high"] - difference["low"] < 1e-9  # while each mean alone is uncertain by 5


def test_the_gain_of_known_networks(tmp_path, passthrough_model, model_folder):
    """A pass-through changes nothing; a factor of 0.1 changes no scale-invariant measure."""
    scenes = find_scenes(write_pairs(tmp_path / "scenes", n_mics=2))
    systems = [
        model_system(str(passthrough_model)),
        model_system(str(passthrough_model), 2),
        model_system(str(model_folder / "tenth.onnx")),
    ]
    result = evaluation.evaluate(scenes, systems, cache=tmp_path / "cache", progress=False)
    assert [system["label"] for system in result["systems"]][1:] == ["passthrough", "passthrough, 2 mics", "gain"]
    assert len(result["rows"]) == 12
    for row in result["rows"]:
        assert row["si_sdr"] == pytest.approx(row["snr_db"], abs=0.3)
        assert row["si_sdr_gain"] == pytest.approx(0, abs=1e-3)
        assert row["stoi_gain"] == pytest.approx(0, abs=1e-3)
        assert 1 <= row["ovrl"] <= 5
    assert list(result["splits"]["snr_db"]) == ["0 dB", "5 dB", "10 dB"]
    assert set(result["splits"]["noise"]) == {"fan", "street"}
    assert result["splits"]["noise"]["fan"]["gain"]["si_sdr"]["n"] == 2


def test_a_recording_counts_in_each_class_of_its_noise_and_snr_is_binned():
    figures = dict.fromkeys((*FIGURE_NAMES, "pool_rtf"), 1.0)
    rows = [
        {"scene": str(i), "system": "noisy", "noise": noise, "snr_db": i - 5.5, **figures}
        for i, noise in enumerate(["wind + wind + diffuse rain", "rain", *["wind"] * 10])
    ]
    splits = summarise_rows(rows)["splits"]
    assert {name: group["noisy"]["stoi"]["n"] for name, group in splits["noise"].items()} == {"rain": 2, "wind": 11}
    bins = {name: group["noisy"]["stoi"]["n"] for name, group in splits["snr_db"].items()}
    assert bins == {"-10 to -5 dB": 1, "-5 to 0 dB": 5, "0 to 5 dB": 5, "5 to 10 dB": 1}


def test_a_second_run_computes_nothing_and_a_changed_file_only_itself(tmp_path, passthrough_model, monkeypatch):
    folder = write_pairs(tmp_path / "scenes", n_scenes=2)
    system = model_system(str(passthrough_model))
    first = evaluation.evaluate(find_scenes(folder), [system], cache=tmp_path / "cache", progress=False)
    computed = []
    measure = evaluation.evaluate_job
    monkeypatch.setattr(evaluation, "evaluate_job", lambda job: computed.append(job.scene.name) or measure(job))
    again = evaluation.evaluate(find_scenes(folder), [system], cache=tmp_path / "cache", progress=False)
    assert computed == []
    assert again == first
    soundfile.write(folder / "noisy" / "scene_001.flac", voice(4.6, 9), RATE)
    evaluation.evaluate(find_scenes(folder), [system], cache=tmp_path / "cache", progress=False)
    assert computed == ["scene_001"] * 2


def test_a_stopped_run_goes_on(tmp_path, passthrough_model, monkeypatch):
    scenes = find_scenes(write_pairs(tmp_path / "scenes"))
    measure, done = evaluation.evaluate_job, []

    def stop_after_four(job):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(job)
        return measure(job)

    monkeypatch.setattr(evaluation, "evaluate_job", stop_after_four)
    system = model_system(str(passthrough_model))
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(scenes, [system], cache=tmp_path / "cache", progress=False)
    remaining = []
    monkeypatch.setattr(evaluation, "evaluate_job", lambda job: remaining.append(job) or measure(job))
    evaluation.evaluate(scenes, [system], cache=tmp_path / "cache", progress=False)
    assert len(remaining) == 2


def test_noisy_recordings_alone_get_dnsmos_only(tmp_path, passthrough_model):
    soundfile.write(tmp_path / "alone.wav", voice(4.6), RATE)
    result = evaluation.evaluate(
        find_scenes(tmp_path), [model_system(str(passthrough_model))], cache=tmp_path / "cache", progress=False
    )
    row = result["rows"][1]
    assert row["si_sdr"] is row["pesq_wb"] is row["stoi"] is row["si_sdr_gain"] is None
    assert row["ovrl_gain"] == pytest.approx(0, abs=1e-3)


def test_the_command_in_a_pool_writes_all_its_files(tmp_path, passthrough_model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "scenes", n_mics=2)
    arguments = ["evaluate", "scenes", "--model", str(passthrough_model), "--mics", "1,2", "--jobs", "2"]
    assert app.main([*arguments, "--json", "--csv", "r.csv", "--markdown", "r.md"]) == 0
    figures = json.loads(capsys.readouterr().out)
    with open("r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(figures["rows"]) == 9
    assert float(rows[0]["si_sdr"]) == figures["rows"][0]["si_sdr"]  # full precision in both
    mean = np.mean([row["si_sdr"] for row in figures["rows"] if row["system"] == "passthrough"])
    assert figures["summary"]["passthrough"]["si_sdr"]["mean"] == pytest.approx(mean, rel=1e-12)
    assert "passthrough, 2 mics" in Path("r.md").read_text()
    (record,) = read_records(tmp_path / "out" / "records", "evaluate")
    assert record["figures"]["summary"] == figures["summary"]
    assert record["metric_versions"]["pesq"] and record["data_sha256"] and record["machine"]["cores"]


def test_wrong_use_is_code_2(tmp_path, passthrough_model, capsys):
    assert app.main(["evaluate", str(tmp_path / "nowhere"), "--model", str(passthrough_model)]) == 2
    assert app.main(["evaluate", str(tmp_path), "--mics", "0"]) == 2
    assert app.main(["evaluate", str(tmp_path), "--model", str(passthrough_model), "--mics", "9"]) == 2
    assert "takes 1 to 8 microphones" in capsys.readouterr().err


def test_versions_of_one_network_are_told_apart_by_their_files(tmp_path, passthrough_model):
    other = tmp_path / "step_200.onnx"
    other.write_bytes(passthrough_model.read_bytes())
    systems = choose_systems((str(passthrough_model), str(other)), (), (1,), None)
    assert [system.label for system in systems] == ["passthrough (passthrough)", "passthrough (step_200)"]
    with pytest.raises(UserError, match="named twice"):
        choose_systems((str(other), str(other)), (), (1,), None)


def test_records_come_back_in_order_and_by_kind(tmp_path):
    first = write_record("train", {"loss": 0.1}, tmp_path, seed=3)
    write_record("bench", {}, tmp_path)
    last = write_record("train", {"loss": float("nan")}, tmp_path)
    records = read_records(tmp_path, "train")
    assert [record["path"] for record in records] == [str(first), str(last)]
    assert (records[0]["seed"], records[0]["figures"]["loss"], records[1]["figures"]["loss"]) == (3, 0.1, None)
    assert records[0]["commit"] is None or len(records[0]["commit"]) in (40, 41)
