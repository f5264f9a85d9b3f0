"""Sound tracks made and looked into by the program ffmpeg, for tests of what becomes of them."""

import json
import subprocess
from pathlib import Path

import numpy as np

RATE = 48000


def ffmpeg(*options: object) -> bytes:
    command = ["ffmpeg", "-v", "error", "-y", *map(str, options)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def sound_of(path: Path) -> dict:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-select_streams", "a:0", str(path)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["streams"][0]


def babble(n_channels: int, n_samples: int = RATE // 2, rate: int = RATE) -> np.ndarray:
    """Noise as low as speech, another in each channel, each channel louder than the one before."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal((n_channels, n_samples)))
    hz = np.fft.rfftfreq(n_samples, 1 / rate)
    noise = np.fft.irfft(spectrum * ((hz > 300) & (hz < 3000)), n_samples)
    level = 0.03 * (1 + np.arange(n_channels))[:, None]
    return (level * noise / noise.std(axis=1, keepdims=True)).astype(np.float32)


def make_raw(folder: Path, n_channels: int, layout: str = "", n_samples: int = RATE // 2) -> list[object]:
    """Input options of ffmpeg for channels that stand somewhere."""
    babble(n_channels, n_samples).T.tofile(folder / "raw")
    places = ["-channel_layout", layout] if layout else ["-ac", n_channels]
    return ["-f", "f32le", "-ar", RATE, *places, "-i", folder / "raw"]


def lag_of(late: np.ndarray, early: np.ndarray) -> int:
    """Samples by which one sound comes later than another."""
    n_fft = 2 * max(len(late), len(early))
    likeness = np.fft.irfft(np.fft.rfft(late, n_fft) * np.conj(np.fft.rfft(early, n_fft)))
    at = int(np.argmax(likeness))
    return at if at < n_fft // 2 else at - n_fft
