"""WAV whose length nobody knows ahead: written as RF64, and made plain WAV at the end where that can count it.

As EBU Tech 3306 has it. The library can do so by itself, but its Python package passes on no way to ask for it.
"""

from typing import IO

from quietmic.enhance.files.chunks import Chunk, walk

WAV_LIMIT = (1 << 32) - (1 << 20)
"""Bytes of a WAV: its header counts to 2^32, and what comes close to that stands for "unknown"."""

_INTEGERS, _FLOATS, _EXTENSIBLE = b"\x01\x00", b"\x03\x00", b"\xfe\xff"  # codings in a "fmt "
_FILLING = b"JUNK"


def make_plain(file: IO[bytes], keeps_places: bool) -> bool:
    """Gives a whole RF64 file the header of WAV, unless it is too long for that; whether it did.

    The new header is as long as the old one, so that no sample moves: a chunk that is passed over fills it up.

    Args:
        file: open for reading and writing.
        keeps_places: the header goes on telling the places of the channels, which not all programs read.
    """
    n_bytes = file.seek(0, 2)
    if n_bytes > WAV_LIMIT:
        return False
    chunks: list[Chunk] = []
    for chunk in walk(file, 0, n_bytes):
        chunks.append(chunk)
        if chunk.name == b"data":
            break
    found = {chunk.name: _contents(file, chunk) for chunk in chunks[:-1]}
    sound_bytes, n_samples = (int.from_bytes(found[b"ds64"][at : at + 8], "little") for at in (8, 16))
    form = found[b"fmt "] if keeps_places else _plain_form(found[b"fmt "])
    kept = [(b"fmt ", form)]
    if form[:2] != _INTEGERS:
        kept.append((b"fact", n_samples.to_bytes(4, "little")))
    kept += [(name, contents) for name, contents in found.items() if name not in (b"ds64", b"fmt ", b"fact")]
    head = b"".join(_chunk(name, contents) for name, contents in kept)
    n_filled = chunks[-1].header - 12 - len(head) - 8
    head += _chunk(_FILLING, bytes(n_filled)) + b"data" + sound_bytes.to_bytes(4, "little")
    file.seek(0)
    file.write(b"RIFF" + (n_bytes - 8).to_bytes(4, "little") + b"WAVE" + head)
    return True


def _contents(file: IO[bytes], chunk: Chunk) -> bytes:
    file.seek(chunk.start)
    return file.read(chunk.size)


def _chunk(name: bytes, contents: bytes) -> bytes:
    return name + len(contents).to_bytes(4, "little") + contents + bytes(len(contents) & 1)


def _plain_form(form: bytes) -> bytes:
    """What tells the coding, in its oldest form, which every program reads."""
    if form[:2] != _EXTENSIBLE:
        return form
    code = form[24:26]
    return code + form[2:16] + (b"" if code in (_INTEGERS, _FLOATS) else bytes(2))
