"""Lengths that a header gets wrong: all that can be decoded is read, and a good file gets no warning."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from quietmic import cli
from quietmic.enhance.files.audio import AudioReader, write
from quietmic.enhance.files.container import find_layout
from quietmic.enhance.files.layout import Window
from quietmic.enhance.files.writer import choose_wav

RATE, N = 48000, 96_000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")


def sound(n_channels: int = 2, n_samples: int = N, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((n_channels, n_samples))).astype(np.float32)


def read_all(path: Path) -> tuple[np.ndarray, list[str]]:
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(RATE))
        return np.concatenate(blocks, axis=1), reader.warnings


def ffmpeg(source: Path, *options: str) -> bytes:
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


SIZES = {  # format and subtype: (bytes in front of the size, its layout, its position behind them)
    ("WAV", "PCM_16"): (b"data", "<I", 4),
    ("WAV", "FLOAT"): (b"data", "<I", 4),
    ("WAV", "ULAW"): (b"data", "<I", 4),
    ("WAVEX", "PCM_24"): (b"data", "<I", 4),
    ("RF64", "PCM_16"): (b"ds64", "<Q", 16),
    ("AIFF", "PCM_16"): (b"SSND", ">I", 4),
    ("AIFF", "FLOAT"): (b"SSND", ">I", 4),
    ("CAF", "PCM_16"): (b"data", ">Q", 4),
    ("CAF", "FLOAT"): (b"data", ">Q", 4),
    ("AU", "PCM_16"): (b".snd", ">I", 8),
    ("W64", "PCM_16"): (b"data", "<Q", 16),
    ("FLAC", "PCM_16"): (b"fLaC", "", 0),
}


def mangle(data: bytes, kind: tuple[str, str], wrong: str) -> bytes:
    """The same file with another length in its header."""
    mark, layout, behind = SIZES[kind]
    changed = bytearray(data)
    if mark == b"fLaC":
        value = int.from_bytes(data[18:26], "big")
        n_samples = {"zero": 0, "half": N // 2, "unknown": 0, "double": 2 * N}[wrong]
        changed[18:26] = (value >> 36 << 36 | n_samples).to_bytes(8, "big")
        return bytes(changed)
    at = data.index(mark) + behind
    n_bytes = struct.calcsize(layout)
    size = struct.unpack(layout, data[at : at + n_bytes])[0]
    wrongly = {"zero": 0, "half": size // 2, "unknown": (1 << 8 * n_bytes) - 1, "double": 2 * size}[wrong]
    changed[at : at + n_bytes] = struct.pack(layout, wrongly)
    return bytes(changed)


@pytest.mark.parametrize("wrong", ["zero", "half", "unknown", "double"])
@pytest.mark.parametrize("kind", SIZES, ids="-".join)
def test_all_that_is_there_is_read_whatever_the_header_counts(
    tmp_path: Path, kind: tuple[str, str], wrong: str
) -> None:
    """A WAV whose size was never written (0) gave nothing and "enhanced"; one that counted half gave half.

    A size of all ones is the legal way to say that nobody knew: no warning. One that is too large is a file that was
    cut off, as far as anybody can tell.
    """
    path = tmp_path / f"a.{kind[0].lower().replace('wavex', 'wav')}"
    soundfile.write(path, sound().T, RATE, format=kind[0], subtype=kind[1])
    expected, warnings = read_all(path)
    assert (expected.shape, warnings) == ((2, N), [])
    path.write_bytes(mangle(path.read_bytes(), kind, wrong))
    found, warnings = read_all(path)
    assert abs(found.shape[1] - N) <= (8 if kind[0] == "AU" else 0)
    n = min(N, found.shape[1])
    assert np.array_equal(found[:, :n], expected[:, :n])
    if wrong == "unknown" or (kind[0], wrong) == ("FLAC", "zero"):
        assert not warnings
    elif (kind[0], wrong) != ("AIFF", "zero"):  # which says the same as "unknown"
        (warning,) = warnings
        assert {"zero": "never finished", "half": "counts", "double": "of"}[wrong] in warning


def test_what_lies_behind_the_samples_is_no_sound(tmp_path: Path) -> None:
    """Chunks, tags and padding follow the samples of good files: they are neither read nor warned of."""
    samples = sound(1, 1001)
    write(tmp_path / "a.wav", samples, RATE, subtype="PCM_U8")
    data = (tmp_path / "a.wav").read_bytes()[: 44 + 1001]
    for behind in (
        b"\0LIST\x04\0\0\0INFO", b"LIST\x04\0\0\0INFO", b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\0\0", bytes(500),
    ):  # fmt: skip
        (tmp_path / "a.wav").write_bytes(data + behind)
        found, warnings = read_all(tmp_path / "a.wav")
        assert (found.shape, warnings) == ((1, 1001), [])


def test_what_lies_behind_the_samples_of_w64_is_no_sound(tmp_path: Path) -> None:
    """The library read a chunk behind the samples as more of them: 1,006 samples of letters."""
    soundfile.write(tmp_path / "a.w64", sound().T, RATE, format="W64")
    expected = read_all(tmp_path / "a.w64")[0]
    data = (tmp_path / "a.w64").read_bytes()
    chunk = b"summ" + data[44:56] + (24 + 4000).to_bytes(8, "little") + b"A" * 4000
    for behind in (chunk, bytes(500)):
        (tmp_path / "b.w64").write_bytes(data + behind)
        found, warnings = read_all(tmp_path / "b.w64")
        assert (found.shape, warnings) == ((2, N), [])
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
@needs_ffmpeg
def test_a_coding_in_blocks_keeps_its_length(tmp_path: Path, subtype: str) -> None:
    """Blocks of another length than the library's made an ADPCM file longer; its count of samples is kept now."""
    from quietmic.enhance.files.audio import AudioWriter

    write(tmp_path / "a.wav", sound(1, 30_000), RATE)
    codec = {"IMA_ADPCM": "adpcm_ima_wav", "MS_ADPCM": "adpcm_ms"}[subtype]
    ffmpeg(tmp_path / "a.wav", "-c:a", codec, str(tmp_path / "b.wav"))
    with AudioReader(tmp_path / "b.wav") as reader, AudioWriter(tmp_path / "c.wav", 1, RATE, reader.info) as writer:
        n_samples = reader.info.n_samples
        for block in reader.blocks(5000):
            writer.write(block)
    assert soundfile.info(tmp_path / "c.wav").subtype == subtype
    assert read_all(tmp_path / "c.wav")[0].shape == read_all(tmp_path / "b.wav")[0].shape == (1, n_samples)


@needs_ffmpeg
@pytest.mark.parametrize("options", [("-q:a", "4"), ("-b:a", "128k")], ids=["variable", "constant"])
def test_mp3_without_its_header_of_lengths(tmp_path: Path, options: tuple[str, str]) -> None:
    """The library guesses the length from the first frames: 3.2 of 8 s came out, or a false warning."""
    rng = np.random.default_rng(0)
    loud_later = sound(1) * np.where(np.arange(N) < N // 4, 1e-3, 3) * (1 + rng.uniform(0, 0.1, N))
    write(tmp_path / "a.wav", loud_later, RATE)
    ffmpeg(tmp_path / "a.wav", "-c:a", "libmp3lame", *options, "-write_xing", "0", str(tmp_path / "a.mp3"))
    found, warnings = read_all(tmp_path / "a.mp3")
    assert warnings == []
    assert 0 <= found.shape[1] - N < 2400
    again = cli.main(["denoise", str(tmp_path / "a.mp3"), "-o", str(tmp_path / "b.mp3"), "--model", "tcn-tiny"])
    assert again == 0
    assert abs(read_all(tmp_path / "b.mp3")[0].shape[1] - found.shape[1]) < 1200


@pytest.mark.parametrize(("times", "warning"), [(1 / 3, "counts"), (5, "cut off")])
def test_mp3_whose_header_counts_wrongly(tmp_path: Path, times: float, warning: str) -> None:
    """1.3 of 4 s were "enhanced" where the header counts a third of the frames; with five times as many all failed."""
    write(tmp_path / "a.mp3", sound(), RATE)
    data = bytearray((tmp_path / "a.mp3").read_bytes())
    mark = b"Xing" if b"Xing" in data[:200] else b"Info"
    at = data.index(mark) + 8
    n_frames = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = round(times * n_frames).to_bytes(4, "big")
    (tmp_path / "b.mp3").write_bytes(data)
    found, warnings = read_all(tmp_path / "b.mp3")
    assert abs(found.shape[1] - N) < 1200
    assert len(warnings) == 1
    assert warning in warnings[0]
    assert cli.main(["denoise", str(tmp_path / "b.mp3"), "-o", str(tmp_path / "c.mp3"), "--model", "tcn-tiny"]) == 0
    assert abs(read_all(tmp_path / "c.mp3")[0].shape[1] - N) < 1200


@needs_ffmpeg
def test_mp3_within_wav_is_whole(tmp_path: Path) -> None:
    """A good file was said to be short of the samples that the encoder put in front."""
    write(tmp_path / "a.wav", sound(), RATE)
    ffmpeg(tmp_path / "a.wav", "-c:a", "libmp3lame", "-f", "wav", str(tmp_path / "b.wav"))
    found, warnings = read_all(tmp_path / "b.wav")
    assert warnings == []
    assert 0 <= found.shape[1] - N < 2400


def test_mp3_joined_behind_its_header_of_lengths(tmp_path: Path) -> None:
    """`cat a.mp3 b.mp3` keeps the header of the first, which counts half."""
    write(tmp_path / "a.mp3", sound(1), RATE)
    found, warnings = read_all(tmp_path / "a.mp3")
    assert (found.shape, warnings) == ((1, N), [])
    (tmp_path / "b.mp3").write_bytes(2 * (tmp_path / "a.mp3").read_bytes())
    found, warnings = read_all(tmp_path / "b.mp3")
    assert abs(found.shape[1] - 2 * N) < 4000
    (warning,) = warnings
    assert "header counts" in warning


@pytest.mark.parametrize("ending", ["ogg", "opus", "wav", "aiff", "caf", "flac", "w64", "au"])
def test_recordings_in_a_row_are_all_read(tmp_path: Path, ending: str) -> None:
    """Radio captures and concatenations hold several streams: only the first came out, without a word."""
    write(tmp_path / f"a.{ending}", sound(1), RATE)
    write(tmp_path / f"b.{ending}", sound(1, N // 2, seed=1), RATE)
    data = (tmp_path / f"a.{ending}").read_bytes() + (tmp_path / f"b.{ending}").read_bytes()
    (tmp_path / f"c.{ending}").write_bytes(data)
    with AudioReader(tmp_path / f"c.{ending}") as reader:
        assert reader.info.n_samples == N + N // 2 or ending in ("caf", "flac")
    found, warnings = read_all(tmp_path / f"c.{ending}")
    assert (found.shape, warnings) == ((1, N + N // 2), [])
    for name, part in (("a", found[:, :N]), ("b", found[:, N:])):
        assert np.array_equal(read_all(tmp_path / f"{name}.{ending}")[0], part)


def test_recordings_of_another_kind_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a.ogg", sound(1), RATE)
    write(tmp_path / "b.ogg", sound(2), RATE)
    (tmp_path / "c.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    found, warnings = read_all(tmp_path / "c.ogg")
    assert found.shape == (1, N)
    assert "1 of the 2 recordings" in warnings[0]


def test_ogg_cut_anywhere_in_its_last_page_is_cut_off(tmp_path: Path) -> None:
    """Cut just behind the mark of the last page, it gave "index out of range"."""
    write(tmp_path / "a.ogg", sound(1), RATE)
    data = (tmp_path / "a.ogg").read_bytes()
    last = data.rindex(b"OggS")
    for n_bytes in (last, *range(last + 1, last + 40), len(data) - 1):
        (tmp_path / "b.ogg").write_bytes(data[:n_bytes])
        found, warnings = read_all(tmp_path / "b.ogg")
        assert warnings == ["cut off: the stream has no end"], n_bytes - last
        assert found.shape[1] > N // 2


def test_flac_that_is_cut_off_keeps_all_whole_frames(tmp_path: Path) -> None:
    """The last read that met the damage lost what had been decoded before it."""
    write(tmp_path / "a.flac", sound(1), RATE)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) * 3 // 4])
    found, warnings = read_all(tmp_path / "a.flac")
    assert found.shape[1] > 0.7 * N
    assert found.shape[1] % 4096 == 0
    assert "damaged" in warnings[0] or "only" in warnings[0]


GIB = 1 << 30


def headers_beyond_4_gb(n_bytes: int) -> dict[str, bytes]:
    """Stereo of 16 bits: lengths that are told, wrapped around, never finished, and unknown."""
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 2, RATE, 4 * RATE, 4, 16)
    wide = struct.pack("<IQQQI", 28, n_bytes + 72, n_bytes, n_bytes // 4, 0)
    lpcm = struct.pack(">qd4sIIIII", 32, RATE, b"lpcm", 0, 4, 1, 2, 16)
    return {
        "a.rf64": b"RF64" + b"\xff" * 4 + b"WAVEds64" + wide + form + b"data" + b"\xff" * 4,
        "wrapped.wav": b"RIFF" + bytes(4) + b"WAVE" + form + b"data" + struct.pack("<I", n_bytes & 0xFFFFFFFF),
        "unfinished.wav": b"RIFF" + bytes(4) + b"WAVE" + form + b"data" + bytes(4),
        "unknown.au": b".snd" + struct.pack(">IIIII", 24, 0xFFFFFFFF, 3, RATE, 2),
        "a.caf": b"caff\0\1\0\0desc" + lpcm + b"data" + struct.pack(">q", n_bytes + 4) + bytes(4),
    }


@pytest.mark.parametrize("name", list(headers_beyond_4_gb(0)))
def test_files_beyond_4_gb_are_known_by_their_headers_and_go_into_rf64(tmp_path: Path, name: str) -> None:
    """AU of unknown length gave nothing beyond 4 GB; of WAV whose length wrapped around too few samples counted."""
    head = headers_beyond_4_gb(9 * GIB)[name]
    with (tmp_path / name).open("wb") as file:  # sparse: it takes no room
        file.write(head)
        file.truncate(len(head) + 9 * GIB)
    with AudioReader(tmp_path / name) as reader:
        assert reader.info.n_samples == 9 * GIB // 4
        assert next(reader.blocks(1000)).shape == (2, 1000)
    with (tmp_path / name).open("rb") as stream:  # to the end, which would take minutes to come to
        (part,) = find_layout(stream, len(head) + 9 * GIB).parts
        with soundfile.SoundFile(Window(stream, part)) as file:
            assert file.seek(9 * GIB // 4 - 10) == 9 * GIB // 4 - 10
            assert len(file.read(100)) == 10
        assert choose_wav("WAV", "PCM_16", 1, reader.info) == "RF64"
        assert choose_wav("W64", "PCM_16", 1, reader.info) == "W64"


@pytest.mark.parametrize("n_samples", [N, N + 777])
@pytest.mark.parametrize("behind", [b"TAG" + bytes(125), b"\x5a\xa7" * 700])
def test_flac_with_something_behind_its_last_frame_is_whole(tmp_path: Path, n_samples: int, behind: bytes) -> None:
    """All of its samples were there, and it was called damaged unless they were whole blocks."""
    write(tmp_path / "a.flac", sound(2, n_samples), RATE)
    with (tmp_path / "a.flac").open("ab") as file:
        file.write(behind)
    found, warnings = read_all(tmp_path / "a.flac")
    assert found.shape == (2, n_samples)
    assert warnings == []


def test_a_file_of_which_nothing_can_be_read_is_no_success(
    tmp_path: Path, passthrough_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its first frame damaged it was "enhanced": an output without a sample."""
    write(tmp_path / "a.flac", sound(1), RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    with soundfile.SoundFile(tmp_path / "a.flac") as file:
        assert file.frames == N
    first = data.index(b"\xff\xf8", 42)
    data[first + 20 : first + 60] = bytes(40)
    (tmp_path / "a.flac").write_bytes(data)
    out = tmp_path / "out" / "a.flac"
    assert cli.main(["denoise", str(tmp_path / "a.flac"), "-o", str(out), "--model", str(passthrough_model)]) == 1
    assert "nothing of it can be read: damaged after 0 samples" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []
