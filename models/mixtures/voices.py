"""Voices that the recordings lack: a whisper, made of any talker."""

import numpy as np

FRAME, HOP = 512, 256  # samples
ORDER = 20  # of the all-pole model: formants, and no harmonics of the voice
FLOOR = 1e-9  # of the model's power, so that digital silence has a model, and stays silent
FLATTER_DB, FLATTER_HZ = (3.0, 15.0), (400.0, 1500.0)  # by how much, and from where down, a whisper lacks low sounds


def whispered(rng: np.random.Generator, speech: np.ndarray, sample_rate: int) -> np.ndarray:
    """Speech [n_samples] as its talker would whisper it: noise through the formants of each frame, low sounds weaker.

    An all-pole model of each frame (linear prediction) is driven by noise of the power of what it leaves.
    """
    window = np.sqrt(np.hanning(FRAME + 1)[:-1])
    frames = _frames(speech) * window  # [n_frames, FRAME]
    power = np.abs(np.fft.rfft(frames, 2 * FRAME)) ** 2
    correlation = np.fft.irfft(power)[:, : ORDER + 1]
    lags = np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))
    system = correlation[:, lags] + (1e-4 * correlation[:, :1, None] + FLOOR) * np.eye(ORDER)
    taps = np.linalg.solve(system, correlation[:, 1:, None])[..., 0]  # [n_frames, ORDER]
    left = np.maximum(correlation[:, 0] - (taps * correlation[:, 1:]).sum(axis=1), 0)
    poles = np.fft.rfft(np.concatenate([np.ones((len(taps), 1)), -taps], axis=1), FRAME)
    # the squared window sums to half a frame
    gains = np.sqrt(2 * left / FRAME)[:, None] / np.abs(poles) * _flatter(rng, sample_rate)
    noise = np.fft.rfft(_frames(rng.normal(size=len(speech))) * window)
    parts = np.fft.irfft(gains * noise) * window
    whisper = np.zeros((len(parts) + 1) * HOP)
    for k, part in enumerate(parts):
        whisper[k * HOP : k * HOP + FRAME] += part
    return whisper[HOP : HOP + len(speech)].astype(np.float32)


def _frames(samples: np.ndarray) -> np.ndarray:
    """Frames [n_frames, FRAME] of samples, half a frame of silence before and enough behind."""
    n_frames = len(samples) // HOP + 2
    padded = np.zeros((n_frames + 1) * HOP)
    padded[HOP : HOP + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]


def _flatter(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Gains [n_freqs] that fall below a drawn frequency: without vocal cords the lowest octaves are missing."""
    freqs = np.fft.rfftfreq(FRAME, 1 / sample_rate)
    octaves = np.log2(np.clip(freqs, 60.0, None) / rng.uniform(*FLATTER_HZ))
    return 10 ** (np.clip(octaves, -2.0, 0.0) * rng.uniform(*FLATTER_DB) / 2 / 20)
