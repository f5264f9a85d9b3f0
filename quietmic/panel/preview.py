"""Before and after, to hear and to see: one sound with both inside, and pictures of few columns."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.files.audio import AudioReader
from quietmic.enhance.files.writer import open_flac
from quietmic.enhance.samples import silence_non_finite

_N_COLUMNS = 1000  # of a picture, at most
_N_BANDS = 128
_RANGE_DB = 70.0
_WINDOW_S = 0.032
_WINDOWS = 4  # of a column, at most: a long file's columns are longer than that
_LOUD = 0.1  # the part of the columns that counts as speech
_MOST_GAIN_DB = 12.0


@dataclass(frozen=True)
class Preview:
    """Pictures of a sound before and after.

    Attributes:
        seconds: length.
        sample_rate: Hz; a spectrogram reaches to its half.
        n_channels: of each of the two in the sound: the first half of its channels is before, the other after.
        gain_db: by which what comes after is to be raised, so that its speech is as loud as before.
        peaks: [2, n_columns] of the first channel, 0..1.
        levels: [2, n_bands, n_columns] of it, 0..255 over 70 dB, low frequencies first.
    """

    seconds: float
    sample_rate: int
    n_channels: int
    gain_db: float
    peaks: Array
    levels: NDArray[np.uint8]

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON; arrays are bytes in base64, row by row."""
        peaks = np.round(255 * np.clip(self.peaks, 0, 1)).astype(np.uint8)
        return {
            "seconds": self.seconds,
            "khz": self.sample_rate / 2000,
            "channels": self.n_channels,
            "gain_db": self.gain_db,
            "columns": peaks.shape[1],
            "bands": self.levels.shape[1],
            "peaks": [base64.b64encode(row.tobytes()).decode() for row in peaks],
            "levels": [base64.b64encode(rows.tobytes()).decode() for rows in self.levels],
        }


def make_preview(
    before: Path, after: Path, n_samples: int, sound: Path, go_on: Callable[[], None] = lambda: None
) -> Preview:
    """Reads both files once, in constant memory, and writes the sound that has both inside.

    Args:
        before: the noisy file.
        after: the enhanced one, of the same length and rate.
        n_samples: length.
        sound: FLAC to write: the channels of one, then as many of the other, two each at most.
        go_on: called from time to time; what it raises ends the work.

    Raises:
        QuietmicError: a file that cannot be read.
    """
    with AudioReader(before) as first, AudioReader(after) as second:
        rate = first.info.sample_rate
        n_channels = min(first.info.n_channels, second.info.n_channels, 2)
        length = max(round(_WINDOW_S * rate / 4), -(-n_samples // _N_COLUMNS))
        block_length = length * max(1, rate // length)
        columns = [_Columns(length, rate), _Columns(length, rate)]
        with sound.open("w+b") as file, open_flac(file, 2 * n_channels, rate) as writer:
            for pair in zip(first.blocks(block_length), second.blocks(block_length), strict=False):
                go_on()
                blocks = [silence_non_finite(block)[0] for block in pair]  # FLAC and pictures hold numbers alone
                n = min(block.shape[1] for block in blocks)
                for each, block in zip(columns, blocks, strict=True):
                    each.add(block[0, :n])
                writer.write(np.concatenate([block[:n_channels, :n] for block in blocks]).T)
    levels = np.stack([each.levels_db() for each in columns])
    top_db = float(levels[0].max(initial=-_RANGE_DB))
    scaled = np.clip((levels - top_db) / _RANGE_DB + 1.0, 0.0, 1.0)
    gain_db = _gain_db(columns[0].energies(), columns[1].energies())
    peaks = np.stack([each.peaks() for each in columns])
    return Preview(n_samples / rate, rate, n_channels, gain_db, peaks, np.round(255 * scaled).astype(np.uint8))


class _Columns:
    """Peak, energy and spectrum of each stretch of one length."""

    def __init__(self, length: int, sample_rate: int) -> None:
        self._length = length
        self._n_fft = 2 * _N_BANDS * max(1, round(_WINDOW_S * sample_rate / (2 * _N_BANDS)))
        self._window = np.hanning(self._n_fft).astype(np.float32)
        n_windows = min(_WINDOWS, max(1, 2 * length // self._n_fft))
        self._ends = np.linspace(length / n_windows, length, n_windows).astype(int)
        self._last: Array = np.zeros(self._n_fft, np.float32)
        self._peaks: list[Array] = []
        self._energies: list[Array] = []
        self._levels: list[Array] = []

    def add(self, samples: Array) -> None:
        """Takes in [n_samples], whole columns but at the end."""
        if not len(samples):
            return
        padded = np.pad(samples, (0, -len(samples) % self._length))
        columns = padded.reshape(-1, self._length)
        self._peaks.append(np.abs(columns).max(axis=1))
        self._energies.append(np.einsum("cn,cn->c", columns, columns))
        heard = np.concatenate((self._last, padded))  # so that a window reaches into the block before
        starts = self._length * np.arange(len(columns))[:, None] + self._ends
        frames = np.lib.stride_tricks.sliding_window_view(heard, self._n_fft)[starts] * self._window
        bins = np.abs(np.fft.rfft(frames)[..., 1:])
        bands = bins.reshape(*bins.shape[:2], _N_BANDS, -1).max(axis=(1, 3))
        self._levels.append(20 * np.log10(bands / self._n_fft + 1e-7))
        self._last = heard[-self._n_fft :]

    def peaks(self) -> Array:
        """The loudest sample of each column, [n_columns]."""
        return np.concatenate([*self._peaks, np.zeros(0, np.float32)])

    def energies(self) -> Array:
        """Sum of the squares of each column, [n_columns]."""
        return np.concatenate([*self._energies, np.zeros(0, np.float32)])

    def levels_db(self) -> Array:
        """Level of each band in each column, [n_bands, n_columns]."""
        return np.concatenate([*self._levels, np.zeros((0, _N_BANDS), np.float32)]).T


def _gain_db(before: Array, after: Array) -> float:
    """By how much less loud the speech is after, which is taken to be what is loudest before."""
    loud = np.argsort(before)[-max(1, round(_LOUD * len(before))) :]
    energy, energy_after = float(before[loud].sum()), float(after[loud].sum())
    if energy <= 0 or energy_after <= 0:
        return 0.0
    return float(np.clip(10 * np.log10(energy / energy_after), -_MOST_GAIN_DB, _MOST_GAIN_DB))
