"""How a live run is at this moment, for a page that shows it moving."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.devices.session import Session
from quietmic.devices.summary import describe_state
from quietmic.enhance.arrays import Array

_N_BANDS = 64
_N_FFT = 512
_TOP_DB, _RANGE_DB = -25.0, 75.0  # of a band, where a sine of full scale has -12 dB
_N_MESSAGES = 5
_WINDOW = np.hanning(_N_FFT).astype(np.float32)


def read_meters(session: Session) -> dict[str, Any]:
    """State, levels and a column of each spectrogram, for JSON."""
    figures = session.summary()
    names = ("n_mics", "duration_s", "noise_reduction_db", "input_db", "output_db", "rtf", "rtf_p99", "steps_down")
    return {
        **describe_state(session),
        **{name: figures[name] for name in names},
        "gaps": figures["underruns"] + figures["overruns"],
        "microphones_db": session.levels.microphones_db,
        "columns": [base64.b64encode(spectrum(heard).tobytes()).decode() for heard in session.levels.recent()],
        "messages": [text for _, text in list(session.messages)[-_N_MESSAGES:]],
    }


def spectrum(samples: Array) -> NDArray[np.uint8]:
    """[64] levels of the bands from 0 to half the rate, 0..255 over 75 dB, of the last 512 samples."""
    last = np.pad(samples[-_N_FFT:], (max(0, _N_FFT - len(samples)), 0))
    bins = np.abs(np.fft.rfft(last * _WINDOW))[1:].reshape(_N_BANDS, -1).max(axis=1) / _N_FFT
    levels_db = 20 * np.log10(bins + 1e-7)
    return np.round(255 * np.clip((levels_db - _TOP_DB) / _RANGE_DB + 1.0, 0.0, 1.0)).astype(np.uint8)
