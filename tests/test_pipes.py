"""Standard input and output in place of files."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from quietmic import cli
from quietmic.enhance.files.audio import read, write

ROOT = Path(__file__).resolve().parent.parent
RATE, N = 48000, 60_007


def sound(n_channels: int = 2) -> np.ndarray:
    t = np.arange(N) / RATE
    tones = [np.sin(2 * np.pi * hz * t) * np.hanning(N) for hz in (300, 470, 810)[:n_channels]]
    return (0.3 * np.stack(tones)).astype(np.float32)


def run(model: Path, *arguments: object, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "app.py", "denoise", *map(str, arguments), "--model", str(model)]
    return subprocess.run(command, cwd=ROOT, input=data, capture_output=True, check=False)


def wav(subtype: str, n_channels: int = 2, length: int | None = None) -> bytes:
    """As a pipe carries it: `length` in its header, None for the right one."""
    file = io.BytesIO()
    soundfile.write(file, sound(n_channels).T, RATE, subtype, format="WAV")
    data = bytearray(file.getvalue())
    if length is not None:
        at = data.index(b"data") + 4
        data[4:8] = data[at : at + 4] = length.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("length", [None, 0, 0xFFFFFFFF, 0x7FFFF000])
def test_wav_in_and_out(passthrough_model: Path, length: int | None) -> None:
    done = run(passthrough_model, "-", "-o", "-", data=wav("PCM_16", length=length))
    assert done.returncode == 0, done.stderr
    assert done.stdout[40:44] == b"\xff\xff\xff\xff"
    found = np.frombuffer(done.stdout[44:], "<i2").reshape(-1, 2).T / 32768
    assert np.abs(found - sound()).max() < 2e-4
    assert b"enhanced: standard input -> standard output" in done.stderr


def test_wav_that_counts_too_few_samples_is_read_on(passthrough_model: Path) -> None:
    """A header that counts half of what comes gave half; what follows as a chunk is no sound."""
    data = wav("PCM_16")
    done = run(passthrough_model, "-", "-o", "-", data=wav("PCM_16", length=2 * N))
    assert len(done.stdout) == 44 + 4 * N
    assert b"warning: standard input: its header counts fewer" in done.stderr
    for behind, warning in ((b"LIST\x04\0\0\0INFO", b""), (bytes(70), b""), (data, b"a recording that follows")):
        done = run(passthrough_model, "-", "-o", "-", data=data + behind)
        assert len(done.stdout) == 44 + 4 * N
        assert (b"warning" in done.stderr, warning in done.stderr) == (bool(warning), True)


def test_closed_input_has_a_sentence(passthrough_model: Path) -> None:
    command = [sys.executable, "app.py", "denoise", "-", "-o", "-", "--model", str(passthrough_model)]
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"standard input is closed" in done.stderr


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_the_coding_stays(passthrough_model: Path, tmp_path: Path, subtype: str) -> None:
    done = run(passthrough_model, "-", "-o", "-", data=wav(subtype))
    (tmp_path / "a.wav").write_bytes(done.stdout)
    assert soundfile.info(tmp_path / "a.wav").subtype == subtype
    assert np.abs(read(tmp_path / "a.wav")[0] - sound()).max() < 2e-4


def test_doubles_beyond_floats_are_counted_and_nothing_else_is_said(passthrough_model: Path, tmp_path: Path) -> None:
    data = bytearray(wav("DOUBLE", 1))
    data[-80:] = np.full(10, 1e300).tobytes()
    done = run(passthrough_model, "-", "-o", tmp_path / "a.wav", data=bytes(data))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"10 samples were NaN or infinite" in done.stdout


def test_samples_without_a_header(passthrough_model: Path) -> None:
    data = (sound(1)[0] * 32768).astype("<i2").tobytes()
    done = run(passthrough_model, "-", "-o", "-", "--raw", f"{RATE},1", data=data)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == len(data)
    assert np.abs(np.frombuffer(done.stdout, "<i2") / 32768 - sound(1)[0]).max() < 2e-4


def test_from_a_file_and_into_one(passthrough_model: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.flac", sound(3), RATE)
    done = run(passthrough_model, tmp_path / "a.flac", "-o", "-")
    assert len(done.stdout) == 44 + 6 * N
    done = run(passthrough_model, "-", "-o", tmp_path / "b.flac", "--json", "-", data=wav("PCM_16", 3))
    assert done.stdout.startswith(b"{")
    assert read(tmp_path / "b.flac")[0].shape == (3, N)


def test_the_output_comes_while_the_input_goes_on(passthrough_model: Path) -> None:
    """A program behind must not wait for the end."""
    command = [
        sys.executable,
        "app.py",
        "denoise",
        "-",
        "-o",
        "-",
        "--raw",
        "16000,1",
        "--model",
        str(passthrough_model),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin
        assert program.stdout
        timer = threading.Timer(60, program.kill)
        timer.start()
        program.stdin.write(bytes(5 * 32_000))
        program.stdin.flush()
        assert len(program.stdout.read(2 * 32_000)) == 2 * 32_000
        program.stdin.close()
        assert len(program.stdout.read()) == 3 * 32_000
        timer.cancel()


def test_cut_off_and_wrong_use(passthrough_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(passthrough_model, "-", "-o", "-", data=wav("PCM_16")[:10_000])
    assert done.returncode == 0
    assert b"warning: standard input: cut off" in done.stderr
    for data in (b"", b"words " * 100, wav("ULAW")):
        done = run(passthrough_model, "-", "-o", "-", data=data)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"standard input" in done.stderr
    write(tmp_path / "a.wav", sound(), RATE)
    for arguments, message in [
        (["-", str(tmp_path / "a.wav"), "-o", "-"], "one sound"),
        (["-", "-o", str(tmp_path)], "name of a file"),
        (["-", "-o", "-", "--json"], "cannot both"),
        (["-", "-o", "-", "--raw", "fast"], "rate and channels"),
        ([str(tmp_path / "none.wav"), "-o", "-"], "no such file"),
    ]:
        assert cli.main(["denoise", "--model", str(passthrough_model), *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_coding_that_cannot_be_piped_is_told_with_those_that_can(passthrough_model: Path) -> None:
    """Eight bits are PCM, too, which was what it told to make of them."""
    done = run(passthrough_model, "-", "-o", "-", data=wav("PCM_U8"))
    assert done.returncode == 1 and b"8 bits, which cannot be piped: make it PCM of 16, 24 or 32 bits" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="interrupts of POSIX")
@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_interrupt_ends_a_recording_and_a_second_one_the_command(
    passthrough_model: Path, tmp_path: Path, interrupts: int
) -> None:
    """The terminal stops the recorder too; what it had recorded for hours was thrown away."""
    arguments = ["-", "-o", str(tmp_path / "day.wav"), "--raw", "16000,1", "--model", str(passthrough_model)]
    command = [sys.executable, "-u", "app.py", "denoise", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as program:
        assert program.stdin and program.stdout
        program.stdin.write(bytes(2 * 100_000))
        program.stdin.flush()
        while not [*tmp_path.iterdir()]:  # the part is open: it is enhancing
            assert program.poll() is None
        program.send_signal(signal.SIGINT)
        assert program.stdout.readline().startswith(b"what comes to its end is written")
        if interrupts == 2:
            program.send_signal(signal.SIGINT)
        else:
            program.stdin.write(bytes(2 * 1000))
            program.stdin.close()
        told = program.stdout.read()
    if interrupts == 1:
        assert program.returncode == 0, told
        assert read(tmp_path / "day.wav")[0].shape == (1, 101_000)
    else:
        assert program.returncode == 1 and b"Stopped." in told
        assert not [*tmp_path.iterdir()]
