"""Pictures of sounds, one above the other on one scale; needs matplotlib (extra `plots`)."""

from pathlib import Path

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.card import StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.stft import Stft

_RANGE_DB = 70.0


def save_spectrograms(path: Path, signals: dict[str, Array], sample_rate: int, title: str = "") -> None:
    """Writes one picture with a spectrogram for each signal.

    Args:
        path: PNG, or another format that matplotlib knows by its extension.
        signals: title -> [n_samples].
        sample_rate: Hz.
        title: above the picture.

    Raises:
        QuietmicError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise QuietmicError('pictures need matplotlib: pip install "quietmic[plots]"') from error
    levels = {name: _level_db(samples) for name, samples in signals.items()}
    top = max(level.max() for level in levels.values())
    figure = Figure(figsize=(9, 2.4 * len(signals)), layout="constrained")
    axes = figure.subplots(len(signals), sharex=True, squeeze=False)[:, 0]
    for axis, (name, level) in zip(axes, levels.items(), strict=True):
        extent = (0.0, len(signals[name]) / sample_rate, 0.0, sample_rate / 2000)
        image = axis.imshow(
            level, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - _RANGE_DB, vmax=top
        )
        axis.set_title(name, loc="left", fontsize="medium")
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("s")
    figure.colorbar(image, ax=axes, label="dB")
    if title:
        figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _level_db(samples: Array) -> Array:
    """[n_freqs, n_frames] of a signal [n_samples]."""
    stft = Stft(StftConfig())
    hop_length = stft.config.hop_length
    padded = np.pad(samples, (0, hop_length + -len(samples) % hop_length))[None]
    spectra = stft.analyse(padded, stft.initial_state(1))[0]
    return 20 * np.log10(np.abs(spectra) + np.float32(1e-6))
