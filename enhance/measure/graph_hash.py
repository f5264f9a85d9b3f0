"""Hash of what an ONNX file computes, its card left out: figures written into a card change no output."""

from hashlib import sha256
from pathlib import Path

from quietmic.enhance.onnxfile import METADATA_FIELD, find_fields, open_bytes


def hash_graph(path: Path) -> str:
    """SHA-256 of an ONNX file without its metadata; of the whole file where it is none."""
    with open_bytes(path) as data:
        try:
            fields = find_fields(data, 0, len(data))
            parts = [(begin, end) for field, begin, _, end in fields if field != METADATA_FIELD]
        except (IndexError, ValueError):
            parts = [(0, len(data))]
        digest = sha256()
        for begin, end in parts:
            digest.update(data[begin:end])
    return digest.hexdigest()
