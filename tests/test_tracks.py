"""Sound tracks through the program ffmpeg: channels, lengths, places in time, codings, and what is said of them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tracks import RATE, babble, ffmpeg, lag_of, make_raw, sound_of

from quietmic.enhance.files.audio import read

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
Run = Callable[..., int]


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [
        ("a.mov", "pcm_s16le", "quad"),
        ("a.m4a", "aac", "6.0"),
        ("a.mka", "libvorbis", "3.0"),
        ("a.wv", "wavpack", "octagonal"),
        ("a.ac3", "ac3", "quad"),
        ("a.mov", "pcm_s16le", "FL+FR+LFE+BC"),
    ],
)
def test_channels_stay_what_and_where_they_are(
    denoise: Run, tmp_path: Path, name: str, codec: str, layout: str
) -> None:
    """Whatever stood otherwise than ffmpeg's default for the number was mixed: channel 3 of a quad film was silent."""
    n_channels = {"3.0": 3, "6.0": 6, "octagonal": 8}.get(layout, 4)
    ffmpeg(*make_raw(tmp_path, n_channels, layout), "-c:a", codec, tmp_path / name)
    assert denoise(tmp_path / name, "-o", tmp_path / "out") == 0
    out = tmp_path / "out" / name
    assert sound_of(out).get("channel_layout") == sound_of(tmp_path / name).get("channel_layout")
    heard = ffmpeg("-i", out, "-f", "f32le", "-")
    after = np.frombuffer(heard, "<f4").reshape(-1, n_channels).T
    for before, one in zip(babble(n_channels), after, strict=True):
        lag = lag_of(one, before)
        assert np.std(one) == pytest.approx(np.std(before), rel=0.2)
        assert 0 <= lag < 2200
        n = min(len(before), len(one) - lag)
        assert np.corrcoef(before[:n], one[lag : lag + n])[0, 1] > 0.7


def test_an_array_in_a_film_comes_channel_by_channel(tmp_path: Path) -> None:
    ffmpeg(*make_raw(tmp_path, 4, "quad"), "-c:a", "pcm_f32le", tmp_path / "a.mov")
    assert np.abs(read(tmp_path / "a.mov")[0] - babble(4)).max() < 1e-6


def test_channels_that_a_coding_does_not_hold_are_refused_and_new_places_told(
    denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ffmpeg(*make_raw(tmp_path, 7, "6.1"), "-c:a", "pcm_s16le", tmp_path / "a.mov")
    assert denoise(tmp_path / "a.mov", "-o", tmp_path / "a.ac3") == 1
    assert "the coding of sound in .ac3 does not hold 7 channels" in capsys.readouterr().err
    assert not (tmp_path / "a.ac3").exists()
    ffmpeg(*make_raw(tmp_path, 4, "quad"), "-c:a", "pcm_s16le", tmp_path / "b.mov")
    assert denoise(tmp_path / "b.mov", "-o", tmp_path / "b.mkv") == 0
    assert "are called" not in capsys.readouterr().out
    ffmpeg(*make_raw(tmp_path, 5, "4.1"), "-c:a", "pcm_s16le", tmp_path / "c.mov")
    ffmpeg("-i", tmp_path / "c.mov", "-c:a", "pcm_s16le", tmp_path / "c.wav")
    assert denoise(tmp_path / "c.wav", "-o", tmp_path / "c.mov") == 0
    assert sound_of(tmp_path / "c.mov")["channel_layout"] == "4.1"
    capsys.readouterr()
    assert denoise(tmp_path / "b.mov", "-o", tmp_path / "b.wav") == 0
    assert "left out: the places of its channels (quad)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mov", "pcm_s16le"), ("a.m4a", "aac"), ("a.wv", "wavpack"), ("a.tta", "tta")],
)
def test_less_than_the_header_promises_is_told(
    denoise: Run, tmp_path: Path, name: str, codec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """ffmpeg often says nothing of it, and half a recording was "enhanced" without a word."""
    ffmpeg(*make_raw(tmp_path, 1, n_samples=4 * RATE), "-c:a", codec, "-movflags", "faststart", tmp_path / name)
    assert denoise(tmp_path / name, "-o", tmp_path / "whole" / name) == 0
    assert "of sound are there" not in capsys.readouterr().out
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    assert denoise(tmp_path / name, "-o", tmp_path / "out" / name) == 0
    assert re.search(r"[12]\.\d of [34]\.\d s of sound are there", capsys.readouterr().out)


def test_a_file_of_which_nothing_comes_fails(denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty sound was written for it, with exit code 0."""
    ffmpeg(*make_raw(tmp_path, 1), "-c:a", "pcm_s16le", "-movflags", "faststart", tmp_path / "a.mov")
    data = (tmp_path / "a.mov").read_bytes()
    (tmp_path / "a.mov").write_bytes(data[: data.index(b"mdat") + 4])
    assert denoise(tmp_path / "a.mov", "-o", tmp_path / "b.mov") == 1
    assert "0.0 of 0.5 s of sound are there" in capsys.readouterr().err
    assert not (tmp_path / "b.mov").exists()


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "aac"), ("a.mp4", "aac"), ("a.webm", "libopus"), ("a.mka", "libvorbis"), ("a.mkv", "pcm_s16le")],
)
def test_a_gap_in_a_film_stays_a_gap(
    denoise: Run, tmp_path: Path, name: str, codec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came behind it was early against the picture by its length. Sound without a gap is not touched."""
    whole, gap = tmp_path / name, tmp_path / f"gap{name}"
    ffmpeg(*make_raw(tmp_path, 1, n_samples=2 * RATE), "-c:a", codec, whole)
    later = "noise=drop=between(pts*tb\\,0.6\\,1.2)"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:a", later, gap)
    before, after = read(whole)[0][0], read(gap)[0][0]
    bare = np.frombuffer(ffmpeg("-i", whole, "-ac", 1, "-f", "f32le", "-"), "<f4")
    assert np.array_equal(before, bare)
    assert abs(len(after) - len(before)) < 0.05 * RATE
    end = slice(int(1.4 * RATE), int(1.9 * RATE))
    assert abs(lag_of(after[end], before[end])) <= 0.002 * RATE
    assert not np.any(after[int(0.75 * RATE) : int(1.05 * RATE)])
    assert denoise(gap, "-o", tmp_path / "out") == 0
    assert "a gap in its sound was filled with silence (0.6 s)" in capsys.readouterr().out
