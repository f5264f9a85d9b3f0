"""Evaluation: figures of known signals, files that would falsify them, cache, pool, intervals, and the command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reports_fixtures import RATE, stop_after_four, voice, write_pairs

from quietmic import cli
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure import job as single
from quietmic.enhance.measure import quality as evaluation
from quietmic.enhance.measure.metrics import METRIC_NAMES
from quietmic.enhance.measure.quality import EvaluationOptions
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.measure.records import read_records, write_record
from quietmic.enhance.measure.statistics import paired_difference, summarise
from quietmic.enhance.measure.summary import FIGURE_NAMES, summarise_rows
from quietmic.enhance.measure.systems import Selection, choose_systems, describe_system, model_system, recall_system
from quietmic.enhance.measure.tables import evaluation_tables


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


def test_means_of_several_systems_run_over_the_files_that_all_were_measured_on():
    """A system without a figure for the hard file got 12 dB where one that scored 2 and 12 got 7."""

    def row(scene, system, value):
        figures = dict.fromkeys(FIGURE_NAMES, value) | {"ovrl": None if system == "b" else value}
        return {"scene": scene, "system": system, "pool_rtf": 0.1, **figures}

    rows = [row("easy", "a", 12.0), row("hard", "a", 2.0), row("easy", "b", 12.0), row("hard", "b", None)]
    summary = summarise_rows(rows)["summary"]
    for system in ("a", "b"):
        assert (summary[system]["si_sdr"]["mean"], summary[system]["si_sdr"]["n"]) == (12, 1)
        assert summary[system]["si_sdr"]["missing"] == 1
    assert summary["a"]["ovrl"]["mean"] == 7  # b has none at all, and does not count for it
    assert summary["a"]["pool_rtf"]["n"] == 2
    assert rows[1]["si_sdr"] == 2


@pytest.fixture
def quick_measures(monkeypatch):
    """Figures at no cost, for tests of all that surrounds them."""
    monkeypatch.setattr(evaluation.metrics, "measure", lambda *signals: dict.fromkeys(METRIC_NAMES, 1.0))


def test_the_gain_of_known_networks(tmp_path, passthrough_model, model_folder):
    """A pass-through changes nothing; a factor of 0.1 changes no scale-invariant measure."""
    recordings = find_recordings(write_pairs(tmp_path / "scenes", n_mics=2))
    systems = [
        model_system(str(passthrough_model)),
        model_system(str(passthrough_model), 2),
        model_system(str(model_folder / "tenth.onnx")),
    ]
    result = evaluation.evaluate(recordings, systems, EvaluationOptions(cache=tmp_path / "cache"))
    assert [system["label"] for system in result["systems"]][1:] == ["passthrough", "passthrough, 2 mics", "gain"]
    assert len(result["rows"]) == 12
    for row in result["rows"]:
        assert row["si_sdr"] == pytest.approx(row["snr_db"], abs=0.3)
        assert row["si_sdr_gain"] == pytest.approx(0, abs=1e-3)
        assert row["stoi_gain"] == pytest.approx(0, abs=1e-3)
        assert 1 <= row["ovrl"] <= 5
        assert row["pool_rtf"] is None or 0 < row["pool_rtf"] < 1  # much faster than it sounds
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


def test_words_for_an_snr_and_empty_noise_classes_are_in_no_group():
    figures = dict.fromkeys((*FIGURE_NAMES, "pool_rtf"), 1.0)
    facts = [("n/a", "wind +"), (0, "rain"), (5, "wind"), ("", "")]
    rows = [
        {"scene": str(i), "system": "noisy", "noise": noise, "snr_db": snr_db, **figures}
        for i, (snr_db, noise) in enumerate(facts)
    ]
    splits = summarise_rows(rows)["splits"]
    assert (list(splits["snr_db"]), list(splits["noise"])) == (["0 dB", "5 dB"], ["rain", "wind"])


def test_columns_of_a_manifest_do_not_replace_those_of_the_results(tmp_path, passthrough_model, quick_measures):
    folder = write_pairs(tmp_path / "scenes", n_scenes=2)
    text = "name,scene,system,mics_used,place\nscene_000,one,noisy,7,hall\nscene_001,one,noisy,7,hall\n"
    (folder / "manifest.csv").write_text(text)
    systems = [model_system(str(passthrough_model))]
    rows = evaluation.evaluate(find_recordings(folder), systems, EvaluationOptions(cache=tmp_path / "cache"))["rows"]
    names = [(scene, system) for scene in ("scene_000", "scene_001") for system in ("noisy", "passthrough")]
    assert [(row["scene"], row["system"]) for row in rows] == names
    assert list(rows[0])[:2] == ["scene", "system"]
    for row in rows:
        assert (row["mics_used"], row["place"], row["si_sdr_gain"]) == (1, "hall", 0)


@pytest.mark.parametrize("part", ["noisy", "clean"])
@pytest.mark.parametrize("name", ["scene_000.wav", "scene_000.flac"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, passthrough_model, part, name):
    """The header of a WAV tells it before anything is measured; a FLAC has to be read."""
    folder = write_pairs(tmp_path / "scenes", n_scenes=1)
    samples, rate = soundfile.read(folder / part / "scene_000.flac")
    (folder / part / "scene_000.flac").unlink()
    soundfile.write(folder / part / name, samples, rate)
    data = (folder / part / name).read_bytes()
    (folder / part / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(QuietmicError, match=rf"{part}/{name}: .*; replace the file or remove it"):
        evaluation.evaluate(
            find_recordings(folder), [model_system(str(passthrough_model))], EvaluationOptions(cache=tmp_path / "cache")
        )
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", ["header", "middle"])
def test_a_bad_file_can_be_left_out(tmp_path, passthrough_model, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    noisy = write_pairs(tmp_path / "scenes", n_scenes=2, seconds=1.0) / "noisy"
    data = (noisy / "scene_000.flac").read_bytes()
    (noisy / "scene_000.flac").write_bytes(data[: len(data) // 2] if kind == "middle" else b"no sound")
    arguments = ["evaluate", "scenes", "--model", str(passthrough_model), "--json"]
    assert cli.main(arguments) == 1
    assert cli.main([*arguments, "--skip-bad", "--markdown", "r.md"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert {row["scene"] for row in figures["rows"]} == {"scene_001"}
    assert [entry["scene"] for entry in figures["skipped"]] == ["scene_000"]
    assert "left out: " in captured.err and "scene_000.flac" in captured.err
    assert "1 recordings (1 bad ones left out)" in Path("r.md").read_text()
    (noisy / "scene_001.flac").write_bytes(b"")
    assert cli.main([*arguments, "--skip-bad"]) == 1
    assert "none of the 2 recordings can be read" in capsys.readouterr().err


def test_noisy_and_clean_folders_may_lie_anywhere(tmp_path, passthrough_model, monkeypatch, capsys, quick_measures):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "scenes", n_scenes=2, seconds=1.0)
    (tmp_path / "scenes" / "noisy").rename(tmp_path / "street")
    (tmp_path / "scenes" / "clean").rename(tmp_path / "studio")
    folders = ["--noisy", "street", "--clean", "studio"]
    assert cli.main(["evaluate", *folders, "--model", str(passthrough_model), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["data"] == "street" and len(figures["rows"]) == 4
    for wrong in ([], folders[:2], folders[2:], ["scenes", *folders], ["scenes", *folders[2:]]):
        assert cli.main(["evaluate", *wrong]) == 2
        assert "give a FOLDER, or --noisy and --clean" in capsys.readouterr().err


def test_pairs_of_different_length_are_told(tmp_path, caplog, quick_measures):
    folder = write_pairs(tmp_path / "scenes", n_scenes=2, seconds=1.0)
    soundfile.write(folder / "clean" / "scene_000.flac", voice(0.96), RATE)
    soundfile.write(folder / "clean" / "scene_001.flac", voice(0.9), RATE)
    evaluation.evaluate(find_recordings(folder), [], EvaluationOptions(cache=tmp_path / "cache"))
    (line,) = caplog.messages
    assert "scene_001.flac has 1.00 s" in line and "scene_001.flac 0.90 s: only as much as both have" in line


def test_too_few_channels_are_told_and_none_at_all_is_wrong_use(tmp_path, passthrough_model, caplog, quick_measures):
    systems = [model_system(str(passthrough_model), n_mics) for n_mics in (1, 2)]
    folder = write_pairs(tmp_path / "scenes", n_scenes=2, seconds=1.0)
    with pytest.raises(QuietmicError, match="passthrough, 2 mics: no recording has 2 channels") as error:
        evaluation.evaluate(find_recordings(folder), systems, EvaluationOptions(cache=tmp_path / "cache"))
    assert error.value.exit_code == 2
    soundfile.write(folder / "noisy" / "scene_000.flac", np.stack([voice(1.0)] * 2, axis=1), RATE)
    result = evaluation.evaluate(find_recordings(folder), systems, EvaluationOptions(cache=tmp_path / "cache"))
    labels = ["noisy", "passthrough", "passthrough, 2 mics"]
    assert [row["system"] for row in result["rows"]] == [*labels, *labels[:2]]
    assert "passthrough, 2 mics: 1 of 2 recordings are left out" in caplog.text


def test_a_second_run_computes_nothing_and_a_changed_file_only_itself(tmp_path, passthrough_model, monkeypatch):
    folder = write_pairs(tmp_path / "scenes", n_scenes=2)
    system = model_system(str(passthrough_model))
    first = evaluation.evaluate(find_recordings(folder), [system], EvaluationOptions(cache=tmp_path / "cache"))
    computed = []
    measure = single.evaluate_job
    monkeypatch.setattr(single, "evaluate_job", lambda job: computed.append(job.recording.name) or measure(job))
    again = evaluation.evaluate(find_recordings(folder), [system], EvaluationOptions(cache=tmp_path / "cache"))
    assert computed == []
    assert again == first
    soundfile.write(folder / "noisy" / "scene_001.flac", voice(4.6, 9), RATE)
    evaluation.evaluate(find_recordings(folder), [system], EvaluationOptions(cache=tmp_path / "cache"))
    assert computed == ["scene_001"] * 2


def test_a_stopped_run_goes_on(tmp_path, passthrough_model, monkeypatch):
    recordings = find_recordings(write_pairs(tmp_path / "scenes"))
    measure = single.evaluate_job
    stop_after_four(monkeypatch, KeyboardInterrupt)
    system = model_system(str(passthrough_model))
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(recordings, [system], EvaluationOptions(cache=tmp_path / "cache"))
    remaining = []
    monkeypatch.setattr(single, "evaluate_job", lambda job: remaining.append(job) or measure(job))
    evaluation.evaluate(recordings, [system], EvaluationOptions(cache=tmp_path / "cache"))
    assert len(remaining) == 5


def test_what_there_is_to_reach_stands_beside_what_was_reached(tmp_path, passthrough_model):
    """OVRL of 2.2 says little to whom it is not told that the clean target itself has 2.6."""
    folder = write_pairs(tmp_path / "scenes", n_scenes=2)
    speech = {path.name: soundfile.read(path)[0] for path in sorted((folder / "clean").iterdir())}
    (folder / "reverberant").mkdir()
    for name, clean in speech.items():
        soundfile.write(folder / "reverberant" / name, clean + 0.5 * np.roll(clean, 1600), RATE)
    options = EvaluationOptions(cache=tmp_path / "cache")
    result = evaluation.evaluate(find_recordings(folder), [model_system(str(passthrough_model))], options)
    clean, reverberant = result["ceilings"]["clean target"], result["ceilings"]["reverberant speech"]
    expected = np.mean([evaluation.metrics.dnsmos(one, RATE)["ovrl"] for one in speech.values()])
    assert clean["ovrl"]["mean"] == pytest.approx(expected, abs=1e-3)
    assert clean["si_sdr"]["mean"] is None
    # half of an echo that has nothing in common with the direct sound: 6 dB below it
    assert reverberant["si_sdr"]["mean"] == pytest.approx(6.0, abs=1.0)
    assert [row["system"] for row in result["rows"]] == ["noisy", "passthrough"] * 2
    table = evaluation_tables(result)[1]
    assert [row[0] for row in table.rows] == ["clean target", "reverberant speech"]


def test_a_record_names_shipped_models_and_not_where_they_lie():
    """Figures that were published told the folders of the machine that they came from."""
    system = model_system("tcn-tiny", 2)
    described = describe_system(system)
    assert described["target"] == "tcn-tiny"
    assert recall_system(described) == system


def test_fast_leaves_out_dnsmos_and_nothing_else(tmp_path, passthrough_model):
    recordings = find_recordings(write_pairs(tmp_path / "scenes", n_scenes=1))
    systems = [model_system(str(passthrough_model))]
    fast, whole = (
        evaluation.evaluate(recordings, systems, EvaluationOptions(cache=tmp_path / "cache", fast=fast))["rows"]
        for fast in (True, False)  # out of one cache, in which neither passes for the other
    )
    for quick, row in zip(fast, whole, strict=True):
        for name in METRIC_NAMES:
            is_left_out = name in evaluation.metrics.REFERENCE_FREE
            assert row[name] is not None
            assert quick[name] == (None if is_left_out else pytest.approx(row[name], abs=1e-9))


def test_noisy_recordings_alone_get_dnsmos_only(tmp_path, passthrough_model):
    soundfile.write(tmp_path / "alone.wav", voice(4.6), RATE)
    result = evaluation.evaluate(
        find_recordings(tmp_path), [model_system(str(passthrough_model))], EvaluationOptions(cache=tmp_path / "cache")
    )
    row = result["rows"][1]
    assert row["si_sdr"] is row["pesq_wb"] is row["stoi"] is row["si_sdr_gain"] is None
    assert row["ovrl_gain"] == pytest.approx(0, abs=1e-3)


def test_the_command_in_a_pool_writes_all_its_files(tmp_path, passthrough_model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "scenes", n_mics=2)
    arguments = ["evaluate", "scenes", "--model", str(passthrough_model), "--mics", "1,2", "--jobs", "2"]
    assert cli.main([*arguments, "--json", "--csv", "r.csv", "--markdown", "r.md"]) == 0
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


def test_a_package_that_lacks_is_named(tmp_path, passthrough_model, monkeypatch, capsys):
    """A table full of "not measured" did not say why."""
    monkeypatch.setattr(evaluation, "metric_versions", lambda: {"revision": "1", "pesq": None, "pystoi": "0.4"})
    folder = write_pairs(tmp_path / "scenes", n_scenes=1, seconds=1.0)
    arguments = ["evaluate", str(folder), "--model", str(passthrough_model), "--fast"]
    assert cli.main([*arguments, "--cache", str(tmp_path / "c"), "--records", str(tmp_path / "r")]) == 0
    assert 'not measured without pesq: pip install "quietmic[metrics]"' in capsys.readouterr().err


def test_wrong_use_is_code_2(tmp_path, passthrough_model, capsys):
    assert cli.main(["evaluate", str(tmp_path / "nowhere"), "--model", str(passthrough_model)]) == 2
    assert cli.main(["evaluate", str(tmp_path), "--mics", "0"]) == 2
    assert cli.main(["evaluate", str(tmp_path), "--model", str(passthrough_model), "--mics", "9"]) == 2
    assert "takes 1 to 8 microphones, not 9; name other numbers with --mics" in capsys.readouterr().err


def test_versions_of_one_network_are_told_apart_by_their_files(tmp_path, passthrough_model):
    other = tmp_path / "step_200.onnx"
    other.write_bytes(passthrough_model.read_bytes())
    systems = choose_systems(Selection((str(passthrough_model), str(other))))
    assert [system.label for system in systems] == ["passthrough (passthrough)", "passthrough (step_200)"]
    with pytest.raises(QuietmicError, match="named twice"):
        choose_systems(Selection((str(other), str(other))))


def test_records_come_back_in_order_and_by_kind(tmp_path):
    first = write_record("train", {"loss": 0.1}, tmp_path, seed=3)
    write_record("bench", {}, tmp_path)
    last = write_record("train", {"loss": float("nan")}, tmp_path)
    records = read_records(tmp_path, "train")
    assert [record["path"] for record in records] == [str(first), str(last)]
    assert (records[0]["seed"], records[0]["figures"]["loss"], records[1]["figures"]["loss"]) == (3, 0.1, None)
    assert records[0]["commit"] is None or len(records[0]["commit"]) in (40, 41)
