"""A synthetic voice and tiny folders of pairs for the tests of peers, evaluation, bench and report."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from quietmic.enhance.arrays import Array
from quietmic.enhance.measure import job

RATE = 16000


def voice(seconds: float, seed: int = 0) -> Array:
    """Something that denoisers and measures take for speech: pulses of 100 to 140 Hz, three formants, 4 syllables/s."""
    rng = np.random.default_rng(seed)
    n_samples = int(seconds * RATE)
    time = np.arange(n_samples) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6))
    pulses = (np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0) > 0).astype(np.float64)
    freqs = np.fft.rfftfreq(n_samples, 1 / RATE)
    response = sum(g / (1 + ((freqs - f) / 90) ** 2) for f, g in ((600, 1.0), (1300, 0.5), (2600, 0.25)))
    vowels = np.fft.irfft(np.fft.rfft(pulses) * response, n_samples)
    syllables = np.clip(np.sin(2 * np.pi * 2 * time), 0, None) ** 0.5
    signal = vowels * syllables
    return (0.3 * signal / np.abs(signal).max()).astype(np.float32)


def write_pairs(folder: Path, n_scenes: int = 3, n_mics: int = 1, seconds: float = 4.6) -> Path:
    """A scenes folder (noisy/, clean/, manifest.csv) of synthetic voices in white noise at 0, 5, 10... dB.

    DNSMOS repeats short signals up to 9 s and beyond: 4.6 s costs it the least.
    """
    (folder / "noisy").mkdir(parents=True)
    (folder / "clean").mkdir()
    rows = []
    for index in range(n_scenes):
        rng = np.random.default_rng(index)
        clean = voice(seconds, index)
        snr_db = 5.0 * index
        level = clean.std() * 10 ** (-snr_db / 20)
        noisy = clean + level * rng.standard_normal((n_mics, clean.size))
        name = f"scene_{index:03d}"
        soundfile.write(folder / "noisy" / f"{name}.flac", noisy.T, RATE)
        soundfile.write(folder / "clean" / f"{name}.flac", clean, RATE)
        rows.append({"name": name, "noise": ["fan", "street"][index % 2], "snr_db": snr_db, "n_mics": n_mics})
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def lag(reference: Array, other: Array) -> int:
    """Samples by which `other` comes after `reference`: the peak of their cross-correlation."""
    n_fft = 2 * reference.size
    correlation = np.fft.irfft(np.fft.rfft(other, n_fft) * np.conj(np.fft.rfft(reference, n_fft)), n_fft)
    peak = int(np.argmax(correlation))
    return peak if peak < n_fft // 2 else peak - n_fft


def stop_after_four(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """An evaluation that is stopped by an error when four of its jobs are done."""
    measure, done = job.evaluate_job, []

    def evaluate_or_stop(one: job.Job) -> dict[str, Any]:
        if len(done) == 4:
            raise error
        done.append(one)
        return measure(one)

    monkeypatch.setattr(job, "evaluate_job", evaluate_or_stop)
