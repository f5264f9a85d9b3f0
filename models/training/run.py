"""A training run from paths and settings: data opened, processes joined, the loop run, a record left."""

from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.measure.records import write_record
from quietmic.enhance.progress import Progress, silent
from quietmic.models.networks.registry import load_network
from quietmic.models.training.config import TrainConfig, read_config
from quietmic.models.training.folder import one_run
from quietmic.models.training.parallel import Team, close_team, open_team
from quietmic.models.training.sources import Sources, open_source
from quietmic.models.training.train import RunPlan, train


def describe_start(checkpoint: Path) -> dict[str, Any]:
    """What a run tells of the weights it starts from: hours, steps, teacher, their own start, and their compression."""
    _, facts = load_network(checkpoint)
    told = {"sha256": hash_file(checkpoint)} | choose_facts(facts, "audio_hours", "steps", "teacher", "started_from")
    return {"started_from": told} | choose_facts(facts, "compression")


def choose_facts(facts: dict[str, Any], *names: str) -> dict[str, Any]:
    """The named facts out of all that a run keeps, as far as they are there."""
    return {name: facts[name] for name in names if name in facts}


def choose_device(name: str) -> torch.device:
    """A device by its name; "auto" is the GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def run_training(
    model: str, where: Sources, plan: RunPlan, teacher: Path | None = None, progress: Progress = silent
) -> tuple[Path, Path | None]:
    """Train or go on training, alone or as one of torchrun's processes.

    Args:
        model: family of the network.
        where: the training scenes come from.
        plan: how long, on what, and into which folder; its `workers` are set here.
        teacher: streaming ONNX file of a peer to learn from.
        progress: hears of the data being prepared and of the minutes of training.

    Returns:
        The path of the averaged weights, and that of the record, which only the first process writes.

    Raises:
        QuietmicError: another run works in the folder, a teacher of no weight, or as `train` and `open_source`.
    """
    config = read_config(where.config, model)
    if config.model != model:
        raise QuietmicError(f"{where.config} is for the network '{config.model}', not '{model}'.", exit_code=2)
    if teacher and not config.teacher_weight:
        raise QuietmicError(f"{where.config}: teacher_weight is 0, so {teacher} would teach nothing.", exit_code=2)
    team = open_team(plan.device)
    with one_run(plan.folder) if team.leads else nullcontext():
        path, summary, facts = _run(config, where, plan, teacher, team, progress)
    close_team(team)
    if not team.leads:
        return path, None
    return path, write_record("train", summary, model=model, seed=config.seed, config=asdict(config), **facts)


def _run(
    config: TrainConfig, where: Sources, plan: RunPlan, teacher: Path | None, team: Team, progress: Progress
) -> tuple[Path, dict[str, float], dict[str, Any]]:
    """Data opened and the loop run: the averaged weights, the run's figures and the facts of the data."""
    if not team.leads:
        team.wait()  # the first process packs and simulates, the others find it done
    source, data = open_source(where, config, progress)
    if team.leads:
        team.wait()
    if plan.device.type == "cpu":
        torch.set_num_threads(where.jobs)
        torch.set_flush_denormal(True)
    else:
        torch.set_float32_matmul_precision("high")  # TF32
        torch.backends.cudnn.benchmark = True
        plan = replace(plan, workers=where.jobs)
    facts: dict[str, Any] = {"data": data}
    enhance_by = None
    if teacher:
        from quietmic.models.training.teacher import Teacher

        enhance_by = Teacher(teacher).enhance
        facts["teacher"] = teacher.stem
    if plan.first:
        facts |= describe_start(plan.first)
    path, summary = train(source, config, plan, enhance_by, facts, team, progress)
    return path, summary, facts
