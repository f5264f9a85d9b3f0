"""The command denoise, through main([...])."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from make_models import make_counter

from quietmic import cli
from quietmic.enhance.files.audio import read, write

ROOT = Path(__file__).resolve().parent.parent


Run = Callable[..., int]


def sound(n_channels: int = 1, n_samples: int = 30_011, rate: int = 16000) -> np.ndarray:
    rng = np.random.default_rng(n_channels)
    tones = [np.sin(2 * np.pi * f * np.arange(n_samples) / rate) for f in rng.uniform(100, 1500, n_channels)]
    return (0.3 * np.stack(tones) * np.hanning(n_samples)).astype(np.float32)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_rate_length_alignment_and_subtype_are_kept(denoise: Run, tmp_path: Path, rate: int, subtype: str) -> None:
    samples = sound(2, rate + 7, rate)
    write(tmp_path / "in.wav", samples, rate, subtype)
    assert denoise(tmp_path / "in.wav", "-o", tmp_path / "out.wav") == 0
    output, output_rate = read(tmp_path / "out.wav")
    assert (output_rate, output.shape) == (rate, samples.shape)
    assert soundfile.info(tmp_path / "out.wav").subtype == subtype
    assert np.abs(output - samples).max() < 2e-4


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff"])
def test_every_format_keeps_its_length(denoise: Run, tmp_path: Path, name: str) -> None:
    write(tmp_path / name, sound(1, 48_017, 48000), 48000)
    assert denoise(tmp_path / name, "-o", tmp_path / "out" / name) == 0
    assert read(tmp_path / "out" / name)[0].shape == (1, 48_017)


def test_another_extension_is_another_format(denoise: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", sound(), 16000, "FLOAT")
    assert denoise(tmp_path / "a.wav", "-o", tmp_path / "b.flac") == 0
    assert soundfile.info(tmp_path / "b.flac").format == "FLAC"


def test_channels_and_array(denoise: Run, tmp_path: Path) -> None:
    samples = sound(4)
    write(tmp_path / "a.wav", samples, 16000, "FLOAT")
    for name, options, expected in [
        ("all", [], samples),
        ("two", ["--channels", "3,1"], samples[[3, 1]]),
        ("array", ["--array"], samples[:1]),
        ("part", ["--array", "--channels", "2,0"], samples[2:3]),
    ]:
        assert denoise(tmp_path / "a.wav", "-o", tmp_path / f"{name}.wav", *options) == 0
        assert np.abs(read(tmp_path / f"{name}.wav")[0] - expected).max() < 1e-6


def test_attenuation_limit(model_folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", sound(), 16000, "FLOAT")
    arguments = ["denoise", str(tmp_path / "a.wav"), "--model", str(model_folder / "tenth.onnx"), "-o"]
    assert cli.main([*arguments, str(tmp_path / "free.wav")]) == 0
    assert cli.main([*arguments, str(tmp_path / "limit.wav"), "--attenuation-limit", "0"]) == 0
    assert np.abs(read(tmp_path / "free.wav")[0] - 0.1 * sound()).max() < 1e-6
    assert np.abs(read(tmp_path / "limit.wav")[0] - sound()).max() < 1e-6


def test_file_and_stream_give_the_same_samples(tmp_path: Path) -> None:
    """Blocks of a second from a file, with T = 62, against blocks of one hop."""
    from quietmic import open_stream

    model = make_counter(tmp_path / "counter.onnx")
    write(tmp_path / "a.wav", sound(1, 50_000), 16000, "FLOAT")
    assert cli.main(["denoise", str(tmp_path / "a.wav"), "-o", str(tmp_path / "b.wav"), "--model", str(model)]) == 0
    stream = open_stream(str(model))
    parts = [stream.process(block) for block in np.array_split(sound(1, 50_000), 200, axis=1)]
    expected = np.concatenate([*parts, stream.flush()])[stream.delay :]
    assert np.abs(read(tmp_path / "b.wav")[0][0] - expected).max() < 1e-5


def test_folders_globs_and_jobs(denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/a.wav", "in/deep/er/b.flac", "in/.hidden.wav", "more/c.wav", "more/d.txt"):
        if name.endswith(("wav", "flac")):
            write(tmp_path / name, sound(), 16000)
        else:
            (tmp_path / name).write_text("notes")
    inputs = [str(tmp_path / "i?"), str(tmp_path / "mo*" / "*.wav")]
    assert denoise(*inputs, "-o", tmp_path / "out", "--jobs", 2, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["enhanced"] == len(summary["files"]) == 3
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"a.wav", "deep/er/b.flac", "c.wav"}
    assert denoise(tmp_path / "more", "-o", tmp_path / "out") == 0
    lines = capsys.readouterr().out
    assert "skipped" in lines
    assert "c.wav exists; --overwrite" in lines
    assert "d.txt: not an audio file" in lines


def test_existing_outputs_are_kept_unless_told(denoise: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", sound(), 16000)
    (tmp_path / "b.wav").write_text("precious")
    assert denoise(tmp_path / "a.wav", "-o", tmp_path / "b.wav") == 0
    assert (tmp_path / "b.wav").read_text() == "precious"
    assert denoise(tmp_path / "a.wav", "-o", tmp_path / "b.wav", "--overwrite") == 0
    assert read(tmp_path / "b.wav")[0].shape == (1, 30_011)


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_files_do_not_stop_the_batch(
    denoise: Run, tmp_path: Path, jobs: int, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write(folder / "good.wav", sound(), 16000)
    write(folder / "cut.wav", sound(), 16000)
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:20_044])
    write(folder / "slow.wav", sound(), 4000)
    poisoned = sound()
    poisoned[0, 100:103] = np.nan
    write(folder / "nan.wav", poisoned, 16000, "FLOAT")
    write(folder / "none.wav", np.zeros((1, 0)), 16000)
    write(folder / "silence.wav", np.zeros((1, 20_000)), 16000)
    (folder / "empty.wav").touch()
    (folder / "corrupt.flac").write_bytes(os.urandom(3000))
    out = tmp_path / "out"
    assert denoise(folder, "-o", out, "--jobs", jobs, "--json", tmp_path / "summary.json") == 1
    captured = capfd.readouterr()
    assert captured.out.count("empty.wav: the file is empty") == captured.err.count("empty.wav: the file is empty") == 1
    assert "corrupt.flac: not audio" in captured.err
    assert "slow.wav: sample rate 4000 Hz" in captured.err
    assert "nan.wav: 3 samples were NaN" in captured.out
    assert "cut.wav: cut off" in captured.out
    assert "5 enhanced, 0 skipped, 3 failed" in captured.out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["enhanced"], summary["failed"]) == (5, 3)
    assert {path.name for path in out.iterdir()} == {"good.wav", "cut.wav", "nan.wav", "none.wav", "silence.wav"}
    assert read(out / "cut.wav")[0].shape == (1, 10_000)
    assert read(out / "none.wav")[0].shape == (1, 0)
    assert not read(out / "silence.wav")[0].any()
    assert np.isfinite(read(out / "nan.wav")[0]).all()


def test_channels_that_a_file_lacks_fail_that_file(
    denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in" / "mono.wav", sound(1), 16000)
    write(tmp_path / "in" / "stereo.wav", sound(2), 16000)
    write(tmp_path / "in" / "nine.wav", sound(9), 16000)
    assert denoise(tmp_path / "in", "-o", tmp_path / "out", "--channels", "0,1") == 1
    assert "mono.wav: there is no channel 1" in capsys.readouterr().err
    assert denoise(tmp_path / "in", "-o", tmp_path / "arrays", "--array") == 1
    assert "nine.wav: 9 microphones, but passthrough takes 1 to 8; choose with --channels" in capsys.readouterr().err


def test_wrong_use(denoise: Run, tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.wav", sound(), 16000)
    write(tmp_path / "b" / "a.wav", sound(), 16000)
    (tmp_path / "void").mkdir()
    good = tmp_path / "a.wav"
    for arguments, message in [
        ([tmp_path / "missing.wav", "-o", tmp_path / "x.wav"], "missing.wav"),
        ([str(tmp_path / "*.ogg"), "-o", tmp_path / "x"], "no such file"),
        ([tmp_path / "void", "-o", tmp_path / "x"], "no audio files"),
        ([good, "-o", good], "overwrite an input"),
        ([good, "-o", tmp_path, "--overwrite"], "overwrite an input"),
        ([good, tmp_path / "b" / "a.wav", "-o", tmp_path / "x"], "both be written"),
        ([good, tmp_path / "b", "-o", good], "need a folder"),
        ([good], "--out"),
        ([good, "-o", tmp_path / "x.xyz"], "no audio format"),
        (["--json", good, good, "-o", tmp_path / "x"], "ends in .json"),
        ([good, "-o", tmp_path / "x", "--json", tmp_path / "void"], "is a directory"),
        ([good, "-o", tmp_path / "x.wav", "--channels", "0,0"], "channel numbers"),
        ([good, "-o", tmp_path / "x.wav", "--channels", "one"], "channel numbers"),
        ([good, "-o", tmp_path / "x.wav", "--attenuation-limit", "-3"], "range"),
        ([good, "-o", tmp_path / "x.wav", "--jobs", "0"], "range"),
    ]:
        before = good.read_bytes()
        assert denoise(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert good.read_bytes() == before
        assert not (tmp_path / "x").exists()
    for model, message in (("nonsense", "no model named"), (str(tmp_path / "none.onnx"), "no model file")):
        assert cli.main(["denoise", str(good), "-o", str(tmp_path / "x.wav"), "--model", model]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "x.wav").exists()
    assert cli.main(["nonsense"]) == 2
    assert cli.main(["--help"]) == 0


def test_an_output_folder_inside_the_input_is_not_enhanced_again(denoise: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", sound(), 16000)
    for _ in range(2):
        assert denoise(tmp_path, "-o", tmp_path / "out", "--overwrite") == 0
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["a.wav"]


def test_every_ending_that_can_be_read_counts_in_folders(denoise: Run, tmp_path: Path) -> None:
    """Sphere, broadcast and long WAV endings were passed over as "no audio", and so was what has no ending at all."""
    folder = tmp_path / "in"
    formats = {"a.sph": "NIST", "b.wave": "WAV", "c.bwf": "WAV", "d": "FLAC", "e.WAV": "WAV", "f.sd": "NIST"}
    folder.mkdir()
    for name, file_format in formats.items():
        with (folder / name).open("wb") as file:
            soundfile.write(file, sound().T, 16000, "PCM_16", format=file_format)
    (folder / "notes.txt").write_text("words " * 1000)
    (folder / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(1000))
    assert denoise(folder, "-o", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(formats)
    for name, file_format in formats.items():
        info = soundfile.info(tmp_path / "out" / name)
        assert (info.format, info.frames) == (file_format, 30_011)


@pytest.mark.parametrize("name", ["clean_v1.2", "out.final", "Mr. Smith", "plain"])
def test_an_output_with_a_dot_is_a_folder(denoise: Run, tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.wav", sound(), 16000)
    assert denoise(tmp_path / "a.wav", "-o", tmp_path / name) == 0
    assert read(tmp_path / name / "a.wav")[0].shape == (1, 30_011)


def test_console_is_quiet_about_names_that_look_like_markup(
    denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "[bold]" + "long " * 30 + ".wav"
    write(tmp_path / name, sound(), 16000)
    assert denoise(tmp_path / name, "-o", tmp_path / "out") == 0
    assert name in capsys.readouterr().out.splitlines()[0]


MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
from quietmic import cli
from quietmic.enhance.measure.probe import peak_memory_bytes
assert cli.main(["denoise", sys.argv[2], "-o", sys.argv[3], "--model", sys.argv[4]]) == 0
print(peak_memory_bytes() / 2**20)
"""


def peak_memory_mb(folder: Path, model: Path, seconds: int) -> float:
    """Peak of a process that enhances a file of so many seconds, 48 kHz stereo."""
    path = folder / f"{seconds}.wav"
    with soundfile.SoundFile(path, "w", 48000, 2, "PCM_16") as file:
        second = sound(2, 48_000, 48000).T
        for _ in range(seconds):
            file.write(second)
    arguments = [str(ROOT), str(path), str(folder / f"{seconds}-out.wav"), str(model)]
    run = subprocess.run([sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True)
    assert soundfile.info(folder / f"{seconds}-out.wav").frames == seconds * 48_000
    path.unlink()
    (folder / f"{seconds}-out.wav").unlink()
    return float(run.stdout.splitlines()[-1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path, passthrough_model: Path) -> None:
    short, long = (peak_memory_mb(tmp_path, passthrough_model, seconds) for seconds in (3, 120))
    assert long - short < 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_three_hours_in_constant_memory(tmp_path: Path, passthrough_model: Path) -> None:
    short, long = (peak_memory_mb(tmp_path, passthrough_model, seconds) for seconds in (10, 3 * 3600))
    print(f"peak memory: {short:.0f} MB for ten seconds, {long:.0f} MB for three hours")
    assert long - short < 20


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
def test_names_cannot_forge_lines_or_steer_the_terminal(
    denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key of a bucket, or a file, with a line break in its name printed a line of its own choice."""
    write(tmp_path / "in" / "a\nenhanced: b.wav -> c.wav\n.wav", sound(), 16000)
    (tmp_path / "in" / "d\x1b[2J\r\u2028e\nfailed: f.wav").mkdir()
    (tmp_path / "in" / "d\x1b[2J\r\u2028e\nfailed: f.wav" / "g.wav").write_bytes(b"no sound")
    assert denoise(tmp_path / "in", "-o", tmp_path / "out", "--json", tmp_path / "figures.json") == 1
    told = "".join(capsys.readouterr())
    begins = [line.split()[0] for line in told.split("\n") if line]
    assert sorted(begins) == ["1", "enhanced:", "failed:", "failed:"]
    assert "\x1b" not in told
    assert "\r" not in told
    assert r"d\x1b[2J\r\u2028e\nfailed: f.wav" in told
    files = json.loads((tmp_path / "figures.json").read_text())["files"]
    assert any("a\nenhanced: b.wav" in file["source"] for file in files)
