"""Hours of sound that nobody counted ahead: they are whole, and what fits into a plain WAV is one."""

import os
import signal
import struct
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_tags import BEXT, add_chunks, chunk, chunks_of

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import rf64
from quietmic.enhance.files.audio import AudioWriter, read, write
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.files.parts import remove_parts

ROOT = Path(__file__).resolve().parent.parent
RATE, N = 16000, 4001
UNKNOWN = AudioInfo(1, 0, RATE, "WAV", "PCM_16", is_counted=False)
SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"]


def sound(n_channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((n_channels, N))).astype(np.float32)


def write_like(path: Path, info: AudioInfo, n_channels: int = 1, tags_of: Path | None = None) -> list[str]:
    """A file of sound, block by block; what is told of it."""
    with AudioWriter(path, n_channels, RATE, info, tags_of=tags_of) as writer:
        for block in np.array_split(sound(n_channels), 5, axis=1):
            writer.write(block)
    return writer.notes


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a WAV could hold no more than a few samples."""
    monkeypatch.setattr(rf64, "WAV_LIMIT", 1000)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_what_fits_is_plain_wav(tmp_path: Path, subtype: str, n_channels: int) -> None:
    assert write_like(tmp_path / "a.wav", replace(UNKNOWN, subtype=subtype), n_channels) == []
    write(tmp_path / "b.wav", sound(n_channels), RATE, subtype)
    data = (tmp_path / "a.wav").read_bytes()
    assert (data[:4], int.from_bytes(data[4:8], "little")) == (b"RIFF", len(data) - 8)
    found, expected = chunks_of(tmp_path / "a.wav"), chunks_of(tmp_path / "b.wav")
    assert b"ds64" not in found
    assert {name: found.get(name) for name in (b"fmt ", b"fact", b"data")} == {
        name: expected.get(name) for name in (b"fmt ", b"fact", b"data")
    }
    assert soundfile.info(tmp_path / "a.wav").subtype == subtype
    if subtype.startswith("PCM"):
        with wave.open(str(tmp_path / "a.wav")) as file:  # of Python, which knows the oldest form alone
            assert (file.getnframes(), file.getnchannels()) == (N, n_channels)
            assert file.readframes(N) == expected[b"data"]


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.usefixtures("low_limit")
def test_what_does_not_fit_is_whole(tmp_path: Path, subtype: str) -> None:
    """It was discarded at the end, as the header of WAV counts to 2^32: three to six hours of a recorder."""
    assert write_like(tmp_path / "a.wav", replace(UNKNOWN, subtype=subtype), 2) == []
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RF64"
    write(tmp_path / "b.wav", sound(2), RATE, subtype)
    assert np.array_equal(read(tmp_path / "a.wav")[0], read(tmp_path / "b.wav")[0])
    assert soundfile.info(tmp_path / "a.wav").frames == N


@pytest.mark.parametrize("limit", [rf64.WAV_LIMIT, 1000])
def test_tags_go_into_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(rf64, "WAV_LIMIT", limit)
    write(tmp_path / "tags.wav", sound(), RATE)
    add_chunks(tmp_path / "tags.wav", chunk(b"bext", BEXT), chunk(b"iXML", b"<x/>\n"))
    assert write_like(tmp_path / "a.wav", UNKNOWN, tags_of=tmp_path / "tags.wav") == []
    data = (tmp_path / "a.wav").read_bytes()
    assert data[:4] == (b"RF64" if limit == 1000 else b"RIFF")
    assert chunk(b"bext", BEXT) in data
    assert chunk(b"iXML", b"<x/>\n") in data
    size = int.from_bytes(data[20:28] if limit == 1000 else data[4:8], "little")
    assert size == len(data) - 8
    told = replace(UNKNOWN, format="FLAC", tags={"title": "A title"})
    assert write_like(tmp_path / "b.wav", told) == []
    for name in ("a.wav", "b.wav"):
        assert np.abs(read(tmp_path / name)[0] - sound()).max() < 1e-4
    with soundfile.SoundFile(tmp_path / "b.wav") as file:
        assert (file.title, file.frames) == ("A title", N)


def test_places_of_channels_stay(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(4).T, RATE, "PCM_16", format="WAVEX")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"fmt ") + 8 + 20
    data[at : at + 4] = struct.pack("<I", 0x33)  # quadraphonic
    (tmp_path / "a.wav").write_bytes(data)
    info = replace(UNKNOWN, n_channels=4, format="WAVEX")
    assert write_like(tmp_path / "b.wav", info, 4, tags_of=tmp_path / "a.wav") == []
    assert (tmp_path / "b.wav").read_bytes()[:4] == b"RIFF"
    assert chunks_of(tmp_path / "b.wav")[b"fmt "] == chunks_of(tmp_path / "a.wav")[b"fmt "]
    assert np.array_equal(read(tmp_path / "b.wav")[0], read(tmp_path / "a.wav")[0])


def test_nothing_at_all_is_a_wav_of_nothing(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.wav", 1, RATE, UNKNOWN):
        pass
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == 0


def test_a_recorder_through_a_pipe(tmp_path: Path, passthrough_model: Path) -> None:
    command = [sys.executable, "app.py", "denoise", "-", "-o", str(tmp_path / "day.wav"), "--raw", f"{RATE},1"]
    sent = (sound()[0] * 32768).astype("<i2").tobytes()
    subprocess.run([*command, "--model", str(passthrough_model)], cwd=ROOT, input=sent, check=True, capture_output=True)
    with wave.open(str(tmp_path / "day.wav")) as file:
        assert file.getnframes() == N
    assert [path.name for path in tmp_path.iterdir()] == ["day.wav"]


def test_a_header_that_cannot_count_so_many_samples_costs_none(tmp_path: Path) -> None:
    """All were on the disk and were thrown away; SDS counts to 2^21, AIFF to 4 GB."""
    n_samples = (1 << 21) + 1000
    with AudioWriter(tmp_path / "a.sds", 1, RATE, replace(UNKNOWN, format="RAW")) as writer:
        writer.write(np.zeros((1, n_samples), np.float32))
    (note,) = writer.notes
    assert f"all {n_samples} samples are in the file, but SDS cannot count so many" in note
    assert (tmp_path / "a.sds").stat().st_size > 2 * n_samples


def test_a_source_that_is_gone_at_the_end_costs_its_tags(tmp_path: Path) -> None:
    """A file that was moved away while it was enhanced left nothing."""
    for name in ("a.wav", "b.flac"):
        write(tmp_path / name, sound(), RATE)
        info = replace(UNKNOWN, format=name[2:].upper(), is_counted=True)
        with AudioWriter(tmp_path / f"out-{name}", 1, RATE, info, tags_of=tmp_path / name) as writer:
            writer.write(sound())
            (tmp_path / name).unlink()
        assert writer.notes == [f"tags left out: {tmp_path / name}: no such file or directory"]
        assert read(tmp_path / f"out-{name}")[0].shape == (1, N)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="limits as Unix has them")
def test_a_disk_without_room_for_tags_keeps_the_sound(tmp_path: Path, passthrough_model: Path) -> None:
    import resource

    write(tmp_path / "a.wav", sound(), RATE)
    n_bytes = (tmp_path / "a.wav").stat().st_size
    add_chunks(tmp_path / "a.wav", chunk(b"iXML", b"x" * 100_000))

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes + 5000, n_bytes + 5000))

    command = [sys.executable, "app.py", "denoise", str(tmp_path / "a.wav"), "-o", str(tmp_path / "b.wav")]
    done = subprocess.run(
        [*command, "--model", str(passthrough_model)], cwd=ROOT, capture_output=True, text=True, preexec_fn=limited
    )
    assert "warning" in done.stdout and "tags left out: file too large" in done.stdout, done.stderr
    assert (tmp_path / "b.wav").stat().st_size == n_bytes
    assert read(tmp_path / "b.wav")[0].shape == (1, N)


def test_a_name_that_is_taken_meanwhile_costs_no_sound(tmp_path: Path) -> None:
    """As where a player on Windows holds the old file open: the new one, hours of work, was removed."""
    target = tmp_path / "a.wav"
    with (
        pytest.raises(QuietmicError, match=r"a\.wav: cannot be written: .*; all of it is in ") as told,
        AudioWriter(target, 1, RATE, UNKNOWN) as writer,
    ):
        writer.write(sound())
        target.mkdir()
    remove_parts(target)
    kept = Path(str(told.value).rpartition(" is in ")[2])
    assert sorted(os.listdir(tmp_path)) == sorted(["a.wav", kept.name])
    assert read(kept)[0].shape == (1, N)
