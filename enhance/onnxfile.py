"""ONNX files read without ONNX Runtime: where their fields lie, and the metadata in which a model's card travels.

An ONNX file is one protobuf message (ModelProto of onnx.proto); its fields are found by stepping from length to length.
"""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from quietmic.enhance.card import CARD_KEY, ModelCard
from quietmic.enhance.errors import QuietmicError

METADATA_FIELD = 14  # metadata_props of ModelProto, each a StringStringEntryProto with a key (1) and a value (2)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf

_GRAPH, _INPUT, _OUTPUT = 7, 11, 12  # the graph of ModelProto, and what it takes and gives, each a ValueInfoProto

Bytes = bytes | mmap.mmap
T = TypeVar("T")


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives, and what is told of it.

    Attributes:
        metadata: by key.
        inputs: shapes by name; a size that is open has a name, or none ("").
        outputs: names.
    """

    metadata: dict[str, str]
    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]


def read_card(path: str | Path) -> ModelCard:
    """A model's card, for a thousandth of what opening the model takes.

    Args:
        path: ONNX file with a card in its metadata.

    Raises:
        QuietmicError: missing, no ONNX file, or without a card.
    """
    return choose_card(path, read_metadata(path))


def choose_card(path: str | Path, metadata: dict[str, str]) -> ModelCard:
    """The card among the metadata of an ONNX file, which is named where there is none.

    Raises:
        QuietmicError: without a card, or with one that cannot be read.
    """
    if CARD_KEY not in metadata:
        raise QuietmicError(f"{path} has no model card: write it with `quietmic export`")
    try:
        return ModelCard.from_json(metadata[CARD_KEY])
    except QuietmicError as error:
        raise QuietmicError(f"{path}: {error}") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of an ONNX file by key; the graph is skipped, not read.

    Raises:
        QuietmicError: missing, or no ONNX file.
    """
    return _read(Path(path), _metadata)


def read_signature(path: str | Path) -> Signature:
    """Inputs, outputs and metadata of an ONNX file, whose weights are skipped.

    Raises:
        QuietmicError: missing, or no ONNX file.
    """
    return _read(Path(path), _signature)


def _read(path: Path, what: Callable[[Bytes], T]) -> T:
    if not path.is_file():
        raise QuietmicError(f"no model file at {path}", exit_code=2)
    try:
        with open_bytes(path) as data:
            return what(data)
    except (IndexError, ValueError, KeyError) as error:
        raise QuietmicError(f"{path} is no ONNX file, or a damaged one") from error


@contextmanager
def open_bytes(path: Path) -> Iterator[Bytes]:
    """The bytes of a file, of which only those that are looked at are read."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:  # nothing that could be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def find_fields(data: Bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, where it begins, where its content begins, where it ends) of the fields of a protobuf message.

    Raises:
        ValueError, IndexError: this is no such message.
    """
    while at < end:
        begin = at
        tag, at = _varint(data, at)
        wire = tag & 7
        content = at
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _BYTES:
            length, content = _varint(data, at)
            at = content + length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"no wire type {wire}")
        if at > end:
            raise ValueError("cut off")
        yield tag >> 3, begin, content, at


def _each(data: Bytes, at: int, end: int, wanted: int) -> list[tuple[int, int]]:
    """Where the contents of all fields of one number begin and end."""
    return [(start, stop) for field, _, start, stop in find_fields(data, at, end) if field == wanted]


def _metadata(data: Bytes) -> dict[str, str]:
    return dict(_entry(data[start:stop]) for start, stop in _each(data, 0, len(data), METADATA_FIELD))


def _signature(data: Bytes) -> Signature:
    inputs, outputs = {}, []
    for start, stop in _each(data, 0, len(data), _GRAPH):
        for field, _, a, b in find_fields(data, start, stop):
            if field in (_INPUT, _OUTPUT):
                name, shape = _value_info(data[a:b])
                if field == _INPUT:
                    inputs[name] = shape
                else:
                    outputs.append(name)
    return Signature(_metadata(data), inputs, tuple(outputs))


def _value_info(data: bytes) -> tuple[str, tuple[int | str, ...]]:
    """Name (1) and, down the path of type (2), tensor (1) and shape (2), the sizes of a ValueInfoProto."""
    names = [data[a:b].decode() for a, b in _each(data, 0, len(data), 1)]
    places = [(0, len(data))]
    for field in (2, 1, 2, 1):  # the last: each of its dimensions
        places = [inner for a, b in places for inner in _each(data, a, b, field)]
    return names[0], tuple(_size(data, a, b) for a, b in places)


def _size(data: bytes, at: int, end: int) -> int | str:
    """A dimension: its value (1), or its name (2)."""
    for field, _, a, b in find_fields(data, at, end):
        return _varint(data, a)[0] if field == 1 else data[a:b].decode()
    return ""


def _entry(data: bytes) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    parts = {field: data[start:end].decode() for field, _, start, end in find_fields(data, 0, len(data))}
    return parts[1], parts.get(2, "")


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
