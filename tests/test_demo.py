"""The command demo, on recordings made here and on those of the repository."""

from pathlib import Path

import numpy as np
import pytest

from quietmic import cli
from quietmic.enhance.files.audio import read, write
from quietmic.enhance.measure.metrics import si_sdr


def test_demo_makes_sounds_pictures_and_a_table(
    tmp_path: Path, passthrough_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    for name, n_mics, n_clean, rate in [("voice", 1, 1, 16000), ("stereo", 2, 2, 48000), ("array4", 4, 1, 16000)]:
        clean = 0.1 * rng.standard_normal((n_mics, rate))
        noise = 0.1 * rng.standard_normal((n_mics, rate))
        write(tmp_path / f"{name}_noisy.flac", clean + noise, rate)
        write(tmp_path / f"{name}_clean.flac", clean[:n_clean], rate)
    write(tmp_path / "wild_noisy.wav", noise[:1], 16000)
    out = tmp_path / "out"
    assert cli.main(["demo", "--recordings", str(tmp_path), "-o", str(out), "--model", str(passthrough_model)]) == 0
    names = {"voice", "stereo", "array4", "wild"}
    assert {path.stem for path in out.glob("*.png")} == names
    assert {path.name.split("_enhanced")[0] for path in out.glob("*_enhanced.*")} == names
    assert read(out / "array4_enhanced.flac")[0].shape == (1, 16_000)
    assert read(out / "stereo_enhanced.flac")[0].shape == (2, 48_000)
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert "2 -> 2" in lines["stereo"]
    score = si_sdr(read(tmp_path / "voice_clean.flac")[0][0], read(tmp_path / "voice_noisy.flac")[0][0])
    assert f"{score:.2f} > {score:.2f}" in lines["voice"]
    assert " > " not in lines["wild"]


def test_demo_without_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str], passthrough_model: Path) -> None:
    arguments = ["demo", "--recordings", str(tmp_path), "-o", str(tmp_path), "--model", str(passthrough_model)]
    assert cli.main(arguments) == 2
    assert "NAME_noisy" in capsys.readouterr().err


def test_recordings_of_the_repository(recordings: Path) -> None:
    """Every noisy file can be read, its clean pair has its length, and each layout of the demo is there."""
    noisy_files = sorted(recordings.glob("*_noisy.*"))
    layouts = set()
    for path in noisy_files:
        noisy, rate = read(path)
        layouts.add((len(noisy), rate))
        for clean_path in recordings.glob(f"{path.stem.removesuffix('_noisy')}_clean.*"):
            clean, clean_rate = read(clean_path)
            assert (clean_rate, clean.shape[1]) == (rate, noisy.shape[1])
    assert {(1, 16000), (2, 48000)} <= layouts
    assert any(n_mics == 4 for n_mics, _ in layouts)


def test_default_model_improves_the_recordings(recordings: Path, tmp_path: Path) -> None:
    for path in recordings.glob("*_noisy.*"):
        name = path.stem.removesuffix("_noisy")
        options = ["--array"] if "array" in name else []
        target = tmp_path / path.name
        assert cli.main(["denoise", str(path), "-o", str(target), *options]) == 0
        for clean_path in recordings.glob(f"{name}_clean.*"):
            clean, noisy, enhanced = (read(file)[0][0] for file in (clean_path, path, target))
            before, after = si_sdr(clean, noisy), si_sdr(clean, enhanced)
            assert before is not None
            assert after is not None
            assert after > before
