"""Folders of audio files packed once into one 16-bit array, so that training reads memory instead of decoding files."""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock

from quietmic.enhance.csvfile import read_table
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.files.formats import find_sounds
from quietmic.enhance.hashes import hash_contents
from quietmic.enhance.processes import map_in_processes
from quietmic.enhance.progress import Progress, describe_minutes, silent

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
N_TRIED = 8  # files by which the cost of all is told
PART = ".part"  # ending of what is not whole yet
SPLIT_NAMES = {"subset", "set", "partition", "fold", "splits", "data_split", "usage"}  # what others call a column split
SPLITS = {"train", "training", "valid", "validation", "val", "dev", "devel", "test", "testing", "eval", "holdout"}


@dataclass(frozen=True)
class Pack:
    """All samples [n_total] int16 of a set of files, and a table of the files.

    `starts` [n_files + 1] bounds each file; `rows` holds its manifest row (at least path; speaker, source, class...).
    `sha256` is that of names and contents, sampled where `is_sampled`.
    """

    samples: np.ndarray
    starts: np.ndarray
    rows: list[dict[str, str]]
    sha256: str
    is_sampled: bool = False

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each file, [n_files]."""
        return np.diff(self.starts)

    def column(self, name: str, default: str = "") -> list[str]:
        """One column of the manifest, a value for each file."""
        return [row.get(name, default) or default for row in self.rows]


def list_files(folder: Path, split: str) -> list[dict[str, str]]:
    """Rows of `folder`/manifest.csv of `split` (all, if it has no such column), or every audio file without one.

    Raises:
        QuietmicError: a manifest that cannot be understood, names a file twice or one that is not there, or nothing of
            this split.
    """
    if manifest := find_manifest(folder):
        rows = _read_rows(manifest, split)
    else:
        files = [path.relative_to(folder) for path in find_sounds(folder)]
        rows = [{"path": str(path), "speaker": str(path.parent)} for path in files]
    if not rows:
        raise QuietmicError(
            f"{folder}: no audio files of split '{split}'. Give a folder of audio files, or a manifest.csv."
        )
    return rows


def find_manifest(folder: Path) -> Path | None:
    """The table that tells the splits of a folder, in any capitals: passed over, what is held out would train.

    Raises:
        QuietmicError: there is one of another kind, or several.
    """
    named = sorted(path for path in folder.glob("*") if path.stem.lower() == "manifest" and path.is_file())
    tables = [path for path in named if path.suffix.lower() == ".csv"]
    if named and len(tables) != 1:
        names = ", ".join(path.name for path in named)
        raise QuietmicError(f"{folder} holds {names}: it must be one manifest.csv, saved as CSV", exit_code=2)
    return tables[0] if tables else None


def _read_rows(manifest: Path, split: str) -> list[dict[str, str]]:
    rows, lines = [], dict[Path, int]()
    table = list(read_table(manifest, "path"))
    _refuse_other_splits(manifest, [row for _, row in table])
    for line, row in table:
        earlier = lines.setdefault(Path(row["path"]), line)
        if earlier != line:
            message = f"'{row['path']}' stands in line {earlier} too, where its split may be another"
            raise QuietmicError(f"{manifest}, line {line}: {message}", exit_code=2)
        if row.get("split", split).lower() != split.lower():
            continue
        if not (manifest.parent / row["path"]).is_file():
            raise QuietmicError(f"{manifest}, line {line}: '{row['path']}' is not there", exit_code=2)
        rows.append(row)
    return rows


def _refuse_other_splits(manifest: Path, rows: list[dict[str, str]]) -> None:
    """Without a column `split` all rows train, those as well that a column of another name holds out."""
    for column in rows[0] if rows and "split" not in rows[0] else ():
        values = {row[column].lower() for row in rows} - {""}
        if column in SPLIT_NAMES or (values and values <= SPLITS):
            message = f"the column '{column}' seems to say what trains and what is held out: call it 'split', with"
            raise QuietmicError(f"{manifest}: {message} the values 'train' and 'valid', or remove it", exit_code=2)


def _decode(path: Path, sample_rate: int) -> np.ndarray:
    """One file as mono int16 [n_samples]."""
    samples, rate = audio.read(path)
    mono = samples.mean(axis=0)
    if rate != sample_rate:
        import soxr

        mono = soxr.resample(mono, rate, sample_rate)
    return np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16)


def rate_suffix(sample_rate: int) -> str:
    """What the name of a cache says of its rate: nothing where it is that of the networks."""
    return "" if sample_rate == SAMPLE_RATE else f"-{sample_rate}"


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `target` when all is in it.

    Several runs may share a cache: they write one after the other, so that whatever unfinished folder lies there was
    left by one that was killed, and is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / ".lock"):
        for left in target.parent.glob(f"*{PART}"):
            shutil.rmtree(left, ignore_errors=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}.", suffix=PART))
        try:
            yield part
            part.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _tell_cost(folder: Path, paths: list[Path], cache: Path, jobs: int, sample_rate: int) -> None:
    """Says what a packing will take, by what a few of the files take."""
    few = paths[:: -(-len(paths) // N_TRIED)]
    begin = time.perf_counter()
    n_samples = sum(len(_decode(path, sample_rate)) for path in few)
    share = sum(path.stat().st_size for path in paths) / max(1, sum(path.stat().st_size for path in few))
    minutes = share * (time.perf_counter() - begin) / 60 / jobs
    logger.info(
        "%s: %d files are decoded once, into %s: about %s and %.2f GB",
        folder, len(paths), cache, describe_minutes(minutes), 2 * share * n_samples / 1e9,
    )  # fmt: skip


def pack_folder(
    folder: Path, split: str, cache: Path, jobs: int = 1, progress: Progress = silent, sample_rate: int = SAMPLE_RATE
) -> Pack:
    """Decode a folder into the cache, or take it from there when the files are the same.

    Args:
        folder: audio files, with an optional manifest.csv (path, split, speaker, source, class, licence).
        split: the manifest's split to take.
        cache: where packs are kept; each is named by a hash over the names and contents of the files.
        jobs: processes that decode.
        progress: hears of each file.
        sample_rate: Hz, of the pack.

    Raises:
        QuietmicError: as `list_files`.
    """
    rows = list_files(folder, split)
    names = [row["path"] for row in rows]
    key, is_sampled = hash_contents(folder, names)
    target = cache / f"pack-{split}-{key[:16]}{rate_suffix(sample_rate)}"
    arrays = _open_arrays(target)
    if arrays is None:
        paths = [folder / name for name in names]
        _tell_cost(folder, paths, cache, jobs, sample_rate)
        pieces = []
        for piece in map_in_processes(partial(_decode, sample_rate=sample_rate), paths, jobs):
            pieces.append(piece)
            progress(f"decoding {folder.name}", len(pieces), len(rows))
        with written_whole(target) as part:
            np.save(part / "starts.npy", np.cumsum([0] + [len(p) for p in pieces]))
            np.save(part / "samples.npy", np.concatenate(pieces))
        arrays = _open_arrays(target)
    if arrays is None:
        raise QuietmicError(f"{target} cannot be read back: is the disk of the cache full or failing?")
    return Pack(*arrays, rows, key, is_sampled)


def _open_arrays(target: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Samples and starts of a pack; None where there is none, or one that a crash of the machine cut off."""
    try:
        starts = np.load(target / "starts.npy")
        samples = np.load(target / "samples.npy", mmap_mode="r") if starts[-1] else np.zeros(0, np.int16)
    except (OSError, ValueError, EOFError):
        return None
    return (samples, starts) if len(samples) == starts[-1] else None
