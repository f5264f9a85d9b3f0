"""Folders of noisy recordings and, where they exist, their clean pairs: the layouts people have, found by name.

- `noisy/NAME.*` with `clean/NAME.*` and, optionally, manifest.csv (name, noise, snr_db, n_mics...)
- VoiceBank-DEMAND: `noisy_testset_wav/`, `clean_testset_wav/`, optionally log_testset.txt (name, noise, SNR)
- DNS challenge: `noisy/..._snr15_..._fileid_7.wav` with `clean/clean_fileid_7.wav`
- `NAME_noisy.*` beside `NAME_clean.*`, in any folder below
- anything else: every sound file below is a noisy one without a pair

NAME is the path below the folder, "spk1/001" being another recording than "spk2/001"; manifests may add the extension.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.formats import is_audio_name

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
"""Recordings that travel with quietmic: all of them in a checkout, one of them once installed."""

_PAIRED_FOLDERS = (("noisy", "clean"), ("noisy_testset_wav", "clean_testset_wav"))

Facts = dict[str, float | str]


@dataclass(frozen=True)
class Scene:
    """One noisy recording.

    Attributes:
        name: unique in its folder: the path below it without the extension.
        noisy: sound file, one or more channels; channel 0 is the reference microphone.
        clean: mono target, None where there is none.
        facts: what is known of it: snr_db (number), noise (class), n_mics and whatever a manifest says.
    """

    name: str
    noisy: Path
    clean: Path | None = None
    facts: Facts = field(default_factory=dict)


def find_scenes(folder: Path) -> list[Scene]:
    """Scenes of a folder, sorted by name.

    Raises:
        QuietmicError: no such folder, no sound in it, a noisy file of a paired layout without its pair, two files of
            one name, or a manifest that cannot be understood.
    """
    if not folder.is_dir():
        raise QuietmicError(f"{folder} is no folder", exit_code=2)
    for noisy_name, clean_name in _PAIRED_FOLDERS:
        noisy, clean = _nested(folder / noisy_name), _nested(folder / clean_name)
        if noisy.is_dir():
            return _add_told(_paired(noisy, clean) if clean.is_dir() else _alone(noisy), folder)
    return _side_by_side(folder) or _add_told(_alone(folder), folder)


def _nested(folder: Path) -> Path:
    """The archives of VoiceBank-DEMAND unpack into a folder of the same name within."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _sounds(folder: Path) -> list[Path]:
    """Sound files to any depth; no hidden ones, as the "._a.wav" that macOS leaves beside "a.wav" is no sound."""
    paths = (path for path in folder.rglob("*") if is_audio_name(path) and path.is_file())
    return sorted(p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _paired(noisy: Path, clean: Path) -> list[Scene]:
    targets = _unique((_key(_name(path, clean)), path) for path in _sounds(clean))
    scenes = []
    for scene in _alone(noisy):
        if _key(scene.name) not in targets:
            raise QuietmicError(
                f"{scene.noisy} has no pair in {clean}: the same name at the same place below that folder"
            )
        scenes.append(replace(scene, clean=targets[_key(scene.name)]))
    return scenes


def _side_by_side(folder: Path) -> list[Scene]:
    sounds = [(_name(path, folder), path) for path in _sounds(folder)]
    noisy, clean = (
        _unique((name.removesuffix(ending), path) for name, path in sounds if name.endswith(ending))
        for ending in ("_noisy", "_clean")
    )
    return [Scene(name, path, clean.get(name)) for name, path in noisy.items()]


def _alone(folder: Path) -> list[Scene]:
    paths = _unique((_name(path, folder), path) for path in _sounds(folder))
    if not paths:
        raise QuietmicError(f"no sound files in {folder}", exit_code=2)
    return [Scene(name, path, None, _facts_of_name(path)) for name, path in paths.items()]


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


def _add_told(scenes: list[Scene], folder: Path) -> list[Scene]:
    """Scenes with what the manifest or the log in the folder says of them."""
    path = next((folder / name for name in ("manifest.csv", "log_testset.txt") if (folder / name).is_file()), None)
    if path is None:
        return scenes
    told = _read_manifest(path) if path.suffix == ".csv" else _read_log(path)
    facts = [told.get(scene.name, told.get(f"{scene.name}{scene.noisy.suffix}")) for scene in scenes]
    if told and all(entry is None for entry in facts):
        raise QuietmicError(
            f"{path}: none of its names is that of a recording; the first recording is '{scenes[0].name}'", exit_code=2
        )
    return [replace(scene, facts=scene.facts | (entry or {})) for scene, entry in zip(scenes, facts, strict=True)]


def _read_manifest(path: Path) -> dict[str, Facts]:
    """Facts by name."""
    rows = _read_rows(path)
    _, columns = next(rows, (0, []))
    if "name" not in columns:
        found = ",".join(columns)
        raise QuietmicError(
            f"{path}: the first line must name the columns, with commas between, one of them 'name'; it is '{found}'",
            exit_code=2,
        )
    told: dict[str, Facts] = {}
    for line, cells in rows:
        if len(cells) != len(columns):
            raise QuietmicError(f"{path}, line {line}: {len(cells)} cells for {len(columns)} columns", exit_code=2)
        row = dict(zip(columns, cells, strict=True))
        name = row.pop("name")
        if not name or name in told:
            what = f"'{name}' stands in an earlier line too" if name else "the name is missing"
            raise QuietmicError(f"{path}, line {line}: {what}", exit_code=2)
        told[name] = {column: _number(cell) for column, cell in row.items()}
    return told


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a CSV file, without the empty rows that spreadsheets leave at the end."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""))
    try:
        for cells in reader:
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise QuietmicError(f"{path}, line {reader.line_num}: {error}", exit_code=2) from error


def _read_log(path: Path) -> dict[str, Facts]:
    lines = (line.split() for line in _read_text(path).splitlines())
    return {line[0]: {"noise": line[1], "snr_db": _number(line[2])} for line in lines if len(line) == 3}


def _read_text(path: Path) -> str:
    """UTF-8, with or without the mark that Excel puts in front."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuietmicError(f"{path} is not in UTF-8: save it as UTF-8", exit_code=2) from error


def _number(text: str) -> float | str:
    """A number where the text is one; "nan" and "inf" are words."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number
