"""Folders of recordings: layouts found by name, clean files found for each, manifests as people save them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from quietmic import cli
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.recordings import find_recordings, pair_folders


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(160), 16000)


def test_layouts_are_found_by_name(tmp_path):
    vbd, dns, flat, alone = (tmp_path / name for name in ("vbd", "dns", "flat", "alone"))
    touch(vbd / "noisy_testset_wav" / "p232_001.wav")
    touch(vbd / "clean_testset_wav" / "p232_001.wav")
    (vbd / "log_testset.txt").write_text("name noise snr\np232_001 bus 2.5\n")
    touch(dns / "noisy" / "clnsp1_x_snr15_tl-21_fileid_7.wav")
    touch(dns / "clean" / "clean_fileid_7.wav")
    touch(flat / "mono" / "desk_noisy.flac")
    touch(flat / "mono" / "desk_clean.wav")
    touch(alone / "a" / "street.ogg")
    (recording,) = find_recordings(vbd)
    assert (recording.clean.name, recording.facts) == ("p232_001.wav", {"noise": "bus", "snr_db": 2.5})
    (recording,) = find_recordings(dns)
    assert (recording.clean.name, recording.facts) == ("clean_fileid_7.wav", {"snr_db": 15})
    (recording,) = find_recordings(flat)
    assert (recording.name, recording.clean.name) == ("mono/desk", "desk_clean.wav")
    (recording,) = find_recordings(alone)
    assert (recording.name, recording.clean) == ("a/street", None)
    (dns / "clean" / "clean_fileid_7.wav").unlink()
    with pytest.raises(QuietmicError, match="no pair"):
        find_recordings(dns)


def test_layouts_are_found_at_any_depth(tmp_path):
    """One folder above, clean files counted as noisy ones: 10 recordings for 5 pairs, OVRL 1.97 for 1.31."""
    for part in ("no_reverb", "deep/with_reverb"):
        touch(*(tmp_path / part / kind / name for kind in ("noisy", "clean", "noise") for name in ("a.wav", "b.wav")))
    (tmp_path / "no_reverb" / "manifest.csv").write_text("name,noise\na,fan\n")
    recordings = find_recordings(tmp_path)
    assert [one.name for one in recordings] == [
        f"{part}/{name}" for part in ("deep/with_reverb", "no_reverb") for name in "ab"
    ]
    assert [one.clean.parent.name for one in recordings] == ["clean"] * 4
    assert [one.facts for one in recordings] == [{}, {}, {"noise": "fan"}, {}]
    touch(tmp_path / "left" / "over.wav")
    with pytest.raises(QuietmicError, match=r"over\.wav belongs to none of .*no_reverb/noisy"):
        find_recordings(tmp_path)


def test_clean_files_never_count_as_noisy_ones(tmp_path):
    touch(tmp_path / "x" / "clean" / "a.wav", tmp_path / "x" / "recorded" / "a.wav")
    with pytest.raises(QuietmicError, match="lies in a folder 'clean'"):
        find_recordings(tmp_path)


@pytest.mark.parametrize("other", ["data/clean/a.wav", "clean_speech/a.wav", "reference/a.wav", "noisy/clean/a.wav"])
def test_what_may_be_the_pairs_of_noisy_files_is_named_and_not_passed_over(tmp_path, other, capsys):
    """The noisy files were measured as if there were no clean ones, and nothing was said."""
    touch(tmp_path / "noisy" / "a.wav", tmp_path / other)
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert str(Path(other)) in said and "--noisy and --clean name two folders" in said
    (tmp_path / other).unlink()
    assert len(find_recordings(tmp_path)) == 1


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("Noisy", "Clean"),
        ("noisy_wav", "clean_wav"),
        ("below/noisy_trainset_28spk_wav", "below/clean_trainset_28spk_wav"),
    ],
)
def test_folders_whose_names_differ_by_noisy_and_clean_are_pairs(tmp_path, noisy, clean):
    """The clean ones counted as noisy ones."""
    touch(tmp_path / noisy / "a.wav", tmp_path / clean / "a.wav")
    (recording,) = find_recordings(tmp_path)
    assert (recording.noisy, recording.clean) == (tmp_path / noisy / "a.wav", tmp_path / clean / "a.wav")


@pytest.mark.parametrize("names", [("noisy_a.wav", "clean_a.wav"), ("Clean speech/a.wav", "noise/b.wav")])
def test_what_is_called_clean_is_refused_as_noisy(tmp_path, names):
    touch(*(tmp_path / name for name in names))
    with pytest.raises(QuietmicError, match="clean"):
        find_recordings(tmp_path)
    touch(tmp_path / "words" / "cleaning the kitchen.wav")
    assert len(find_recordings(tmp_path / "words")) == 1


def test_several_pairs_of_folders_are_named(tmp_path):
    """The test set of VoiceBank-DEMAND is meant where it lies beside the training set."""
    for name in ("train_noisy", "train_clean", "dev_noisy", "dev_clean"):
        touch(tmp_path / name / "a.wav")
    with pytest.raises(QuietmicError, match=r"several folders of noisy files \(dev_noisy, train_noisy\)"):
        find_recordings(tmp_path)
    touch(tmp_path / "noisy_testset_wav" / "t.wav", tmp_path / "clean_testset_wav" / "t.wav")
    assert [one.name for one in find_recordings(tmp_path)] == ["t"]


def test_equal_names_in_different_folders_keep_their_own_clean_files(tmp_path):
    for part in ("noisy", "clean"):
        touch(*(tmp_path / part / speaker / "001.wav" for speaker in ("spk1", "spk2")))
        touch(tmp_path / part / "spk1" / "x_fileid_07.wav")
    (tmp_path / "manifest.csv").write_text("name,noise\nspk1/001,fan\nspk2/001.wav,bus\n")
    recordings = find_recordings(tmp_path)
    found = [(r.name, r.clean.relative_to(tmp_path).as_posix(), r.facts.get("noise")) for r in recordings]
    assert found == [
        ("spk1/001", "clean/spk1/001.wav", "fan"),
        ("spk1/x_fileid_07", "clean/spk1/x_fileid_07.wav", None),
        ("spk2/001", "clean/spk2/001.wav", "bus"),
    ]


def test_names_are_no_patterns_and_only_sounds_that_are_not_hidden_count(tmp_path):
    touch(tmp_path / "take[1]_noisy.wav", tmp_path / "take[1]_clean.wav", tmp_path / "take1_clean.wav")
    (tmp_path / "take[1]_clean.json").touch()
    (tmp_path / "._take[1]_noisy.wav").write_bytes(b"\0\5\26\7")
    touch(tmp_path / ".cache" / "old_noisy.wav")
    (recording,) = find_recordings(tmp_path)
    assert (recording.name, recording.clean) == ("take[1]", tmp_path / "take[1]_clean.wav")


@pytest.mark.parametrize(
    "names",
    [
        ("noisy/a.wav", "noisy/a.flac", "clean/a.wav"),
        ("noisy/a.wav", "clean/a.wav", "clean/a.flac"),
        ("noisy/x_fileid_1.wav", "clean/clean_fileid_1.wav", "clean/other_fileid_01.wav"),
        ("a_noisy.wav", "a_clean.wav", "a_clean.flac"),
        ("a.wav", "a.flac"),
    ],
)
def test_two_files_of_one_name_are_refused(tmp_path, names):
    touch(*(tmp_path / name for name in names))
    with pytest.raises(QuietmicError, match="both stand for") as error:
        find_recordings(tmp_path)
    assert error.value.exit_code == 2


def test_manifests_as_spreadsheets_save_them(tmp_path):
    touch(*(tmp_path / "noisy" / name for name in ("a.wav", "b.wav", "c.1.wav")))
    lines = ["\ufeffname,snr_db,noise", 'a.wav,5,"fan, old"', "b,n/a,bus", "c.1,nan,bus", "not there,1,bus", ",,", ""]
    (tmp_path / "manifest.csv").write_bytes("\r\n".join(lines).encode())
    assert {recording.name: recording.facts for recording in find_recordings(tmp_path)} == {
        "a": {"snr_db": 5, "noise": "fan, old"},
        "b": {"snr_db": "n/a", "noise": "bus"},
        "c.1": {"snr_db": "nan", "noise": "bus"},
    }


@pytest.mark.parametrize(
    "text", ["Name; SNR_dB\r\na;5\r\n;\r\n", "name\tsnr_db\na\t5", "\ufeffname , snr_db\na.wav , 5\n"]
)
def test_what_stands_between_columns_is_found_and_spaces_are_none(tmp_path, text):
    touch(tmp_path / "noisy" / "a.wav")
    (tmp_path / "manifest.csv").write_bytes(text.encode())
    assert [recording.facts for recording in find_recordings(tmp_path)] == [{"snr_db": 5}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_text_of_excel(tmp_path, encoding):
    """It was refused as "not in UTF-8"."""
    touch(tmp_path / "noisy" / "a.wav")
    text = ("" if encoding == "utf-16" else "\ufeff") + "name\tnoise\r\na.wav\tStra\xdfe\r\n"
    (tmp_path / "manifest.csv").write_bytes(text.encode(encoding))
    assert [recording.facts for recording in find_recordings(tmp_path)] == [{"noise": "Stra\xdfe"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name,snr_db\na,5\nb\n", "manifest.csv, line 3: 1 cells for 2 columns"),
        (b"name,snr_db\na,5,bus\n", "manifest.csv, line 2: 3 cells for 2 columns"),
        (b"name,snr_db\n,5\n", "manifest.csv, line 2: the name is missing"),
        (b"name,snr_db\na,5\na,6\n", "manifest.csv, line 3: 'a' stands in an earlier line too"),
        (b"name|snr_db\na|5\n", r"manifest.csv: .* one of them 'name'; it is 'name\|snr_db'"),
        (b"name,SNR,snr\na,5,5\n", "manifest.csv: .* each once"),
        (b"", "manifest.csv: the first line must name the columns"),
        (b"name\nsomething\n", "manifest.csv: none of its names .* the first recording is 'a'"),
        (b"name,noise\na,Stra\xdfe\n", "manifest.csv is not in UTF-8"),
        (b'name,noise\na,"' + b"x" * 200_000, "manifest.csv, line 2: field larger than"),
    ],
)
def test_bad_manifests_are_told_by_file_and_line(tmp_path, text, message):
    touch(tmp_path / "noisy" / "a.wav")
    (tmp_path / "manifest.csv").write_bytes(text)
    with pytest.raises(QuietmicError, match=message) as error:
        find_recordings(tmp_path)
    assert error.value.exit_code == 2


def test_one_folder_is_not_both_noisy_and_clean(tmp_path):
    """Each file was its own target, and every measure the best there is."""
    touch(tmp_path / "a" / "0.wav")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for clean in ("a", "b"):
        with pytest.raises(QuietmicError, match="for the noisy and for the clean files"):
            pair_folders(tmp_path / "a", tmp_path / clean)
