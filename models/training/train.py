"""The training loop, one for every network: resumable, stopped by the clock, the same on a CPU and a GPU."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from quietmic.enhance.card import StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent
from quietmic.models.mixtures.mixing import Batch, mix, stack_scenes
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.networks.beam import beam_or_reference
from quietmic.models.networks.files import save_whole
from quietmic.models.networks.registry import build, load_network, save_network
from quietmic.models.networks.spectra import analysis
from quietmic.models.training.clock import Clock
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.losses import band_loss, spectra_loss
from quietmic.models.training.parallel import NoLog, Team
from quietmic.models.training.precision import bfloat16_where_fast
from quietmic.models.training.progress import TrainLog


class _Steps(Dataset):
    """Item n is this process's share of the scenes of step n: equal for equal seeds, whoever draws it."""

    def __init__(self, source: SceneSource, config: TrainConfig, first: int, share: slice) -> None:
        self.source, self.config, self.first, self.share = source, config, first, share

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        step = self.first + item
        n_mics = int(np.random.default_rng((self.config.seed, step, 1)).choice(self.config.mics))
        return stack_scenes(self.source.draw((self.config.seed, step), self.config.batch_size, n_mics)[self.share])


SAVE_MINUTES = 5.0
VALID_MINUTES = 20.0
NORM_SCENES = 360

Teacher = Callable[[np.ndarray], np.ndarray]  # noisy [B, n_samples] -> enhanced [B, n_samples]
Chosen = dict[str, list[Tensor]]  # {"units": those of each width to train}, or nothing for all


class Trainer:
    """Network, optimiser, averaged weights and progress of one run."""

    def __init__(
        self, config: TrainConfig, device: torch.device, teacher: Teacher | None = None, team: Team | None = None,
        network: nn.Module | None = None,
    ) -> None:  # fmt: skip
        """Trains `network` on, or a fresh one of the configuration's sizes."""
        torch.manual_seed(config.seed)
        self.team = team or Team()
        self.config, self.device, self.teacher, self.stft = config, device, teacher, StftConfig()
        self.mixed_precision = True
        self.network = (network or build(config.model, **config.sizes)).to(device)
        self.average = torch.optim.swa_utils.AveragedModel(self.network, multi_avg_fn=self._move, use_buffers=True)
        self.replica = self.team.wrap(self.network)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.step, self.minutes, self.audio_s = 0, 0.0, 0.0

    def _move(self, averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        """Moving average of weights and norm statistics; short at first, so that it forgets where training began."""
        decay = min(self.config.average, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, current, strict=True):
            average.lerp_(value, 1 - decay) if average.is_floating_point() else average.copy_(value)

    def train_step(self, scenes: dict[str, Tensor], decay: float) -> float:
        """One update; `decay` scales the learning rate. Returns the loss."""
        warmup = min(1.0, (self.step + 1) / self.config.warmup_steps)
        rate = self.config.learning_rate * warmup * self._cosine() * decay
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = mix(scenes, self.device, self.step, (self.team.rank, self.team.size))
        self.network.train()
        loss = self._loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            self.average.update_parameters(self.network)
        self.step += 1
        self.audio_s += self.team.size * batch.target.numel() / self.stft.sample_rate
        return float(self.team.mean(loss.detach()))

    def _cosine(self) -> float:
        """Factor of the learning rate by the share of the planned audio that was heard."""
        planned = self.config.planned_hours
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.audio_s / 3600 / planned)) if planned else 1.0

    def _loss(self, batch: Batch) -> Tensor:
        noisy, chosen = analysis(batch.noisy, self.stft), self._choose()  # [B, M, F, T, 2]
        enhanced, freqs = self._forward(noisy, self.beam(noisy, chosen), chosen), self._frequencies(chosen)
        perceptual = self.config.perceptual_at(self.step)
        loss = spectra_loss(enhanced, batch.target, batch.noisy[:, 0], self.stft, freqs, perceptual)
        return loss + self._distillation(batch, enhanced, freqs)

    def _choose(self) -> Chosen:
        """The units that this step trains; the same when a run goes on from before it."""
        if self.config.unit_share == 1:
            return {}
        generator = torch.Generator().manual_seed(self.config.seed * 10**9 + self.step)
        drawn = self.network.draw_units(self.config.unit_share, generator)
        return {"units": [units.to(self.device) for units in drawn]}

    def _frequencies(self, chosen: Chosen) -> Tensor | None:
        """Those of the units chosen; None for all."""
        return self.network.frequencies(**chosen) if chosen else None

    def beam(self, noisy: Tensor, chosen: Chosen) -> Tensor:
        """The beamformer's output [B, F, T, 2]; the reference at frequencies that are not chosen."""
        return beam_or_reference(noisy, self._frequencies(chosen), partial(self.one_microphone_mask, noisy, chosen))

    def _forward(self, noisy: Tensor, beam: Tensor, chosen: Chosen) -> Tensor:
        """Enhanced spectra, of all units or of those chosen."""
        state = self._state(noisy.shape[0], chosen)
        with bfloat16_where_fast(self.device, self.mixed_precision):
            return self.replica(noisy, beam, state, **chosen)[0].float()

    def _distillation(self, batch: Batch, enhanced: Tensor, freqs: Tensor | None) -> Tensor:
        """The loss against the teacher's output instead of the clean target, weighted; zero without a teacher.

        Arrays learn from the clean target alone: a teacher that hears one microphone would hold them back.
        """
        if self.teacher is None or not self.config.teacher_weight or batch.noisy.shape[1] > 1:
            return torch.zeros((), device=self.device)
        waves = torch.from_numpy(self.teacher(batch.noisy[:, 0].cpu().numpy())).to(self.device)
        return self.config.teacher_weight * band_loss(enhanced, waves, batch.noisy[:, 0], self.stft, freqs)

    @torch.no_grad()
    def one_microphone_mask(self, noisy: Tensor, chosen: Chosen) -> Tensor:
        """Speech presence [B, F, T] seen by the averaged network at the reference alone: drives the beamformer."""
        reference, state = noisy[:, :1], self._state(noisy.shape[0], chosen)
        with bfloat16_where_fast(self.device, self.mixed_precision):
            return self.average.module.eval()(reference, reference[:, 0], state, **chosen)[1].float()

    def _state(self, batch: int, chosen: Chosen) -> dict[str, Tensor]:
        state = self.network.initial_state(batch, **chosen)
        return {name: value.to(self.device) for name, value in state.items()}

    def progress(self) -> dict[str, float]:
        """Steps, minutes and hours of audio so far."""
        return {"steps": self.step, "minutes": self.minutes, "audio_hours": self.audio_s / 3600}

    def save(self, path: Path) -> None:
        """Everything that going on needs, with any number of processes; the first one writes it."""
        if not self.team.leads:
            return
        save_whole(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "progress": {"step": self.step, "minutes": self.minutes, "audio_s": self.audio_s},
            },
            path,
        )

    def load(self, path: Path) -> None:
        """Goes on from what `save` wrote."""
        content = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])
        for name, value in content["progress"].items():
            setattr(self, name, value)


def batches(
    source: SceneSource, config: TrainConfig, first: int, workers: int, team: Team | None = None
) -> Iterator[dict[str, Tensor]]:
    """This process's share of stacked scenes from step `first` on, drawn by `workers` processes (0: by this one)."""
    steps = _Steps(source, config, first, (team or Team()).share(config.batch_size))
    pinned = workers > 0 and torch.cuda.is_available()  # copied to the GPU while it computes
    return iter(DataLoader(steps, batch_size=None, shuffle=False, num_workers=workers, pin_memory=pinned))


@dataclass(frozen=True)
class RunPlan:
    """Where a training runs, for how long, and where it starts.

    Attributes:
        folder: of this run.
        minutes: wall clock of this call.
        device: where mixing and training run.
        workers: processes that draw scenes; 0 = this one.
        valid: a scenes folder, scored every VALID_MINUTES and at the end.
        first: a checkpoint that a new run starts from; compressed networks stay as they were cut.
    """

    folder: Path
    minutes: float
    device: torch.device
    workers: int = 0
    valid: Path | None = None
    first: Path | None = None


def train(
    source: SceneSource,
    config: TrainConfig,
    plan: RunPlan,
    teacher: Teacher | None = None,
    facts: dict[str, Any] | None = None,
    team: Team | None = None,
    progress: Progress = silent,
) -> tuple[Path, dict[str, float]]:
    """Train for the plan's minutes (more, when its folder holds an earlier run: it goes on from there).

    Writes `state.pt` (to go on from; kept as it was before the final decay of the learning rate), `network.pt` (the
    averaged weights, to export), log.csv and log.png.

    Args:
        source: what scenes are drawn from.
        config: how to train.
        plan: where, how long and from which weights.
        teacher: its output is learned from beside the clean target.
        facts: of the data, kept with the weights.
        team: the processes that share each batch; the first one writes.
        progress: hears of each step: "training", minutes done, minutes in all, the loss.

    Returns:
        The path of network.pt, and the run's figures.
    """
    folder, minutes, valid = plan.folder, plan.minutes, plan.valid
    folder.mkdir(parents=True, exist_ok=True)
    team, state = team or Team(), folder / "state.pt"
    trainer = _begin(config, plan, teacher, team)
    log = TrainLog(folder, minutes, progress) if team.leads else NoLog()
    clock, earlier = Clock(minutes, min(config.decay_minutes, minutes / 2), team), trainer.minutes
    undecayed = True
    for scenes in batches(source, config, trainer.step, plan.workers, team):
        clock.tick()
        if clock.decay < 1.0 and undecayed:
            save_average(trainer, folder, facts)
            trainer.save(state)
        undecayed = clock.decay == 1.0
        loss = trainer.train_step(scenes, clock.decay)
        trainer.minutes = earlier + clock.elapsed()
        log.step(trainer, loss)
        if clock.left <= 0:
            break
        if clock.due("saving", SAVE_MINUTES):
            save_average(trainer, folder, facts)
            if undecayed:
                trainer.save(state)
        if valid and clock.due("validation", VALID_MINUTES):
            log.validate(trainer, valid)
    measure_norms(trainer, source)
    path = save_average(trainer, folder, facts)
    if not config.decay_minutes:
        trainer.save(state)
    if valid:
        log.validate(trainer, valid)
    log.close()
    return path, trainer.progress()


def _begin(config: TrainConfig, plan: RunPlan, teacher: Teacher | None, team: Team) -> Trainer:
    """A trainer as an earlier run left the folder, else from a checkpoint, else from fresh weights."""
    state = plan.folder / "state.pt"
    start = plan.folder / "network.pt" if state.exists() else plan.first
    trainer = Trainer(config, plan.device, teacher, team, open_start(start, config) if start else None)
    if state.exists():
        trainer.load(state)
    return trainer


def open_start(path: Path, config: TrainConfig) -> nn.Module:
    """The network of a checkpoint.

    Raises:
        QuietmicError: it is none that this configuration trains.
    """
    network, _ = load_network(path)
    fresh = build(config.model, **config.sizes)
    if (network.family, network.config) != (fresh.family, fresh.config):
        raise QuietmicError(f"{path} holds another network or other sizes than this run trains.", exit_code=2)
    return network


@torch.no_grad()
def measure_norms(trainer: Trainer, source: SceneSource) -> None:
    """Measure the norm statistics of the averaged weights anew, on scenes of one microphone.

    Averages of weights need statistics of their own (Izmailov et al. 2018, arXiv 1803.05407), and batches of arrays,
    whose signals differ, would bend those of one microphone.
    """
    network, config = trainer.average.module, trainer.config
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    network.train()
    for i in range(-(-NORM_SCENES // config.batch_size)):
        scenes = stack_scenes(source.draw((config.seed, i, 2), config.batch_size, 1))
        noisy = analysis(mix(scenes, trainer.device, i).noisy, trainer.stft)
        state = {name: value.to(trainer.device) for name, value in network.initial_state(config.batch_size).items()}
        network(noisy, noisy[:, 0], state)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def save_average(trainer: Trainer, folder: Path, facts: dict[str, Any] | None = None) -> Path:
    """The averaged weights as a network file, with the run's facts; the first process writes it."""
    kept = {"config": asdict(trainer.config), **trainer.progress(), **(facts or {})}
    if trainer.team.leads:
        save_network(trainer.average.module, folder / "network.pt", kept)
    return folder / "network.pt"
