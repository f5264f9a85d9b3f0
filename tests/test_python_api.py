"""The public interface: what `quietmic` gives to a program, and the page that tells it."""

import doctest
import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import quietmic
from quietmic import QuietmicError, cli, denoise, denoise_file, list_models, open_stream
from quietmic.enhance.files.audio import read, write

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
NAMES = ["QuietmicError", "Stream", "denoise", "denoise_file", "list_models", "open_stream"]


def sound(n_channels: int = 1, n_samples: int = 30_011) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (n_channels, n_samples)).astype(np.float32)


def test_the_names_are_declared_sorted_and_on_the_page() -> None:
    assert quietmic.__all__ == sorted(quietmic.__all__) == NAMES
    assert set(NAMES) <= set(dir(quietmic))
    assert set(NAMES) == set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (\[.*?\)) \|", PAGE, re.MULTILINE))))
    with pytest.raises(AttributeError, match="nonsense"):
        quietmic.nonsense  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_a_docstring_with_arguments_results_and_errors(name: str) -> None:
    thing = getattr(quietmic, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        text = inspect.getdoc(thing) or ""
        for section in ("Args:", "Returns:", "Raises:", "Example:"):
            assert section in text, section
        for argument, parameter in inspect.signature(thing).parameters.items():
            assert f"    {argument}: " in text
            assert parameter.annotation is not parameter.empty


def test_the_examples_of_the_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name in ("denoise", "denoise_file", "list_models", "open_stream"):
        globs = {"np": np, name: getattr(quietmic, name)}
        (found,) = finder.find(getattr(quietmic, name), name, globs=globs)
        assert found.examples
        assert runner.run(found).failed == 0


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 8
    for block in blocks:
        exec(block, names)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"keyboard.flac", "outdoors.wav", "kitchen.flac"}


def test_importing_costs_nothing() -> None:
    """Numpy, ONNX Runtime and the file library come with the first name that needs them."""
    code = "import quietmic, sys; print(sorted({'numpy', 'onnxruntime', 'soundfile', 'rich'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_an_array_keeps_its_length_and_its_time(passthrough_model: Path, rate: int) -> None:
    t = np.arange(2 * rate + 17) / rate
    tone = 0.3 * np.sin(2 * np.pi * 440 * t) * np.hanning(len(t))
    clean = denoise(tone, rate, str(passthrough_model))
    assert (clean.shape, clean.dtype) == (tone.shape, np.float32)
    assert np.abs(clean - tone).max() < 1e-3


def test_arrays_of_every_shape(passthrough_model: Path) -> None:
    model = str(passthrough_model)
    samples = sound(4)
    assert np.abs(denoise(samples, 16000, model) - samples[0]).max() < 1e-6
    assert np.array_equal(denoise(samples[:1], 16000, model), denoise(samples[0], 16000, model))
    assert denoise(np.zeros(0), 16000, model).shape == (0,)
    assert denoise(samples[0, :1], 16000, model).shape == (1,)
    for shape in ((2, 0), (2, 1), (8, 5)):  # fewer samples than microphones, which were taken for samples in front
        assert denoise(np.zeros(shape), 16000, model).shape == shape[1:]


def test_an_array_is_what_the_stream_and_the_file_give(tmp_path: Path) -> None:
    samples = sound(2, 40_000)
    write(tmp_path / "a.wav", samples, 48000, "FLOAT")
    denoise_file(tmp_path / "a.wav", tmp_path / "b.wav", "tcn-tiny", array=True)
    clean = denoise(samples, 48000, "tcn-tiny")
    stream = open_stream("tcn-tiny", 2, 48000)
    parts = [stream.process(block) for block in np.array_split(samples, 50, axis=1)]
    assert np.abs(clean - np.concatenate([*parts, stream.flush()])[stream.delay :]).max() < 1e-5
    assert np.abs(clean - read(tmp_path / "b.wav")[0][0]).max() < 1e-6


def test_the_attenuation_limit(model_folder: Path) -> None:
    tenth = str(model_folder / "tenth.onnx")
    assert np.abs(denoise(sound()[0], 16000, tenth) - 0.1 * sound()[0]).max() < 1e-6
    assert np.abs(denoise(sound()[0], 16000, tenth, attenuation_limit_db=0) - sound()[0]).max() < 1e-6


def test_wrong_arrays_say_what_is_expected(passthrough_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = str(passthrough_model)
    for samples, message in [
        (sound(2).T, r"denoise\(samples\.T"),
        (sound(2, 9).T, r"denoise\(samples\.T"),
        (np.zeros((2, 2, 9)), r"\[n_mics, n_samples\]"),
        (np.zeros(9, np.int16), "divide int16"),
    ]:
        with pytest.raises(ValueError, match=message):
            denoise(samples, 16000, model)
    for arguments, message in [
        ((sound(9), 16000, model), "9 microphones"),
        ((sound(), 4000, model), "sample rate 4000 Hz"),
        ((sound(), 16000, "nonsense"), "no model named"),
        ((sound(), 16000, model, -1.0), "attenuation_limit_db"),
    ]:
        with pytest.raises(QuietmicError, match=message):
            denoise(*arguments)
    assert np.isfinite(denoise(np.array([0.1, np.nan, np.inf] * 999), 16000, model)).all()
    assert "1998 samples were NaN" in caplog.text


def test_a_file_keeps_rate_length_and_format(passthrough_model: Path, tmp_path: Path) -> None:
    """The same bytes as the command, for each way to take the channels."""
    source = tmp_path / "a.wav"
    write(source, sound(3, 12_345), 44100, "PCM_24")
    for name, arguments, options in [
        ("each", {}, []),
        ("array", {"array": True}, ["--array"]),
        ("two", {"channels": (2, 0)}, ["--channels", "2,0"]),
    ]:
        made, told = tmp_path / "new" / f"{name}.wav", tmp_path / f"{name}.wav"
        assert denoise_file(source, str(made), str(passthrough_model), **arguments) == []
        assert cli.main(["denoise", str(source), "-o", str(told), "--model", str(passthrough_model), *options]) == 0
        assert made.read_bytes() == told.read_bytes()
        assert (read(made)[0].shape[1], read(made)[1]) == (12_345, 44100)


def test_a_file_that_cannot_be_made_leaves_everything_as_it_was(passthrough_model: Path, tmp_path: Path) -> None:
    model = str(passthrough_model)
    write(tmp_path / "a.wav", sound(), 16000)
    (tmp_path / "b.wav").write_text("precious")
    (tmp_path / "text.wav").write_text("no sound")
    good = tmp_path / "a.wav"
    before = good.read_bytes()
    for source, target, options, message in [
        (good, tmp_path / "b.wav", {}, "overwrite=True"),
        (good, good, {"overwrite": True}, "overwrite an input"),
        (good, tmp_path / "c.xyz", {}, "no audio format"),
        (good, tmp_path / "c", {}, "no audio format"),
        (good, tmp_path / "c.wav", {"channels": (0, 3)}, "there is no channel 3"),
        (good, tmp_path / "c.wav", {"channels": (-1,)}, "there is no channel -1"),
        (good, tmp_path / "c.wav", {"channels": ()}, "channels is empty"),
        (tmp_path / "none.wav", tmp_path / "c.wav", {}, "no such file"),
        (tmp_path, tmp_path / "c.wav", {}, "a folder, and not a file"),
        (tmp_path / "text.wav", tmp_path / "c.wav", {}, r"text\.wav: not audio"),
    ]:
        with pytest.raises(QuietmicError, match=message):
            denoise_file(source, target, model, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "b.wav", "text.wav"}
    assert good.read_bytes() == before
    assert (tmp_path / "b.wav").read_text() == "precious"
    denoise_file(good, tmp_path / "b.wav", model, overwrite=True)
    assert read(tmp_path / "b.wav")[0].shape == (1, 30_011)


def test_what_a_listener_should_know_is_returned_and_logged(
    passthrough_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = sound()
    samples[0, 5] = np.nan
    write(tmp_path / "a.wav", samples, 16000, "FLOAT")
    with caplog.at_level(logging.WARNING, "quietmic"):
        warnings = denoise_file(tmp_path / "a.wav", tmp_path / "b.wav", str(passthrough_model))
    assert warnings == ["1 samples were NaN or infinite and count as silence"]
    assert "a.wav: 1 samples were NaN" in caplog.text


def test_the_list_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [model.facts() for model in list_models()]


def test_onnx_runtime_reports_to_nobody(tmp_path: Path) -> None:
    """Its packages (1.32 on Linux, for one) keep an identifier and send reports unless they are told not to."""
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    code = "from quietmic import open_stream; open_stream('tcn-tiny').process(0 * __import__('numpy').ones(512, 'f'))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert not list(tmp_path.iterdir())
