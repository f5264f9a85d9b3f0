"""Folders of noisy recordings and, where they exist, their clean pairs: the layouts people have, found by name.

- `noisy/NAME.*` with `clean/NAME.*` and, optionally, manifest.csv (name, noise, snr_db, n_mics...) and
  `reverberant/NAME.*`, the talker without the noise
- VoiceBank-DEMAND: `noisy_testset_wav/`, `clean_testset_wav/`, optionally log_testset.txt (name, noise, SNR)
- DNS challenge: `noisy/..._snr15_..._fileid_7.wav` with `clean/clean_fileid_7.wav`
- `NAME_noisy.*` beside `NAME_clean.*`, in any folder below
- the folders of any of these at any depth, as in `no_reverb/noisy` and `with_reverb/noisy`, and under other names
  that differ by these words: `Noisy` and `Clean`, `noisy_trainset_28spk_wav` and `clean_trainset_28spk_wav`
- anything else: every sound file below is a noisy one without a pair, and none may be called clean

NAME is the path below the folder, "spk1/001" being another recording than "spk2/001"; manifests may add the extension.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from quietmic.enhance.csvfile import read_table, read_text
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.formats import find_sounds

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
"""Recordings that travel with quietmic: all of them in a checkout, one of them once installed."""

_PAIRED_FOLDERS = (("noisy", "clean"), ("noisy_testset_wav", "clean_testset_wav"))
_NOISY, _CLEAN = (re.compile(f"(?<![a-z]){word}(?![a-z])", re.IGNORECASE) for word in ("noisy", "clean"))

Facts = dict[str, float | str]


@dataclass(frozen=True)
class Recording:
    """One noisy recording to be measured or heard, with its clean pair where there is one.

    Attributes:
        name: unique in its folder: the path below it without the extension.
        noisy: sound file, one or more channels; channel 0 is the reference microphone.
        clean: mono target, None where there is none.
        facts: what is known of it: snr_db (number), noise (class), n_mics and whatever a manifest says.
        reverberant: the talker in the room without the noise, mono; None where there is none.
    """

    name: str
    noisy: Path
    clean: Path | None = None
    facts: Facts = field(default_factory=dict)
    reverberant: Path | None = None


def find_recordings(folder: Path) -> list[Recording]:
    """Scenes of a folder, sorted by name.

    Raises:
        QuietmicError: no such folder, no sound in it, a noisy file of a paired layout without its pair, sounds that
            belong to no pair beside pairs or beside noisy files, two files of one name, or a manifest that cannot be
            understood.
    """
    if not folder.is_dir():
        raise QuietmicError(f"{folder} is no folder", exit_code=2)
    roots = _layouts(folder)
    if not roots:
        return _side_by_side(folder) or _add_told(_without_clean(folder), folder)
    for path in find_sounds(folder):
        if not any(path.is_relative_to(root) for root in roots):
            found = ", ".join(str(root / _noisy_of(root)[0]) for root in roots)
            message = f"{path} belongs to none of {found}: name one folder, or take it away"
            raise QuietmicError(message, exit_code=2, argument="clean")
    recordings = []
    for root in roots:
        noisy_name, clean_name = _noisy_of(root)
        noisy, clean = _nested(root / noisy_name), _nested(root / clean_name)
        place = "" if root == folder else f"{root.relative_to(folder).as_posix()}/"
        told = _add_told(_paired(noisy, clean) if clean.is_dir() else _only(noisy, root), root)
        told = _add_reverberant(told, root / "reverberant")
        recordings += [replace(one, name=f"{place}{one.name}") for one in told]
    return sorted(recordings, key=lambda one: one.name)


def pair_folders(noisy: Path, clean: Path) -> list[Recording]:
    """Recordings of a folder of noisy files and one of clean files under the same names.

    Raises:
        QuietmicError: both are one folder, or as `find_recordings`.
    """
    if noisy.resolve() == clean.resolve():
        raise QuietmicError(f"{noisy} is given for the noisy and for the clean files", exit_code=2, argument="clean")
    for folder in (noisy, clean):
        if not folder.is_dir():
            raise QuietmicError(f"{folder} is no folder", exit_code=2)
    return _add_told(_paired(noisy, clean), noisy)


def _noisy_of(root: Path) -> tuple[str, str]:
    """Names of the folders of noisy and clean files of a layout; empty where this is none.

    Raises:
        QuietmicError: there are several.
    """
    known = [names for names in _PAIRED_FOLDERS if (root / names[0]).is_dir()]
    whole = [names for names in known if (root / names[1]).is_dir()][:1]
    pairs = whole or _pairs_of(root) or known
    if len(pairs) > 1 and pairs != known:
        names = ", ".join(noisy for noisy, _ in pairs)
        message = f"{root} holds several folders of noisy files ({names}): name one of them and its clean one"
        raise QuietmicError(message, exit_code=2)
    return pairs[0] if pairs else ("", "")


def _pairs_of(root: Path) -> list[tuple[str, str]]:
    """Names of folders in a folder that differ by the words noisy and clean."""
    cleans = {path.name.lower(): path.name for path in root.iterdir() if path.is_dir() and _CLEAN.search(path.name)}
    noisy = sorted(path.name for path in root.iterdir() if path.is_dir() and _NOISY.search(path.name)) if cleans else []
    named = [(name, cleans.get(_NOISY.sub("clean", name).lower())) for name in noisy]
    return [(name, clean) for name, clean in named if clean]


def _layouts(folder: Path) -> list[Path]:
    """Folders of a paired layout: this one, or those below it, none within another."""
    if _noisy_of(folder)[0]:
        return [folder]
    below = sorted({path.parent for path in folder.rglob("*") if _NOISY.search(path.name) and path.is_dir()})
    shown = [root for root in below if not any(part.startswith(".") for part in root.relative_to(folder).parts)]
    roots = [root for root in shown if _noisy_of(root)[0]]
    return [root for root in roots if not any(other in root.parents for other in roots)]


def _without_clean(folder: Path) -> list[Recording]:
    """All sounds as noisy ones.

    Raises:
        QuietmicError: some are called clean, as the pairs of noisy ones are.
    """
    recordings = _alone(folder)
    for one in recordings:
        place = one.noisy.relative_to(folder)
        if named := [part for part in place.parts[:-1] if _CLEAN.search(part)]:
            message = f"{one.noisy} lies in a folder '{named[0]}', but there is none called 'noisy' beside it"
            raise QuietmicError(message, exit_code=2, argument="clean")
        if _CLEAN.search(place.stem) and len(recordings) > 1:
            message = f"{one.noisy} is called clean: NAME_clean beside NAME_noisy are a pair, and so are two folders"
            raise QuietmicError(message, exit_code=2)
    return recordings


def _only(noisy: Path, root: Path) -> list[Recording]:
    """The noisy files of a layout without clean ones.

    Raises:
        QuietmicError: there is sound beside them, which may be their pairs under another name.
    """
    if others := [path for path in find_sounds(root) if not path.is_relative_to(noisy)]:
        message = f"{others[0]} lies in no folder 'clean' beside {noisy}, and belongs to none of its files"
        raise QuietmicError(message, exit_code=2, argument="clean")
    return _without_clean(noisy)


def _nested(folder: Path) -> Path:
    """The archives of VoiceBank-DEMAND unpack into a folder of the same name within."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _paired(noisy: Path, clean: Path) -> list[Recording]:
    targets = _unique((_key(_name(path, clean)), path) for path in find_sounds(clean))
    recordings = []
    for recording in _alone(noisy):
        if _key(recording.name) not in targets:
            raise QuietmicError(
                f"{recording.noisy} has no pair in {clean}: the same name at the same place below that folder"
            )
        recordings.append(replace(recording, clean=targets[_key(recording.name)]))
    return recordings


def _side_by_side(folder: Path) -> list[Recording]:
    sounds = [(_name(path, folder), path) for path in find_sounds(folder)]
    noisy, clean = (
        _unique((name.removesuffix(ending), path) for name, path in sounds if name.endswith(ending))
        for ending in ("_noisy", "_clean")
    )
    return [Recording(name, path, clean.get(name)) for name, path in noisy.items()]


def _alone(folder: Path) -> list[Recording]:
    paths = _unique((_name(path, folder), path) for path in find_sounds(folder))
    if not paths:
        raise QuietmicError(f"no sound files in {folder}", exit_code=2)
    return [Recording(name, path, None, _facts_of_name(path)) for name, path in paths.items()]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _key(name: str) -> str:
    """What the names of a noisy file and its clean one share: the DNS challenge's number, or all."""
    return re.sub(r"[^/]*fileid_0*(\d+)$", r"fileid_\1", name)


def _unique(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Files by name; of two with one name either could be taken for the other."""
    paths: dict[str, Path] = {}
    for name, path in named:
        if name in paths:
            raise QuietmicError(f"{paths[name]} and {path} both stand for '{name}': rename or remove one", exit_code=2)
        paths[name] = path
    return paths


def _facts_of_name(path: Path) -> Facts:
    match = re.search(r"_snr(-?\d+)_", path.stem)
    return {"snr_db": float(match[1])} if match else {}


def _add_told(recordings: list[Recording], folder: Path) -> list[Recording]:
    """Scenes with what the manifest or the log in the folder says of them."""
    path = next((folder / name for name in ("manifest.csv", "log_testset.txt") if (folder / name).is_file()), None)
    if path is None:
        return recordings
    told = _read_manifest(path) if path.suffix == ".csv" else _read_log(path)
    facts = [told.get(one.name, told.get(f"{one.name}{one.noisy.suffix}")) for one in recordings]
    if told and all(entry is None for entry in facts):
        raise QuietmicError(
            f"{path}: none of its names is that of a recording; the first recording is '{recordings[0].name}'",
            exit_code=2,
        )
    return [replace(one, facts=one.facts | (entry or {})) for one, entry in zip(recordings, facts, strict=True)]


def _add_reverberant(recordings: list[Recording], folder: Path) -> list[Recording]:
    """Scenes with the speech that was mixed into them, where the folder has it under the same name."""
    speech = {_name(path, folder): path for path in find_sounds(folder)}
    return [replace(one, reverberant=speech.get(one.name)) for one in recordings]


def _read_manifest(path: Path) -> dict[str, Facts]:
    """Facts of each recording by its name, from a CSV file."""
    told: dict[str, Facts] = {}
    for line, row in read_table(path, "name"):
        name = row.pop("name")
        if not name or name in told:
            what = f"'{name}' stands in an earlier line too" if name else "the name is missing"
            raise QuietmicError(f"{path}, line {line}: {what}", exit_code=2)
        told[name] = {column: _number(cell) for column, cell in row.items()}
    return told


def _read_log(path: Path) -> dict[str, Facts]:
    lines = (line.split() for line in read_text(path).splitlines())
    return {line[0]: {"noise": line[1], "snr_db": _number(line[2])} for line in lines if len(line) == 3}


def _number(text: str) -> float | str:
    """A number where the text is one; "nan" and "inf" are words."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number
