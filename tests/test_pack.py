"""Packed folders: named by what is in them, from manifests as people save them, without leftovers."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus import SMALL_ROOMS

from quietmic.enhance import hashes
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import describe_minutes
from quietmic.models.mixtures.pack import list_files, pack_folder, written_whole
from quietmic.models.mixtures.rooms import build_rooms
from quietmic.models.training.sources import describe_pack


def write(folder: Path, level: float, n_files: int = 2) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(n_files):
        soundfile.write(folder / f"{i}.wav", np.full(1600, level), 16000)
    return folder


def loudest(folder: Path, cache: Path) -> float:
    return float(np.abs(pack_folder(folder, "train", cache).samples).max() / 32767)


def test_packs_are_told_apart_by_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders with the same names and sizes shared one pack: the noise was the speech."""
    for limit in (hashes.SAMPLED_BEYOND, 0):
        monkeypatch.setattr(hashes, "SAMPLED_BEYOND", limit)
        speech, noise = write(tmp_path / "speech", 0.5), write(tmp_path / "noise", 0.25)
        cache = tmp_path / f"cache-{limit}"
        assert (loudest(speech, cache), loudest(noise, cache)) == pytest.approx((0.5, 0.25), abs=1e-3)
        assert loudest(write(speech, 0.1), cache) == pytest.approx(0.1, abs=1e-3)  # replaced in place
        facts = describe_pack(pack_folder(speech, "train", cache))
        assert [name for name in facts if "sha256" in name] == ["sha256_sampled" if limit == 0 else "sha256"]
        copy = write(tmp_path / "copy", 0.1)
        assert pack_folder(copy, "train", cache).sha256 == pack_folder(speech, "train", cache).sha256


def test_what_the_caches_will_cost_is_said_beforehand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run of five minutes stood in front of hours of decoding without a word."""
    caplog.set_level("INFO", "quietmic")
    speech = write(tmp_path / "speech", 0.5, n_files=20)
    pack_folder(speech, "train", tmp_path / "cache")
    pack_folder(speech, "train", tmp_path / "cache")
    build_rooms(tmp_path / "cache", 3, 0, SMALL_ROOMS)
    packing, simulating = (record.getMessage() for record in caplog.records)
    assert "20 files are decoded once" in packing
    assert "less than a minute and 0.00 GB" in packing
    assert "3 rooms are simulated once" in simulating
    assert "minute" in simulating
    assert [describe_minutes(m) for m in (0.1, 0.7, 34.4, 600)] == [
        "less than a minute", "a minute", "34 minutes", "10 hours"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "path,split\n0.wav,train\n1.wav,valid\n",
        "\ufeffsplit,path\r\ntrain,0.wav\r\nvalid,1.wav\r\n",
        "Path,Split\n0.wav,Train\n1.wav,Valid\n",
        "path, split\n0.wav, train\n1.wav, valid\n",
        "path;split\n0.wav;train\n1.wav;valid\n;\n",
        "path\tsplit\n0.wav\ttrain\n1.wav\tvalid\n",
        "\n\npath;\u200bsplit\u00a0\n0.wav;\u200btrain\n1.wav;valid\n",
    ],
)
def test_held_out_rows_do_not_train_however_the_manifest_was_saved(tmp_path: Path, text: str) -> None:
    """With a mark in front, "Split" or " split" there was no such column, and all rows trained."""
    folder = write(tmp_path / "speech", 0.5)
    (folder / "manifest.csv").write_bytes(text.encode())
    assert [row["path"] for row in list_files(folder, "train")] == ["0.wav"]
    assert [row["path"] for row in list_files(folder, "valid")] == ["1.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"file,split\n0.wav,train\n", "one of them 'path'; it is 'file,split'"),
        (b"path,split,speaker\n0.wav,train,J\xfcrgen\n", "not in UTF-8"),
        (b"path,split\n0.wav\n", "line 2: 1 cells for 2 columns"),
        (b"path,split\n,train\n", "line 2: '' is not there"),
        (b"path,split\n7.wav,train\n", "line 2: '7.wav' is not there"),
        (b"path,split\n0.wav,test\n", "no audio files of split 'train'"),
        (b"path,split\n0.wav,train\n0.wav,valid\n", "line 3: '0.wav' stands in line 2 too"),
        (b"path,split\n./0.wav,valid\n0.wav,train\n", "line 3: '0.wav' stands in line 2 too"),
        (b"path,Subset\n0.wav,train\n1.wav,valid\n", "'subset' seems to say what trains and what is held out"),
        (b"path,fold\n0.wav,1\n1.wav,2\n", "'fold' seems to say"),
        (b"path,speaker,part\n0.wav,a,Train\n1.wav,b,dev\n", "'part' seems to say"),
        (b"", "the first line must name the columns"),
    ],
)
def test_other_manifests_are_refused_by_name(tmp_path: Path, text: bytes, message: str) -> None:
    folder = write(tmp_path / "speech", 0.5)
    (folder / "manifest.csv").write_bytes(text)
    with pytest.raises(QuietmicError, match=message) as told:
        list_files(folder, "train")
    assert str(folder) in str(told.value)


def test_columns_that_hold_nothing_out_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = write(tmp_path / "speech", 0.5)
    (folder / "manifest.csv").write_text("path,split,subset,notes\n0.wav,train,a,\n1.wav,valid,test,\n")
    assert len(list_files(folder, "train")) == 1
    (folder / "manifest.csv").write_text("path,room,notes\n0.wav,test,\n1.wav,hall,\n")
    assert len(list_files(folder, "train")) == 2


def test_every_ending_of_sound_counts_and_hidden_files_do_not(tmp_path: Path) -> None:
    """A list by hand passed over Sphere, W64 and others without a word, and took what macOS leaves beside files."""
    folder = write(tmp_path / "speech", 0.5)
    for name, kind in {"a.sph": "NIST", "b.w64": "W64", "c.au": "AU", "d.wave": "WAV"}.items():
        soundfile.write(folder / name, np.zeros(1600), 16000, format=kind)
    (folder / "._0.wav").write_bytes(b"no sound")
    (folder / "notes.txt").write_text("no sound")
    assert [row["path"] for row in list_files(folder, "train")] == [
        "0.wav",
        "1.wav",
        "a.sph",
        "b.w64",
        "c.au",
        "d.wave",
    ]


@pytest.mark.parametrize("name", ["Manifest.csv", "MANIFEST.CSV"])
def test_capitals_in_the_name_of_a_manifest_do_not_matter(tmp_path: Path, name: str) -> None:
    """It was passed over, and what it held out trained."""
    folder = write(tmp_path / "speech", 0.5)
    (folder / name).write_text("path,split\n0.wav,train\n1.wav,valid\n")
    assert [row["path"] for row in list_files(folder, "train")] == ["0.wav"]


@pytest.mark.parametrize("name", ["manifest.tsv", "manifest.xlsx", "Manifest"])
def test_a_manifest_that_is_no_csv_is_named_and_not_passed_over(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "speech", 0.5)
    (folder / name).write_text("path\tsplit\n0.wav\ttrain\n1.wav\tvalid\n")
    with pytest.raises(QuietmicError, match=f"{name}: it must be one manifest.csv"):
        list_files(folder, "train")


@pytest.mark.parametrize("name", ["rooms.npy", "rooms.json"])
def test_rooms_that_were_cut_off_are_made_anew(tmp_path: Path, name: str) -> None:
    folder = build_rooms(tmp_path, 2, 0, SMALL_ROOMS)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for n_bytes in (0, -8):
        (folder / name).write_bytes(whole[name][:n_bytes])
        build_rooms(tmp_path, 2, 0, SMALL_ROOMS)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


@pytest.mark.parametrize("name", ["samples.npy", "starts.npy"])
@pytest.mark.parametrize("n_bytes", [0, 130, -8])
def test_a_pack_that_was_cut_off_is_made_anew(tmp_path: Path, name: str, n_bytes: int) -> None:
    """Power lost behind the renaming left an empty file, and every later run a traceback."""
    speech, cache = write(tmp_path / "speech", 0.5), tmp_path / "cache"
    pack_folder(speech, "train", cache)
    (file,) = cache.glob(f"pack-*/{name}")
    file.write_bytes(file.read_bytes()[:n_bytes])
    assert loudest(speech, cache) == pytest.approx(0.5, abs=1e-3)
    file.unlink()
    assert len(pack_folder(speech, "train", cache).samples) == 3200


def fill(target: Path) -> None:
    with written_whole(target) as part:
        (part / "half").touch()
        time.sleep(60)


def test_what_a_killed_packing_left_goes_with_the_next(tmp_path: Path) -> None:
    packing = multiprocessing.get_context("spawn").Process(target=fill, args=(tmp_path / "pack-a",))
    packing.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("pack-a.*/half")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert packing.pid
    os.kill(packing.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    packing.join()
    assert list(tmp_path.glob("pack-a.*"))
    with written_whole(tmp_path / "pack-b") as part:
        (part / "all").touch()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == ["pack-b"]
