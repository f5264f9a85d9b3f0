"""Codings of what ffmpeg writes: kept with their depth, in step, and told where they cannot be."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tracks import RATE, babble, ffmpeg, lag_of, make_raw, sound_of

from quietmic.enhance.files.audio import read, write

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
Run = Callable[..., int]


@pytest.mark.parametrize(
    ("name", "codec", "sample_format"),
    [
        ("a.oga", "flac", "s16"),
        ("a.caf", "alac", "s32p"),
        ("a.mkv", "flac", "s16"),
        ("a.m4a", "alac", "s16p"),
        ("a.tta", "tta", "s16"),
        ("a.wv", "wavpack", "s16p"),
        ("a.wv", "wavpack", "fltp"),
        ("a.mp4", "flac", "s16"),
    ],
)
def test_coding_and_depth_stay(
    denoise: Run, tmp_path: Path, name: str, codec: str, sample_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """FLAC in Ogg became Vorbis, ALAC in CAF 16-bit PCM, 16 bits 24, and FLAC in mp4 failed."""
    coding = ["-c:a", codec, "-sample_fmt", sample_format, "-strict", -2]
    ffmpeg(*make_raw(tmp_path, 1, n_samples=RATE // 4), *coding, tmp_path / name)
    assert denoise(tmp_path / name, "-o", tmp_path / "out") == 0
    before, after = sound_of(tmp_path / name), sound_of(tmp_path / "out" / name)
    for fact in ("codec_name", "sample_fmt", "bits_per_raw_sample"):
        assert after.get(fact) == before.get(fact)
    assert np.abs(read(tmp_path / "out" / name)[0] - read(tmp_path / name)[0]).max() < 2.0**-22
    assert "warning" not in capsys.readouterr().out


def test_24_bits_stay_24_in_a_wav(denoise: Run, tmp_path: Path) -> None:
    ffmpeg(*make_raw(tmp_path, 1), "-c:a", "alac", "-sample_fmt", "s32p", tmp_path / "a.m4a")
    assert denoise(tmp_path / "a.m4a", "-o", tmp_path / "a.wav") == 0
    assert sound_of(tmp_path / "a.wav")["codec_name"] == "pcm_s24le"


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_windows_media_begins_where_it_began(denoise: Run, tmp_path: Path, rate: int) -> None:
    """The first frame was cut off, 43 ms of it at 48 kHz."""
    sound = babble(1, rate, rate)
    write(tmp_path / "a.wav", sound, rate)
    assert denoise(tmp_path / "a.wav", "-o", tmp_path / "a.wma") == 0
    assert lag_of(read(tmp_path / "a.wma")[0][0], sound[0]) == 0


def test_windows_media_stays_with_its_picture(denoise: Run, tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1"]
    ffmpeg(*make_raw(tmp_path, 1, n_samples=RATE), *picture, "-c:v", "wmv2", "-c:a", "wmav2", tmp_path / "a.wmv")
    assert denoise(tmp_path / "a.wmv", "-o", tmp_path / "b.wmv") == 0
    late_s = {}
    for name in ("a.wmv", "b.wmv"):
        command = ["-copyts", "-i", tmp_path / name, "-map", "0:v", "-c", "copy", "-f", "framecrc", "-"]
        first = next(line for line in ffmpeg(*command).decode().splitlines() if not line.startswith("#"))
        late_s[name] = lag_of(read(tmp_path / name)[0][0], babble(1, RATE)[0]) / RATE - int(first.split(",")[2]) / 1000
    assert late_s["b.wmv"] == pytest.approx(late_s["a.wmv"], abs=0.003)


@pytest.mark.parametrize(
    ("name", "codec", "late"),
    [
        ("a.avi", "pcm_s16le", None),
        ("a.avi", "aac", "21 ms late"),
        ("a.mka", "aac", "21 ms late"),
        ("a.flv", "libmp3lame", "25 ms late"),
        ("a.mp4", "aac", None),
        ("a.mka", "libopus", None),
        ("a.ac3", "ac3", "5 ms late"),
    ],
)
def test_sound_that_begins_late_is_told_and_no_other(
    denoise: Run, tmp_path: Path, name: str, codec: str, late: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """PCM in AVI was said to be late and is not, AAC in Matroska was, without a word."""
    rate = 44100 if name == "a.flv" else RATE
    ffmpeg(*make_raw(tmp_path, 1), "-ar", rate, "-c:a", codec, tmp_path / name)
    assert denoise(tmp_path / name, "-o", tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert (late in told) if late else ("ms late" not in told)
    lag = lag_of(read(tmp_path / "out" / name)[0][0], read(tmp_path / name)[0][0])
    assert lag == pytest.approx(int(late.split()[0]) * rate / 1000 if late else 0, abs=0.001 * rate)


def test_what_can_be_read_only_is_told(denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason named a hidden file and formats of ffmpeg."""
    write(tmp_path / "a.wav", babble(1), RATE)
    assert denoise(tmp_path / "a.wav", "-o", tmp_path / "a.ape") == 1
    assert "a.ape: .ape can be read and not written: name another output, as .flac" in capsys.readouterr().err


def test_a_file_whose_channels_cannot_be_told(denoise: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason was "list index out of range"; the decoder of TTA knows no such places."""
    ffmpeg(*make_raw(tmp_path, 5, "5.0(side)"), "-c:a", "tta", tmp_path / "a.tta")
    assert denoise(tmp_path / "a.tta", "-o", tmp_path / "b.tta") == 1
    assert "a.tta: ffmpeg cannot tell how many channels it has" in capsys.readouterr().err


def test_reasons_say_what_is_wrong(
    denoise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They ended in "ffmpeg says: ", or were an address or "Last message repeated 3 times"."""
    ffmpeg(*make_raw(tmp_path, 1, n_samples=4 * RATE), tmp_path / "a.m4a")
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    saying = "echo '[aac @ 0x55d0c0de] Bad frame' >&2; echo '    Last message repeated 3 times' >&2"
    program.write_text(f"""#!/bin/sh
case "$*" in
*pipe:0*) kill -9 $$;;
*) {shutil.which("ffmpeg")} "$@"; {saying};;
esac
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    assert denoise(tmp_path / "a.m4a", "-o", tmp_path / "b.m4a") == 1
    assert "cannot be written: ffmpeg says: it was ended by signal 9" in capsys.readouterr().err
    assert denoise(tmp_path / "a.m4a", "-o", tmp_path / "b.wav") == 0
    assert "damaged: ffmpeg says: Bad frame\n" in capsys.readouterr().out


def test_speex_in_a_folder_is_sound(denoise: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    try:
        ffmpeg(*make_raw(tmp_path, 1), "-ar", 16000, "-c:a", "libspeex", tmp_path / "in" / "a.spx")
    except OSError as error:
        pytest.skip(f"this ffmpeg writes no Speex: {error}")
    assert denoise(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert sound_of(tmp_path / "out" / "a.spx")["codec_name"] == "speex"
