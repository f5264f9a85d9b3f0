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
