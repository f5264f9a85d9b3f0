"""What is damaged inside a file whose header is good: pages of Ogg, chunks of WAV."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tracks import RATE, babble

from quietmic.enhance.files.audio import AudioReader, write

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
