"""Audio files: what is written comes back, and damage is told."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import AudioReader, AudioWriter, read, write
from quietmic.enhance.files.formats import is_audio_name


def sound(n_channels: int, n_samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((n_channels, n_samples))).astype(np.float32)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.opus", "a.mp3", "a.w64", "a.au"])
def test_length_and_shape_survive(tmp_path: Path, name: str) -> None:
    samples = sound(2, 48_017)
    write(tmp_path / name, samples, 48000)
    again, rate = read(tmp_path / name)
    assert (rate, again.shape, again.dtype) == (48000, samples.shape, np.float32)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_floats_are_exact_and_integers_clip(tmp_path: Path) -> None:
    samples = sound(1, 1000)
    samples[0, :2] = 3, -3
    write(tmp_path / "f.wav", samples, 44100, subtype="FLOAT")
    assert np.array_equal(read(tmp_path / "f.wav")[0], samples)
    write(tmp_path / "i.wav", samples[0], 44100, subtype="PCM_16")
    assert np.abs(read(tmp_path / "i.wav")[0] - np.clip(samples, -1, 1)).max() < 1 / 32768 + 1e-7


def test_blocks_of_any_length(tmp_path: Path) -> None:
    samples = sound(3, 10_000)
    write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    for length in (1000, 4096, 4097, 9999, 20_000):
        with AudioReader(tmp_path / "a.wav") as reader:
            blocks = list(reader.blocks(length))
        assert {block.shape[1] for block in blocks[:-1]} <= {length}
        assert np.array_equal(np.concatenate(blocks, axis=1), samples)


def test_nothing_is_left_of_a_file_that_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"), AudioWriter(tmp_path / "a.wav", 1, 16000) as writer:
        writer.write(sound(1, 100))
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_like_another_file(tmp_path: Path, subtype: str) -> None:
    write(tmp_path / "a.wav", sound(1, 100), 16000, subtype)
    with AudioReader(tmp_path / "a.wav") as reader, AudioWriter(tmp_path / "b.wav", 2, 16000, reader.info) as writer:
        writer.write(sound(2, 100))
    assert soundfile.info(tmp_path / "b.wav").subtype == subtype
    with AudioReader(tmp_path / "a.wav") as reader, AudioWriter(tmp_path / "b.flac", 1, 16000, reader.info):
        pass
    assert (tmp_path / "b.flac").exists()


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.ogg", "a.opus", "a.mp3"])
def test_truncated_files_are_read_as_far_as_they_go(tmp_path: Path, name: str) -> None:
    samples = sound(1, 160_000)
    write(tmp_path / name, samples, 16000)
    data = (tmp_path / name).read_bytes()
    with AudioReader(tmp_path / name) as reader:
        assert sum(block.shape[1] for block in reader.blocks(16_000)) == 160_000
        assert reader.damage is None
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with AudioReader(tmp_path / name) as reader:
        n_read = sum(block.shape[1] for block in reader.blocks(16_000))
        assert reader.damage
        assert 40_000 < n_read < 100_000


def test_what_is_no_audio(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("These are words. " * 100)
    for name, message in [("none.wav", "no such"), ("empty.wav", "empty"), ("text.wav", "not audio")]:
        with pytest.raises(QuietmicError, match=message):
            read(tmp_path / name)
    with pytest.raises(QuietmicError, match="extension"):
        write(tmp_path / "a.xyz", sound(1, 10), 16000)
    with pytest.raises(QuietmicError, match="cannot write"):
        write(tmp_path / "a.opus", sound(1, 10), 44100)
    assert is_audio_name(Path("a.FLAC"))
    assert not is_audio_name(Path("manifest.csv"))
