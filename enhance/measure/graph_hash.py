"""Hash of what an ONNX file computes, its card left out: figures written into a card change no output."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

METADATA_FIELD = 14  # metadata_props of ModelProto, where the card lies (onnx.proto)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def hash_graph(path: Path) -> str:
    """SHA-256 of an ONNX file without its metadata; of the whole file where it is none."""
    data = memoryview(path.read_bytes())
    try:
        parts = [data[start:end] for field, start, end in _fields(data) if field != METADATA_FIELD]
    except (IndexError, ValueError):
        parts = [data]
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _fields(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of the fields of a protobuf message."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            at += length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"no wire type {wire}")
        if at > len(data):
            raise ValueError("cut off")
        yield tag >> 3, start, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
