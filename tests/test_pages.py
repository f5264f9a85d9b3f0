"""What is damaged inside a file whose header is good: pages of Ogg, chunks of WAV."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tracks import RATE, babble

from quietmic.enhance.files.audio import AudioReader, read, write

Run = Callable[..., int]


def find_pages(data: bytes) -> list[int]:
    return [at for at in range(len(data) - 3) if data[at : at + 4] == b"OggS"]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("which", [-2, -1])
def test_a_damaged_page_is_told_and_what_follows_is_read(tmp_path: Path, subtype: str, which: int) -> None:
    """Decoders end at a page whose check sum does not fit: of 96,000 samples 43,008 came, without a word."""
    path = tmp_path / "a.ogg"
    write(path, babble(1, 2 * RATE), RATE, subtype)
    with AudioReader(path) as reader:
        whole = np.concatenate(list(reader.blocks(RATE)), axis=1)
        assert reader.warnings == []
    data = bytearray(path.read_bytes())
    pages = find_pages(data)
    for at in range(pages[which] + 200, pages[which] + 208):
        data[at] ^= 0x5A
    path.write_bytes(data)
    with AudioReader(path) as reader:
        mended = np.concatenate(list(reader.blocks(RATE)), axis=1)
        assert reader.warnings == [f"damaged: of {len(pages)} pages 1 damaged"]
    assert abs(mended.shape[1] - whole.shape[1]) < 1000
    n_same = np.count_nonzero(np.abs(mended - whole[:, : mended.shape[1]]) < 1e-4)
    assert n_same > 0.4 * whole.shape[1]


def test_a_page_that_is_gone_is_told(denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.ogg", babble(1, 4 * RATE), RATE)
    data = (tmp_path / "a.ogg").read_bytes()
    pages = find_pages(data)
    (tmp_path / "a.ogg").write_bytes(data[: pages[3]] + data[pages[4] :])
    assert denoise(tmp_path / "a.ogg", "-o", tmp_path / "b.ogg") == 0
    assert f"damaged: of {len(pages)} pages 1 missing" in capsys.readouterr().out


def chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + bytes(len(data) & 1)


@pytest.mark.parametrize("between", [b"", chunk(b"LIST", b"INFOINAM\4\0\0\0abc\0")])
def test_all_chunks_of_sound_are_read(tmp_path: Path, between: bytes) -> None:
    """The library takes the last one: of 2 seconds half a one came, without a word."""
    sound = babble(1, RATE)
    samples = np.round(sound[0] * 32767).astype("<i2")
    path = tmp_path / "a.wav"
    write(path, sound[:, : RATE // 2], RATE)
    data = path.read_bytes() + between + chunk(b"data", samples[RATE // 2 :].tobytes())
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    assert np.abs(read(path)[0] - sound).max() < 1e-3
    with AudioReader(path) as reader:
        assert sum(block.shape[1] for block in reader.blocks(RATE)) == RATE
        assert reader.warnings == ["its sound lies in 2 chunks, of which players take one: all were read"]


def test_chunks_behind_the_samples_of_rf64_go_over(denoise: Run, tmp_path: Path) -> None:
    """The size of the samples lies in a chunk of its own there; what lay behind them was not found, and lost."""
    path = tmp_path / "a.wav"
    soundfile.write(path, babble(1)[0], RATE, format="RF64")
    n_bytes = path.stat().st_size
    data = bytearray(path.read_bytes() + chunk(b"bext", b"A description".ljust(602, b"\0")))
    at = data.index(b"ds64") + 8
    data[at : at + 8] = (len(data) - 8).to_bytes(8, "little")
    path.write_bytes(data)
    assert denoise(path, "-o", tmp_path / "b.wav") == 0
    assert b"bext" in (tmp_path / "b.wav").read_bytes() and b"A description" in (tmp_path / "b.wav").read_bytes()
    assert read(tmp_path / "b.wav")[0].shape == read(path)[0].shape == (1, RATE // 2)
    path.write_bytes(data[: n_bytes // 2])
    with AudioReader(path) as reader:
        assert sum(block.shape[1] for block in reader.blocks(RATE)) < RATE // 2
        assert "cut off" in reader.warnings[0]
