"""Folders of audio files packed once into one 16-bit array, so that training reads memory instead of decoding files."""

from __future__ import annotations

import csv
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.processes import worker_pool
from quietmic.enhance.progress import Progress, silent

SAMPLE_RATE = 16000
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"}


@dataclass(frozen=True)
class Pack:
    """All samples [n_total] int16 of a set of files, and a table of the files.

    `starts` [n_files + 1] bounds each file; `rows` holds its manifest row (at least path; speaker, source, class...).
    """

    samples: np.ndarray
    starts: np.ndarray
    rows: list[dict[str, str]]
    sha256: str

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def column(self, name: str, default: str = "") -> list[str]:
        return [row.get(name, default) or default for row in self.rows]


def list_files(folder: Path, split: str) -> list[dict[str, str]]:
    """Rows of `folder`/manifest.csv of `split` (all, if it has no such column), or every audio file without one."""
    manifest = folder / "manifest.csv"
    if manifest.exists():
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split", split) == split]
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
        rows = [{"path": str(p.relative_to(folder)), "speaker": str(p.parent.relative_to(folder))} for p in files]
    if not rows:
        raise QuietmicError(
            f"{folder}: no audio files of split '{split}'. Give a folder of audio files, or a manifest.csv."
        )
    return rows


def _decode(path: Path) -> np.ndarray:
    """One file as mono int16 [n_samples] at 16 kHz."""
    samples, rate = audio.read(path)
    mono = samples.mean(axis=0)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16)


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `target` when all is in it: several runs may share a cache."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}."))
    try:
        yield part
        part.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def pack_folder(folder: Path, split: str, cache: Path, jobs: int = 1, progress: Progress = silent) -> Pack:
    """Decode a folder into the cache, or take it from there when the list of files is the same.

    Args:
        folder: audio files, with an optional manifest.csv (path, split, speaker, source, class, licence).
        split: the manifest's split to take.
        cache: where packs are kept; each is named by a hash over the names and sizes of the files.
        jobs: processes that decode.
        progress: hears of each file.
    """
    rows = list_files(folder, split)
    digest = hashlib.sha256()
    for row in rows:
        path = folder / row["path"]
        if not path.exists():
            raise QuietmicError(f"{path}: named in {folder / 'manifest.csv'} but not there.")
        digest.update(f"{row['path']} {path.stat().st_size}\n".encode())
    key = digest.hexdigest()
    target = cache / f"pack-{split}-{key[:16]}"
    if not target.exists():
        with worker_pool(jobs) as pool:
            pieces = []
            for piece in pool.map(_decode, [folder / row["path"] for row in rows], chunksize=16):
                pieces.append(piece)
                progress(f"decoding {folder.name}", len(pieces), len(rows))
        with written_whole(target) as part:
            np.save(part / "starts.npy", np.cumsum([0] + [len(p) for p in pieces]))
            np.save(part / "samples.npy", np.concatenate(pieces))
    samples = np.load(target / "samples.npy", mmap_mode="r")
    return Pack(samples, np.load(target / "starts.npy"), rows, key)
