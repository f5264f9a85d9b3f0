"""Word error: what a recogniser makes of recordings whose words are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reports_fixtures import RATE, voice, write_pairs

from quietmic import cli
from quietmic.enhance.measure import quality as evaluation
from quietmic.enhance.measure import recognition
from quietmic.enhance.measure.quality import EvaluationOptions
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.measure.systems import model_system
from quietmic.enhance.measure.tables import summary_tables

pytest.importorskip("pocketsphinx", reason="needs the extra asr")


def write_spoken(folder: Path, texts: dict[str, str]) -> Path:
    """Pairs of half a second whose words a manifest tells; the noisy one begins with a sample that is not 0."""
    clean = voice(0.5)
    clean[0] = 0
    noisy = clean + np.float32(0.1) * (np.arange(clean.size) == 0)
    for kind, samples in (("noisy", noisy), ("clean", clean)):
        (folder / kind).mkdir(parents=True)
        for name in texts:
            soundfile.write(folder / kind / f"{name}.flac", samples, RATE)
    lines = [f'{name},"{text}"' for name, text in texts.items()]
    (folder / "manifest.csv").write_text("\n".join(["name,text", *lines]), encoding="utf-8")
    return folder


def test_word_error_of_noisy_enhanced_and_clean(tmp_path, passthrough_model, model_folder, monkeypatch):
    """The recogniser's part is played by one that hears the last word wrong where there is noise."""
    monkeypatch.setattr(recognition, "recognise", lambda samples, rate: "one two" + (" three" if samples[0] else ""))
    folder = write_spoken(tmp_path / "scenes", {"first": "One, two, three!", "second": "", "third": "one two"})
    systems = [model_system(str(passthrough_model)), model_system(str(model_folder / "tenth.onnx"))]
    options = EvaluationOptions(cache=tmp_path / "cache", fast=True, asr=True)
    result = evaluation.evaluate(find_recordings(folder), systems, options)
    errors = {(row["scene"], row["system"]): row["wer"] for row in result["rows"]}
    assert errors["first", "noisy"] == 0 and errors["third", "noisy"] == 0.5
    assert errors["second", "noisy"] is None
    assert result["summary"]["noisy"]["wer"]["mean"] == 0.25
    assert result["ceilings"]["clean target"]["wer"]["mean"] == pytest.approx((1 / 3 + 0) / 2)
    assert [row["system"] for row in result["rows"]] == ["noisy", "passthrough", "gain"] * 3
    means, table = summary_tables(result)  # where word error alone is known of the ceilings, no empty table of them
    assert [row[0] for row in means.rows] == ["noisy", "passthrough", "gain"]
    assert [row[0] for row in table.rows] == ["noisy", "passthrough", "gain", "clean target"]
    assert table.rows[1][3].startswith("+0.000")
    assert table.rows[-1][2:] == ["0.167 [0.000, 0.333]", ""]


def test_word_error_is_told_from_a_run_without_it(tmp_path, passthrough_model, monkeypatch):
    """One cache for both, and for other words: neither passes for the other."""
    monkeypatch.setattr(recognition, "recognise", lambda samples, rate: "one two")
    systems = [model_system(str(passthrough_model))]
    options = EvaluationOptions(cache=tmp_path / "cache", fast=True)
    means = []
    for index, (words, asr) in enumerate([("one two", False), ("one two", True), ("one three", True)]):
        folder = write_spoken(tmp_path / str(index), {"first": words})
        result = evaluation.evaluate(find_recordings(folder), systems, replace(options, asr=asr))
        means.append(result["summary"]["passthrough"]["wer"]["mean"])
    assert means == [None, 0.0, 0.5]


def test_word_error_needs_words(tmp_path, capsys):
    folder = write_pairs(tmp_path / "scenes", n_scenes=1)
    assert cli.main(["evaluate", str(folder), "--asr", "--cache", str(tmp_path / "cache")]) == 2
    assert "needs a column 'text' in manifest.csv" in capsys.readouterr().err


def test_the_recogniser_hears_each_signal_on_its_own(recordings):
    """Its running mean carried one recording into the next: figures hung on the order."""
    clean = soundfile.read(recordings / "mono_keyboard_clean.flac", dtype="float32")[0][: 2 * RATE]
    alone = recognition.recognise(clean, RATE)
    recognition.recognise(0.02 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32), RATE)
    assert recognition.recognise(clean, RATE) == alone != ""
    assert recognition.word_error(alone.upper() + "!", clean, RATE) == 0
    assert recognition.word_error(alone, np.zeros(RATE, np.float32), RATE) == 1
    assert recognition.word_error("", clean, RATE) is None
