"""Where the channels of a sound stand around the listener, and how ffmpeg is kept from mixing them.

Between an encoder and sound whose places it does not know, ffmpeg puts a mixer without a word: of four channels "quad"
it makes four others. So the way of a sound is rehearsed with a moment of silence, and the places are told so that
nothing has to be mixed.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.media import START_S, Media, find_programs, probe

_USUAL = {
    3: ("3.0", "2.1"),
    4: ("4.0", "quad", "3.1"),
    5: ("5.0", "5.0(side)", "4.1"),
    6: ("5.1", "5.1(side)", "6.0"),
    7: ("6.1", "6.1(back)", "7.0"),
    8: ("7.1", "octagonal", "7.1(wide)"),
}
"""Number of channels: places that encoders know, the likeliest first."""

_WITHOUT_LFE = {3: ("3.0",), 4: ("quad", "4.0"), 5: ("5.0",), 6: ("6.0", "hexagonal"), 7: ("7.0",), 8: ("octagonal",)}
"""Those for channels of which nobody said where they stand: codings keep only the bass of one for bass."""

_REHEARSAL_S = 0.3


def raw_input(n_channels: int, sample_rate: int, layout: str) -> list[str]:
    """Options for samples that come through a pipe; "" where the places of their channels are not known."""
    places = ["-channel_layout", layout] if layout else ["-ac", str(n_channels)]
    return ["-f", "f32le", "-ar", str(sample_rate), *places, "-i", "pipe:0"]


def choose_layout(path: Path, n_channels: int, sample_rate: int, wanted: str | None, coding: Sequence[str]) -> str:
    """The places to tell the encoder, by which every channel stays what it is.

    Args:
        path: final name of the output.
        n_channels: more than two; fewer are never mixed.
        sample_rate: Hz.
        wanted: the places in the source, as ffmpeg calls them; "" for what is usual, None where there are none.
        coding: options that choose the encoder.

    Raises:
        QuietmicError: the encoder cannot hold so many channels.
    """
    first = (wanted,) if wanted is not None else (*_WITHOUT_LFE.get(n_channels, ()), "")
    for asked in dict.fromkeys((*first, *_USUAL.get(n_channels, ()))):
        got = rehearse(path, n_channels, sample_rate, asked, coding)
        if got is None or got.info.n_channels != n_channels:
            continue
        if got.layout in ("", asked):
            return asked
        again = rehearse(path, n_channels, sample_rate, got.layout, coding)
        if again and (again.info.n_channels, again.layout) == (n_channels, got.layout):
            return got.layout
    raise QuietmicError(f"{path}: the coding of sound in .{path.suffix[1:]} does not hold {n_channels} channels")


def rehearse(path: Path, n_channels: int, sample_rate: int, layout: str, coding: Sequence[str]) -> Media | None:
    """What becomes of a moment of silence; None where it cannot be written."""
    silence = bytes(4 * n_channels * int(_REHEARSAL_S * sample_rate))
    with tempfile.TemporaryDirectory(prefix="quietmic-") as folder:
        target = Path(folder) / f"rehearsal{path.suffix}"
        command = [find_programs(path)[0], "-v", "error", *raw_input(n_channels, sample_rate, layout), *coding]
        try:
            subprocess.run(
                [*command, f"file:{target}"], input=silence, capture_output=True, timeout=START_S, check=True
            )
            return probe(target, path)
        except (subprocess.SubprocessError, OSError, QuietmicError):
            return None
