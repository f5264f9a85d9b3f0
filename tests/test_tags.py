"""What a file says beside its sound goes over to the output, and what cannot is told."""

import base64
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import mutagen
import mutagen.apev2
import numpy as np
import pytest
import soundfile
from mutagen.id3 import APIC, COMM, TIT2, TPE2

from quietmic import cli
from quietmic.enhance.files.audio import read, write
from quietmic.enhance.files.chunks import walk

RATE = 48000
Run = Callable[..., str]


@pytest.fixture
def denoise(passthrough_model: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; gives what it printed."""

    def run(*arguments: object) -> str:
        assert cli.main(["denoise", "--model", str(passthrough_model), *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return run


def sound(n_channels: int = 1, n_samples: int = RATE) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((n_channels, n_samples))).astype(np.float32)


def chunk(name: bytes, contents: bytes) -> bytes:
    return name + struct.pack("<I", len(contents)) + contents + bytes(len(contents) & 1)


def add_chunks(path: Path, *chunks: bytes) -> None:
    """In front of the samples, as recorders do."""
    data = path.read_bytes()
    at = data.index(b"data")
    data = data[:at] + b"".join(chunks) + data[at:]
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


def chunks_of(path: Path) -> dict[bytes, bytes]:
    data = path.read_bytes()
    with path.open("rb") as stream:
        return {found.name: data[found.start : found.end] for found in walk(stream, 0, len(data))}


BEXT = b"Interview in the rain".ljust(256, b"\0") + bytes(82) + struct.pack("<Q", 172_800_000) + bytes(256)
CUE = struct.pack("<IIIIIII", 1, 1, 100, 0x61746164, 0, 0, 100)
LABELS = b"adtl" + chunk(b"labl", b"\1\0\0\0laughter\0")
INFO = b"INFO" + chunk(b"INAM", b"A title\0")


@pytest.mark.parametrize("n_samples", [RATE, RATE + 1])
def test_broadcast_metadata_and_cue_points_stay_in_wav(denoise: Run, tmp_path: Path, n_samples: int) -> None:
    """The time reference of field recorders was lost, and editors could not put the file back into its place."""
    write(tmp_path / "a.wav", sound(1, n_samples), RATE, "PCM_24")
    wanted = {b"bext": BEXT, b"cue ": CUE, b"iXML": b"<x/>\n"}
    lists = (chunk(b"LIST", LABELS), chunk(b"LIST", INFO))
    add_chunks(tmp_path / "a.wav", *(chunk(name, contents) for name, contents in wanted.items()), *lists)
    assert "warning" not in denoise(tmp_path / "a.wav", "-o", tmp_path / "b.wav")
    found = chunks_of(tmp_path / "b.wav")
    assert {name: found[name] for name in wanted} == wanted
    data = (tmp_path / "b.wav").read_bytes()
    assert data.count(LABELS) == data.count(INFO) == 1
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    assert soundfile.info(tmp_path / "b.wav").frames == n_samples
    assert soundfile.SoundFile(tmp_path / "b.wav").title == "A title"
    line = denoise(tmp_path / "a.wav", "-o", tmp_path / "b.flac")
    assert "FLAC has no place for it: broadcast metadata (bext), cue points, production notes" in line
    assert soundfile.SoundFile(tmp_path / "b.flac").title == "A title"


def test_places_of_channels_stay(denoise: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(4).T, RATE, "PCM_16", format="WAVEX")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"fmt ") + 8 + 20
    data[at : at + 4] = struct.pack("<I", 0x33)  # quadraphonic
    (tmp_path / "a.wav").write_bytes(data)
    denoise(tmp_path / "a.wav", "-o", tmp_path / "b.wav")
    assert chunks_of(tmp_path / "b.wav")[b"fmt "][20:24] == struct.pack("<I", 0x33)


def test_markers_of_aiff_stay(denoise: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.aiff", sound(1, 1001), RATE)
    data = (tmp_path / "a.aiff").read_bytes()
    mark = b"MARK" + struct.pack(">I", 2 + 6 + 8) + struct.pack(">HHI", 1, 1, 500) + b"\x06second\0"
    data += mark
    (tmp_path / "a.aiff").write_bytes(data[:4] + struct.pack(">I", len(data) - 8) + data[8:])
    denoise(tmp_path / "a.aiff", "-o", tmp_path / "b.aiff")
    assert mark in (tmp_path / "b.aiff").read_bytes()
    assert read(tmp_path / "b.aiff")[0].shape == (1, 1001)


@pytest.mark.parametrize("ending", ["flac", "ogg", "opus"])
def test_comments_and_pictures_stay(denoise: Run, tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"a.{ending}", sound(), RATE)
    file = mutagen.File(tmp_path / f"a.{ending}")
    file["title"], file["composer"], file["artist"] = ["Words"], ["Nobody"], ["One", "Another"]
    if ending == "flac":
        picture = mutagen.flac.Picture()
        picture.data, picture.mime = b"no picture", "image/png"
        file.add_picture(picture)
    file.save()
    assert "warning" not in denoise(tmp_path / f"a.{ending}", "-o", tmp_path / f"b.{ending}")
    found = mutagen.File(tmp_path / f"b.{ending}")
    assert (found["title"], found["composer"], found["artist"]) == (["Words"], ["Nobody"], ["One", "Another"])
    assert ending != "flac" or found.pictures[0].data == b"no picture"
    assert read(tmp_path / f"b.{ending}")[0].shape == (1, RATE)
    line = denoise(tmp_path / f"a.{ending}", "-o", tmp_path / "b.wav")
    assert "tags left out: composer" in line
    assert soundfile.SoundFile(tmp_path / "b.wav").title == "Words"


def with_picture(path: Path) -> Path:
    """A sound that holds one picture of 99 bytes, as its kind holds it."""
    write(path, sound(), RATE)
    file = mutagen.File(path)
    picture = mutagen.flac.Picture()
    picture.data, picture.mime, picture.type = b"x" * 99, "image/png", 3
    if path.suffix == ".flac":
        file.add_picture(picture)
    elif path.suffix == ".ogg":
        file["metadata_block_picture"] = [base64.b64encode(picture.write()).decode()]
    else:
        file.add_tags()
        file.tags.add(APIC(3, "image/png", 3, "", b"x" * 99))
    file.save()
    return path


@pytest.mark.parametrize("source", ["flac", "ogg", "mp3"])
@pytest.mark.parametrize("target", ["flac", "ogg", "mp3", "wav"])
def test_pictures_go_over_between_kinds(denoise: Run, tmp_path: Path, source: str, target: str) -> None:
    """They were lost without a word."""
    line = denoise(with_picture(tmp_path / f"a.{source}"), "-o", tmp_path / f"b.{target}")
    assert ("left out, since WAV has no place for it: pictures" in line) == ("warning" in line) == (target == "wav")
    if target != "wav":
        assert found_picture(tmp_path / f"b.{target}") == b"x" * 99
    assert read(tmp_path / f"b.{target}")[0].shape == (1, RATE)


def found_picture(path: Path) -> bytes:
    file = mutagen.File(path)
    if path.suffix == ".flac":
        return file.pictures[0].data
    if path.suffix == ".mp3":
        return file.tags.getall("APIC")[0].data
    return mutagen.flac.Picture(base64.b64decode(file["metadata_block_picture"][0])).data


@pytest.mark.parametrize("source", ["flac", "ogg", "mp3"])
@pytest.mark.parametrize("target", ["flac", "mp3", "wav"])
def test_without_mutagen_pictures_are_told(
    denoise: Run, tmp_path: Path, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_picture(tmp_path / f"a.{source}")
    write(tmp_path / f"plain.{source}", sound(), RATE)
    monkeypatch.setitem(sys.modules, "mutagen", None)
    line = denoise(tmp_path / f"a.{source}", "-o", tmp_path / f"b.{target}")
    assert ("no place for it: pictures" if target == "wav" else 'pip install "quietmic[tags]"') in line
    assert "warning" not in denoise(tmp_path / f"plain.{source}", "-o", tmp_path / f"c.{target}")


@pytest.mark.parametrize("source", ["a.mp3", "b.mp3"])
def test_mp3_becomes_wav(denoise: Run, tmp_path: Path, source: str) -> None:
    """The library says that it writes MP3 within WAV, and fails."""
    write(tmp_path / source, np.repeat(sound(), 2 if source == "b.mp3" else 1, axis=0), RATE)
    denoise(tmp_path / source, "-o", tmp_path / "c.wav")
    assert soundfile.info(tmp_path / "c.wav").subtype == "PCM_16"


@pytest.mark.parametrize("version", [3, 4])
def test_id3_stays(denoise: Run, tmp_path: Path, version: int) -> None:
    write(tmp_path / "a.mp3", sound(), RATE)
    tags = mutagen.id3.ID3()
    for frame in (
        TIT2(3, "\u6807\u9898"),
        TPE2(3, "Orchestra"),
        COMM(3, "eng", "", "Loud"),
        APIC(3, "image/png", 3, "", b"x" * 99),
    ):
        tags.add(frame)
    tags.save(tmp_path / "a.mp3", v2_version=version)
    assert "warning" not in denoise(tmp_path / "a.mp3", "-o", tmp_path / "b.mp3")
    found = mutagen.id3.ID3(tmp_path / "b.mp3")
    assert (found["TIT2"].text, found["TPE2"].text) == (["\u6807\u9898"], ["Orchestra"])
    assert found.getall("APIC")[0].data == b"x" * 99
    assert found.version[1] == version
    assert read(tmp_path / "b.mp3")[0].shape == (1, RATE)


@pytest.mark.parametrize(
    ("ending", "mode", "level", "tolerance"),
    [
        ("mp3", "CONSTANT", 0.0, 0.02),
        ("mp3", "CONSTANT", 0.67, 0.02),
        ("mp3", "VARIABLE", 0.3, 0.2),
        ("ogg", None, 0.1, 0.1),
        ("ogg", None, 0.7, 0.1),
        ("opus", None, 0.5, 0.1),
    ],
)
def test_bit_rates_stay(
    denoise: Run, tmp_path: Path, ending: str, mode: str | None, level: float, tolerance: float
) -> None:
    """MP3 of 320 kbit/s came out at 98."""
    options = {"compression_level": level} | ({"bitrate_mode": mode} if mode else {})
    form = {"mp3": ("MP3", "MPEG_LAYER_III"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}[ending]
    soundfile.write(tmp_path / f"a.{ending}", sound(2, 5 * RATE).T, RATE, form[1], format=form[0], **options)
    denoise(tmp_path / f"a.{ending}", "-o", tmp_path / f"b.{ending}")
    # Not of the pass-through's missing octaves: where the rate follows the sound, the sound is made the same.
    samples, _ = read(tmp_path / f"b.{ending}")
    before, after = ((tmp_path / f"{name}.{ending}").stat().st_size for name in "ab")
    assert samples.shape == (2, 5 * RATE)
    if ending == "ogg":
        before, after = (int.from_bytes((tmp_path / f"{n}.ogg").read_bytes()[48:52], "little") for n in "ab")
    assert after == pytest.approx(before, rel=tolerance)


@pytest.mark.parametrize(
    ("rate", "n_channels", "level"), [(16000, 2, 0.84), (8000, 1, 0.86), (22050, 1, 0.74), (48000, 1, 0.999)]
)
def test_mp3_of_low_rates_keeps_its_place_and_its_length(
    denoise: Run, tmp_path: Path, rate: int, n_channels: int, level: float
) -> None:
    """16 kHz at 32 kbit/s came out 69 ms late and 1,664 samples longer, 8 kHz 138 ms late; 48 kHz at 32 failed."""
    options = {"format": "MP3", "compression_level": level}
    soundfile.write(tmp_path / "a.mp3", sound(n_channels, 4 * rate).T, rate, bitrate_mode="CONSTANT", **options)
    denoise(tmp_path / "a.mp3", "-o", tmp_path / "b.mp3")
    before, after = read(tmp_path / "a.mp3")[0], read(tmp_path / "b.mp3")[0]
    n = before.shape[1]
    assert after.shape == before.shape
    spectra = [np.fft.rfft(one[0], 2 * n) for one in (before, after)]
    assert int(np.argmax(np.abs(np.fft.irfft(spectra[1] * spectra[0].conj())))) == 0
    sizes = [(tmp_path / f"{name}.mp3").stat().st_size for name in "ab"]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.15)


def test_opus_is_what_its_ending_says(denoise: Run, tmp_path: Path) -> None:
    """An .opus made from Vorbis was Vorbis."""
    soundfile.write(tmp_path / "a.ogg", sound()[0], RATE, "VORBIS", format="OGG")
    denoise(tmp_path / "a.ogg", "-o", tmp_path / "b.opus")
    assert soundfile.info(tmp_path / "b.opus").subtype == "OPUS"


def test_wav_of_double_floats_is_counted_by_its_own_width() -> None:
    """16 bits stay RIFF up to 4 GB; doubles become RF64 from half the samples of floats on."""
    from quietmic.enhance.files.info import AudioInfo
    from quietmic.enhance.files.writer import choose_wav

    for subtype, limit in (("PCM_16", 2**31), ("PCM_24", 2**32 // 3), ("FLOAT", 2**30), ("DOUBLE", 2**29)):
        for n_samples, expected in ((limit - 2_000_000, "WAV"), (limit, "RF64")):
            info = AudioInfo(1, n_samples, RATE, "WAV", subtype)
            assert choose_wav("WAV", subtype, 1, info) == expected


def cue_sheet(n_samples: int) -> bytes:
    """A block of metadata of FLAC (RFC 9639, section 8.7): one track and the end."""
    track = (0).to_bytes(8, "big") + b"\x01" + bytes(12) + bytes(14) + b"\x01" + bytes(8) + b"\x01" + bytes(3)
    end = n_samples.to_bytes(8, "big") + b"\xff" + bytes(12) + bytes(14) + b"\x00"
    return bytes(128) + (0).to_bytes(8, "big") + b"\x00" + bytes(258) + b"\x02" + track + end


@pytest.mark.parametrize("ending", ["flac", "wav"])
def test_a_cue_sheet_of_flac_stays_or_is_told(denoise: Run, tmp_path: Path, ending: str) -> None:
    write(tmp_path / "a.flac", sound(), RATE)
    data, block = (tmp_path / "a.flac").read_bytes(), cue_sheet(RATE)
    at = 4 + 4 + int.from_bytes(data[5:8], "big")  # behind the first block, which is not the last
    data = data[:at] + b"\x05" + len(block).to_bytes(3, "big") + block + data[at:]
    assert not data[4] & 0x80
    (tmp_path / "a.flac").write_bytes(data)
    told = denoise(tmp_path / "a.flac", "-o", tmp_path / f"b.{ending}")
    if ending == "flac":
        assert mutagen.File(tmp_path / "b.flac").cuesheet == mutagen.File(tmp_path / "a.flac").cuesheet
        assert "left out" not in told
    else:
        assert "left out: cue sheet" in told
    assert np.abs(read(tmp_path / f"b.{ending}")[0] - sound()).max() < 2e-4


def test_tags_of_ape_behind_an_mp3_are_told(denoise: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.mp3", sound(), RATE)
    tags = mutagen.apev2.APEv2()
    tags["Title"] = "a song"
    tags.save(str(tmp_path / "a.mp3"))
    assert "left out: tags of APE" in denoise(tmp_path / "a.mp3", "-o", tmp_path / "b.mp3")
