"""What a training run tells and keeps: log.csv, log.png, and validation figures."""

import csv
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from quietmic.enhance.card import StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.measure import metrics
from quietmic.enhance.measure.rates import at_rate
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.progress import Progress
from quietmic.models.networks.spectra import analysis, synthesis
from quietmic.models.training.config import TrainConfig

logger = logging.getLogger(__name__)

COLUMNS = ("minutes", "step", "audio_hours", "loss", "n_mics", "si_sdr", "stoi", "pesq_wb")
LOG_EVERY = 50
N_SCENES = 20
Scores = tuple[float, float, float]  # SI-SDR in dB, STOI, PESQ-WB


class Run(Protocol):
    """What is shown and scored of a run; a `Trainer` is one.

    Attributes:
        config: of the training.
        device: where it computes.
        stft: of its networks.
        average: holds the averaged network as `module`.
        step, minutes, audio_s: how far it is.
        skipped: steps whose loss or gradient was no number.
    """

    config: TrainConfig
    device: torch.device
    stft: StftConfig
    average: Any
    step: int
    skipped: int
    minutes: float
    audio_s: float

    def beam(self, noisy: Tensor, chosen: dict[str, Tensor]) -> Tensor:
        """The beamformer's output for spectra noisy, or the reference."""


class TrainLog:
    """Collects the losses of a run; a row of log.csv every LOG_EVERY steps and at every validation."""

    def __init__(self, folder: Path, minutes: float, progress: Progress) -> None:
        self._minutes, self._progress = minutes, progress
        self._path = folder / "log.csv"
        self._losses: list[float] = []
        if not self._path.exists():
            self._write(COLUMNS)
        self._first_minutes: float | None = None
        self._n_scenes = N_SCENES

    def step(self, trainer: Run, loss: float) -> None:
        """Takes in the loss of one step, and tells how far the run is."""
        if self._first_minutes is None:
            self._first_minutes = trainer.minutes
        if math.isfinite(loss):
            self._losses.append(loss)
        note = f"step {trainer.step}, loss {np.mean(self._losses[-LOG_EVERY:] or [math.nan]):.3f}"
        if trainer.skipped:
            note += f", {trainer.skipped} steps skipped: no numbers"
        self._progress("training", trainer.minutes - self._first_minutes, self._minutes, note)
        if len(self._losses) >= LOG_EVERY:
            self._write((*_how_far(trainer), f"{np.mean(self._losses):.4f}", "", "", "", ""))
            self._losses.clear()

    def plan_validation(self, trainer: Run, scenes: Path, at_most: float) -> float:
        """Minutes that `validate` will take, by what the first scene takes; finds out whether there is one.

        Where the usual number of scenes would take more minutes than `at_most`, it takes as many as that leaves.
        """
        begin = time.perf_counter()
        n_mics = _numbers_of_mics(trainer)
        for noisy, clean in read_scenes(scenes, 1):
            score(trainer, noisy[: n_mics[-1]], clean)
        one = len(n_mics) * (time.perf_counter() - begin) / 60
        self._n_scenes = min(N_SCENES, max(1, int(at_most / one)))
        if self._n_scenes < N_SCENES:
            logger.warning("validations hear %d of %d scenes: more would take the time", self._n_scenes, N_SCENES)
        return self._n_scenes * one

    def validate(self, trainer: Run, scenes: Path) -> None:
        """Means over the first scenes, with one microphone and, where the run trains on arrays, with all of them."""
        for n_mics in _numbers_of_mics(trainer):
            rows: list[Scores] = []
            for noisy, clean in read_scenes(scenes, self._n_scenes):
                rows.append(score(trainer, noisy[:n_mics], clean))
                self._progress(f"validating, {n_mics} mic", len(rows), self._n_scenes)
            means = [f"{np.nanmean([row[k] for row in rows]):.4f}" for k in range(3)]
            self._write((*_how_far(trainer), "", n_mics, *means))
        plot(self._path)

    def close(self) -> None:
        """Draws the log a last time."""
        plot(self._path)

    def _write(self, row: tuple[object, ...]) -> None:
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow(row)


def _numbers_of_mics(trainer: Run) -> tuple[int, ...]:
    return (1, 4) if max(trainer.config.mics) > 1 else (1,)


def _how_far(trainer: Run) -> tuple[str, int, str]:
    return f"{trainer.minutes:.2f}", trainer.step, f"{trainer.audio_s / 3600:.3f}"


def read_scenes(folder: Path, count: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of noisy [n_mics, n_samples] and clean [n_samples] at 16 kHz of a folder, the first `count` or all.

    Raises:
        QuietmicError: no pairs, in none of the layouts that `find_recordings` knows, or a file that cannot be read.
    """
    for recording in find_recordings(folder)[:count]:
        if recording.clean is None:
            raise QuietmicError(f"{recording.noisy} has no clean file: what is scored needs pairs", exit_code=2)
        noisy, clean = (audio.read(path) for path in (recording.noisy, recording.clean))
        channels = [at_rate(channel, noisy[1], metrics.METRIC_RATE) for channel in noisy[0]]
        target = at_rate(clean[0][0], clean[1], metrics.METRIC_RATE)
        n_samples = min(len(channels[0]), len(target))
        yield np.stack(channels)[:, :n_samples], target[:n_samples]


def score(trainer: Run, noisy: np.ndarray, clean: np.ndarray) -> Scores:
    """Scores of the averaged network on one scene."""
    spectra = analysis(torch.from_numpy(noisy)[None].to(trainer.device), trainer.stft)
    return score_network(trainer.average.module, spectra, trainer.beam(spectra, {}), clean)


@torch.no_grad()
def score_network(network: Any, noisy: Tensor, beam: Tensor, clean: np.ndarray) -> Scores:
    """Scores of a network on spectra noisy [1, n_mics, F, T, 2] and beam [1, F, T, 2] against clean [n_samples]."""
    state = {k: v.to(noisy.device) for k, v in network.initial_state().items()}
    enhanced = synthesis(network.eval()(noisy, beam, state)[0], StftConfig())[0].cpu().numpy()
    clean = clean[: len(enhanced)]
    scores = (
        metrics.si_sdr(clean, enhanced),
        metrics.stoi(clean, enhanced, metrics.METRIC_RATE),
        metrics.pesq_wb(clean, enhanced, metrics.METRIC_RATE),
    )
    return tuple(np.nan if s is None else s for s in scores)  # type: ignore[return-value]


def plot(log: Path) -> None:
    """Draw log.csv as log.png beside it: the loss, and the validation figures."""
    from matplotlib.figure import Figure

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 4), ("loss", "si_sdr", "stoi", "pesq_wb"), strict=True):
        for n_mics in sorted({r["n_mics"] for r in rows if r[name]}):
            points = [(float(r["minutes"]), float(r[name])) for r in rows if r[name] and r["n_mics"] == n_mics]
            axes.plot(*zip(*points, strict=True), label=f"{n_mics} mic" if n_mics else None)
        axes.set(title=name, xlabel="minutes")
        if any(r["n_mics"] for r in rows if r[name]):
            axes.legend()
    figure.savefig(log.with_suffix(".png"), dpi=100)
