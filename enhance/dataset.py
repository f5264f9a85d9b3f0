"""Folders of noisy recordings and, where they exist, their clean pairs: the layouts people have, found by name.

- `noisy/NAME.*` with `clean/NAME.*` and, optionally, manifest.csv (name, noise, snr_db, n_mics...)
- VoiceBank-DEMAND: `noisy_testset_wav/`, `clean_testset_wav/`, optionally log_testset.txt (name, noise, SNR)
- DNS challenge: `noisy/..._snr15_..._fileid_7.wav` with `clean/clean_fileid_7.wav`
- `NAME_noisy.*` beside `NAME_clean.*`, in any folder below
- anything else: every sound file below is a noisy one without a pair
"""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from enhance.audio import is_audio_name
from enhance.errors import UserError

_PAIRED_FOLDERS = (("noisy", "clean"), ("noisy_testset_wav", "clean_testset_wav"))


@dataclass(frozen=True)
class Scene:
    """One noisy recording.

    Attributes:
        name: unique in its folder.
        noisy: sound file, one or more channels; channel 0 is the reference microphone.
        clean: mono target, None where there is none.
        facts: what is known of it: snr_db (number), noise (class), n_mics and whatever a manifest says.
    """

    name: str
    noisy: Path
    clean: Path | None = None
    facts: dict[str, float | str] = field(default_factory=dict)


def find_scenes(folder: Path) -> list[Scene]:
    """Scenes of a folder, sorted by name.

    Raises:
        UserError: no such folder, no sound in it, or a noisy file of a paired layout without its pair.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", exit_code=2)
    for noisy_name, clean_name in _PAIRED_FOLDERS:
        noisy, clean = _nested(folder / noisy_name), _nested(folder / clean_name)
        if noisy.is_dir() and clean.is_dir():
            return _paired(noisy, clean, _read_facts(folder))
        if noisy.is_dir():
            return _alone(noisy, _read_facts(folder))
    side_by_side = [path for path in _sounds(folder) if path.stem.endswith("_noisy")]
    if side_by_side:
        return _side_by_side(folder, side_by_side)
    return _alone(folder, _read_facts(folder))


def _nested(folder: Path) -> Path:
    """The archives of VoiceBank-DEMAND unpack into a folder of the same name within."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_audio_name(path) and path.is_file())


def _paired(noisy: Path, clean: Path, facts: dict[str, dict[str, float | str]]) -> list[Scene]:
    targets = {_key(path): path for path in _sounds(clean)}
    scenes = []
    for path in _sounds(noisy):
        if _key(path) not in targets:
            raise UserError(f"{path} has no pair in {clean}")
        scenes.append(Scene(path.stem, path, targets[_key(path)], _facts_of_name(path) | facts.get(path.stem, {})))
    return _nonempty(scenes, noisy)


def _side_by_side(folder: Path, paths: list[Path]) -> list[Scene]:
    scenes = []
    for path in paths:
        pairs = sorted(path.parent.glob(f"{path.stem.removesuffix('_noisy')}_clean.*"))
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix("_noisy")
        scenes.append(Scene(name, path, pairs[0] if pairs else None))
    return scenes


def _alone(folder: Path, facts: dict[str, dict[str, float | str]]) -> list[Scene]:
    paths = _sounds(folder)
    return _nonempty(
        [
            Scene(p.relative_to(folder).with_suffix("").as_posix(), p, None, _facts_of_name(p) | facts.get(p.stem, {}))
            for p in paths
        ],
        folder,
    )


def _nonempty(scenes: list[Scene], folder: Path) -> list[Scene]:
    if not scenes:
        raise UserError(f"no sound files in {folder}", exit_code=2)
    return scenes


def _key(path: Path) -> str:
    """What a noisy file and its clean one share: the DNS challenge's number, or the name."""
    match = re.search(r"fileid_(\d+)$", path.stem)
    return f"fileid_{int(match[1])}" if match else path.stem


def _facts_of_name(path: Path) -> dict[str, float | str]:
    match = re.search(r"_snr(-?\d+)_", path.stem)
    return {"snr_db": float(match[1])} if match else {}


def _read_facts(folder: Path) -> dict[str, dict[str, float | str]]:
    manifest, log = folder / "manifest.csv", folder / "log_testset.txt"
    if manifest.is_file():
        with open(manifest, newline="", encoding="utf-8") as file:
            return {row["name"]: {k: _number(v) for k, v in row.items() if k != "name"} for row in csv.DictReader(file)}
    if log.is_file():
        lines = (line.split() for line in log.read_text(encoding="utf-8").splitlines())
        return {line[0]: {"noise": line[1], "snr_db": float(line[2])} for line in lines if len(line) == 3}
    return {}


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number
