"""Measures of what recordings above 16 kHz hold beyond the reach of the measures at 16 kHz.

All signals are mono, [n_samples], at one rate; reference and estimate are aligned and of equal length. None means "not
measured", as in `metrics.py`.
"""

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.measure.metrics import METRIC_RATE, si_sdr

RANGES_HZ = {"high": (8000.0, 20000.0), "whole": (100.0, 20000.0)}
WIDEBAND_NAMES = tuple(f"{measure}_{name}" for measure in ("si_sdr", "lsd") for name in RANGES_HZ)
# Raised whenever a change here may change a figure; part of the cache keys of recordings above 16 kHz.
WIDEBAND_REVISION = 1

_FRAME_S = 0.032
_DYNAMIC_RANGE_DB = 50.0


def measure_wideband(reference: Array | None, estimate: Array, sample_rate: int) -> dict[str, float | None]:
    """SI-SDR and log-spectral distance from 8 to 20 kHz and of the whole band, keyed by WIDEBAND_NAMES.

    Without a reference, and at 16 kHz and below, nothing is measured.
    """
    if reference is None or sample_rate <= METRIC_RATE:
        return dict.fromkeys(WIDEBAND_NAMES)
    figures: dict[str, float | None] = {}
    for name, (low_hz, high_hz) in RANGES_HZ.items():
        parts = [take_range(x, sample_rate, low_hz, high_hz) for x in (reference, estimate)]
        figures[f"si_sdr_{name}"] = si_sdr(*parts)
        figures[f"lsd_{name}"] = log_spectral_distance(reference, estimate, sample_rate, low_hz, high_hz)
    return figures


def take_range(samples: Array, sample_rate: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """The part of a signal between two frequencies, by one transform of the whole."""
    spectrum = np.fft.rfft(samples.astype(np.float64))
    hertz = np.fft.rfftfreq(samples.size, 1 / sample_rate)
    spectrum[(hertz < low_hz) | (hertz >= high_hz)] = 0
    return np.fft.irfft(spectrum, samples.size)


def log_spectral_distance(
    reference: Array, estimate: Array, sample_rate: int, low_hz: float, high_hz: float
) -> float | None:
    """Root mean square over frequency of the difference of two spectra in dB, mean over frames of 32 ms.

    Both count as 50 dB below the loudest that the reference has in the range where they lie lower, so that silence and
    what nobody hears beside the speech do not decide (Cohen and Gannot, Spectral Enhancement Methods, 2008).

    Args:
        reference: [n_samples].
        estimate: [n_samples].
        sample_rate: Hz.
        low_hz: lower end of the range.
        high_hz: its upper end; half the sampling rate where that is lower.

    Returns:
        dB; None where the reference is silent in the range or shorter than a frame.
    """
    n_fft = 2 * round(_FRAME_S * sample_rate / 2)
    hertz = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    inside = (hertz >= low_hz) & (hertz < high_hz)
    if reference.size < n_fft or not inside.any():
        return None
    powers = []
    for samples in (reference, estimate):
        frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[:: n_fft // 4]
        powers.append(np.abs(np.fft.rfft(frames * np.hanning(n_fft))[:, inside]) ** 2)
    floor = powers[0].max() * 10 ** (-_DYNAMIC_RANGE_DB / 10)
    if not floor or not np.isfinite(powers[1]).all():
        return None
    clean_db, other_db = (10 * np.log10(np.maximum(power, floor)) for power in powers)
    return float(np.sqrt(np.mean((clean_db - other_db) ** 2, axis=1)).mean())
