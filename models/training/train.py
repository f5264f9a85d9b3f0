"""The training loop, one for every network: resumable, stopped by the clock, the same on a CPU and a GPU."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.progress import Progress, silent
from quietmic.models.mixtures.mixing import mix, stack_scenes
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.networks.registry import build, load_network, save_network
from quietmic.models.networks.spectra import analysis
from quietmic.models.networks.tcn import MEMORIES, TcnConfig
from quietmic.models.training.clock import Clock
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.parallel import NoLog, Team
from quietmic.models.training.progress import TrainLog
from quietmic.models.training.trainer import Teacher, Trainer, batches

logger = logging.getLogger(__name__)

SAVE_MINUTES = 5.0
VALID_MINUTES = 20.0
VALID_SHARE = 0.25  # of a run that the validation at its end may take
NORM_SHARE = 0.25  # of a run that is set aside for the norms
NORM_SCENES = 360
FEWEST_NORM_BATCHES = 10


@dataclass(frozen=True)
class RunPlan:
    """Where a training runs, for how long, and where it starts.

    Attributes:
        folder: of this run.
        minutes: wall clock of `train`, the measuring of norms and the validation at its end included.
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
        progress: hears of each step ("training", minutes done, minutes in all, the loss), of the norms that are
            measured and of the scenes that are scored.

    Returns:
        The path of network.pt, and the run's figures.

    Raises:
        QuietmicError: settings, an earlier run or a checkpoint that do not go together, a disk that is full, or
            steps that give no numbers. What was saved before is kept.
    """
    folder, minutes, valid = plan.folder, plan.minutes, plan.valid
    folder.mkdir(parents=True, exist_ok=True)
    team, state = team or Team(), folder / "state.pt"
    clock = Clock(minutes, min(config.decay_minutes, minutes / 2), team)
    for n_mics in config.mics:
        source.rooms_with(n_mics)  # says what is wrong before the work begins
    trainer = _begin(config, plan, teacher, team)
    log = TrainLog(folder, minutes, progress) if team.leads else NoLog()
    first, earlier = trainer.step, trainer.minutes
    valid_minutes = team.same(log.plan_validation(trainer, valid, VALID_SHARE * minutes)) if valid else 0.0
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
        n_done = trainer.step - first
        norm_minutes = clock.passed / n_done * n_norm_batches(config)
        clock.reserve = valid_minutes + min(NORM_SHARE * minutes, norm_minutes)
        if clock.left <= 0:
            break
        if clock.due("saving", SAVE_MINUTES):
            save_average(trainer, folder, facts)
            if undecayed:
                trainer.save(state)
        if valid and clock.left > valid_minutes and clock.due("validation", VALID_MINUTES):
            log.validate(trainer, valid)
    if not config.decay_minutes:
        trainer.save(state)  # before the norms are measured, which those that go on must not see
    is_late = partial(clock.is_beyond, minutes - valid_minutes)
    measure_norms(trainer, source, progress if team.leads else silent, is_late)
    path = save_average(trainer, folder, facts)
    if valid:
        log.validate(trainer, valid)
    log.close()
    return path, trainer.progress()


def _begin(config: TrainConfig, plan: RunPlan, teacher: Teacher | None, team: Team) -> Trainer:
    """A trainer as an earlier run left the folder, else from a checkpoint, else from fresh weights.

    Raises:
        QuietmicError: what the folder or the checkpoint holds is damaged or another network, or the run's averaged
            weights would take the place of the checkpoint.
    """
    state, average = plan.folder / "state.pt", plan.folder / "network.pt"
    if not state.exists() and plan.first and plan.first.resolve() == average.resolve():
        message = f"{average} would be written over by the run that starts from it: choose another folder"
        raise QuietmicError(message, exit_code=2)
    start = average if state.exists() else plan.first
    trainer = Trainer(config, plan.device, teacher, team, open_start(start, config) if start else None)
    if state.exists():
        trainer.load(state)
        _tell_changes(load_network(average)[1].get("config", {}), config)
    return trainer


def _tell_changes(earlier: dict[str, Any], config: TrainConfig) -> None:
    """Warns of settings with which a run does not go on as it began."""
    now = asdict(config)
    changed = [f.name for f in fields(config) if f.name in earlier and _listed(earlier[f.name]) != _listed(now[f.name])]
    for name in changed:
        logger.warning("the run began with %s = %s and goes on with %s", name, earlier[name], now[name])


def _listed(value: Any) -> Any:
    """Tuples as lists, to any depth, as files may have kept them."""
    if isinstance(value, dict):
        return {key: _listed(part) for key, part in value.items()}
    return [_listed(part) for part in value] if isinstance(value, tuple | list) else value


def open_start(path: Path, config: TrainConfig) -> nn.Module:
    """The network of a checkpoint, with fresh memories where the configuration has some and the checkpoint none.

    A checkpoint's own memories stay where the configuration names none.

    Raises:
        QuietmicError: it is none that this configuration trains.
    """
    network, _ = load_network(path)
    fresh = build(config.model, **config.sizes)
    if (network.family, network.config) == (fresh.family, fresh.config):
        return network
    if network.family != fresh.family or _but_memories(network.config) != _but_memories(fresh.config):
        raise QuietmicError(f"{path} holds another network or other sizes than this run trains.", exit_code=2)
    if network.config != _but_memories(network.config):
        if fresh.config != _but_memories(fresh.config):
            message = f"{path} has other memories than this run trains: leave {' and '.join(MEMORIES)} out of [sizes]."
            raise QuietmicError(message, exit_code=2)
        return network
    network.give_memories(fresh.config)
    return network


def _but_memories(sizes: Any) -> Any:
    none: dict[str, Any] = dict.fromkeys(MEMORIES, ())
    return replace(sizes, **none) if isinstance(sizes, TcnConfig) else sizes


def n_norm_batches(config: TrainConfig) -> int:
    """Batches by which the norm statistics are measured."""
    return -(-NORM_SCENES // config.batch_size)


@torch.no_grad()
def measure_norms(
    trainer: Trainer, source: SceneSource, progress: Progress = silent, is_late: Callable[[], bool] = lambda: False
) -> None:
    """Measure the norm statistics of the averaged weights anew, on scenes of one microphone.

    Averages of weights need statistics of their own (Izmailov et al. 2018, arXiv 1803.05407), and batches of arrays,
    whose signals differ, would bend those of one microphone. A batch that gives no numbers is left out. Where it is
    late, FEWEST_NORM_BATCHES must do.
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
    n_batches = n_norm_batches(config)
    for i in range(n_batches):
        scenes = stack_scenes(source.draw((config.seed, i, 2), config.batch_size, 1))
        noisy = analysis(mix(scenes, trainer.device, i).noisy, trainer.stft)
        state = {name: value.to(trainer.device) for name, value in network.initial_state(config.batch_size).items()}
        before = [buffer.clone() for buffer in network.buffers()]
        network(noisy, noisy[:, 0], state)
        if not all(torch.isfinite(buffer).all() for buffer in network.buffers()):
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)
        progress("measuring norms", i + 1, n_batches)
        if i + 1 >= FEWEST_NORM_BATCHES and is_late():
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def save_average(trainer: Trainer, folder: Path, facts: dict[str, Any] | None = None) -> Path:
    """The averaged weights as a network file, with the run's facts; the first process writes it."""
    kept = {"config": asdict(trainer.config), **trainer.progress(), **(facts or {})}
    if trainer.team.leads:
        save_network(trainer.average.module, folder / "network.pt", kept)
    return folder / "network.pt"
