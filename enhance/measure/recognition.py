"""Word error: what a speech recogniser understands of a recording whose words are known.

The recogniser is PocketSphinx with the American English model that its wheel holds, so that nothing is fetched. It is
small and old: read the difference that an enhancer makes to it, not the level.
"""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.rates import at_rate

WORD_ERROR = "wer"  # name of the figure
WORDS_FACT = "text"  # column of a manifest
_RATE = 16000  # of the recogniser's acoustic model
_PACKAGES = ("jiwer", "pocketsphinx")
# Raised whenever a change here may change a figure; part of the cache keys of recordings whose words are known.
_REVISION = 2


def recogniser_versions() -> dict[str, str]:
    """Versions of what computes word errors: package -> version.

    Raises:
        QuietmicError: one of them is not installed.
    """
    try:
        return {"revision": str(_REVISION)} | {package: version(package) for package in _PACKAGES}
    except PackageNotFoundError as error:
        message = 'word error needs a recogniser: pip install "quietmic[asr]"'
        raise QuietmicError(message, exit_code=2) from error


def word_error(words: str, samples: Array, sample_rate: int) -> float | None:
    """Errors of the recogniser for each word that was said: substitutions, deletions and insertions, by jiwer.

    Args:
        words: what is said, numbers spelled out; case and punctuation do not count.
        samples: mono, [n_samples].
        sample_rate: hertz.

    Returns:
        0 where every word is understood, 1 where none is; more where others are heard besides. None without words.
    """
    import jiwer

    said = _plain(words)
    return float(jiwer.wer(said, _plain(recognise(samples, sample_rate)))) if said else None


def recognise(samples: Array, sample_rate: int) -> str:
    """The words that are heard in a mono signal [n_samples], each signal on its own."""
    decoder = _decoder()
    pcm = np.rint(np.clip(at_rate(samples, sample_rate, _RATE), -1.0, 1.0) * 32767).astype("<i2")
    decoder.start_utt()
    # As one whole the signal is normalised by its own mean and by nothing that was heard before.
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    return heard.hypstr if heard else ""


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))


@cache
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(samprate=_RATE, cmn="batch", loglevel="FATAL")
