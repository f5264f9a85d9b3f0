"""SHA-256 of files: what tells one file, or one set of data, from another."""

from functools import lru_cache
from hashlib import sha256
from pathlib import Path


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_once(path: Path) -> str:
    """The same for a file that is read and not written, as a model: taken anew only if its size or time changed."""
    facts = path.stat()
    return _hash_as_it_was(path.absolute(), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_as_it_was(path: Path, size: int, changed_ns: int) -> str:
    return hash_file(path)


def hash_files(paths: list[Path]) -> str:
    """One SHA-256 for a set of files: of their sorted names and contents, wherever the folder lies."""
    lines = sorted(f"{path.name} {hash_file(path)}" for path in paths)
    return sha256("\n".join(lines).encode()).hexdigest()


SAMPLED_BEYOND = 1 << 30  # bytes of a set that are still read in full
_PIECE = 1 << 16


def hash_contents(folder: Path, names: list[str]) -> tuple[str, bool]:
    """One SHA-256 for files in their order: of their names below a folder and what is in them.

    Of a set beyond a gibibyte each file counts with its size and three pieces of 64 KiB, its first, middle and last:
    the hash is then sampled.

    Returns:
        The hash, and whether it is sampled.
    """
    paths = [folder / name for name in names]
    is_sampled = sum(path.stat().st_size for path in paths) > SAMPLED_BEYOND
    digest = sha256()
    for name, path in zip(names, paths, strict=True):
        digest.update(f"{name} {_sample(path) if is_sampled else hash_file(path)}\n".encode())
    return digest.hexdigest(), is_sampled


def _sample(path: Path) -> str:
    size = path.stat().st_size
    digest = sha256(str(size).encode())
    with path.open("rb") as file:
        for start in (0, max(0, size // 2 - _PIECE // 2), max(0, size - _PIECE)):
            file.seek(start)
            digest.update(file.read(_PIECE))
    return digest.hexdigest()
