"""Files as data URIs, so that a page carries its sounds and pictures in itself."""

import base64
import tempfile
from pathlib import Path

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.files import audio

_MIME_TYPES = {"flac": "audio/flac", "opus": "audio/ogg"}


def data_uri(mime_type: str, data: bytes) -> str:
    """What stands for a file in a page's `src`."""
    return f"data:{mime_type};base64,{base64.b64encode(data).decode('ascii')}"


def sound_uri(samples: Array, sample_rate: int, codec: str = "flac") -> str:
    """A mono signal [n_samples] as a playable data URI; "flac" is exact to 16 bits, "opus" a fifth of its size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound.{codec}"
        subtype = None if codec == "opus" else "PCM_16"
        audio.write(path, np.clip(samples, -1.0, 1.0), sample_rate, subtype=subtype)
        return data_uri(_MIME_TYPES[codec], path.read_bytes())
