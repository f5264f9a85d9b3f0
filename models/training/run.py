"""A training run from paths and settings: data opened, processes joined, the loop run, a record left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.measure.records import write_record
from quietmic.models.networks.registry import load_network
from quietmic.models.training.config import read_config
from quietmic.models.training.parallel import close_team, open_team
from quietmic.models.training.sources import open_source
from quietmic.models.training.train import train


def describe_start(checkpoint: Path) -> dict[str, Any]:
    """What a run tells of the weights it starts from: hours, steps, teacher, their own start, and their compression."""
    _, facts = load_network(checkpoint)
    told = {"sha256": hash_file(checkpoint)} | choose_facts(facts, "audio_hours", "steps", "teacher", "started_from")
    return {"started_from": told} | choose_facts(facts, "compression")


def choose_facts(facts: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of the facts that are there, by name."""
    return {name: facts[name] for name in names if name in facts}


def run_training(
    model: str,
    speech: Path,
    noise: Path,
    measured: Path | None,
    n_rooms: int,
    config_path: Path | None,
    folder: Path,
    minutes: float,
    device: str,
    cache: Path,
    jobs: int,
    valid: Path | None,
    teacher: Path | None,
    first: Path | None,
) -> tuple[Path, Path | None]:
    """Train or go on training, alone or as one of torchrun's processes.

    Returns:
        The path of the averaged weights, and that of the record, which only the first process writes.
    """
    config = read_config(config_path, model)
    if config.model != model:
        raise QuietmicError(f"{config_path} is for the network '{config.model}', not '{model}'.", exit_code=2)
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    team = open_team(chosen)
    if not team.leads:
        team.wait()  # the first process packs and simulates, the others find it done
    source, data = open_source(speech, noise, measured, n_rooms, config, cache, jobs)
    if team.leads:
        team.wait()
    if chosen.type == "cpu":
        torch.set_num_threads(jobs)
        torch.set_flush_denormal(True)
    else:
        torch.set_float32_matmul_precision("high")  # TF32
        torch.backends.cudnn.benchmark = True
    facts: dict[str, Any] = {"data": data}
    enhance_by = None
    if teacher:
        from quietmic.models.training.teacher import Teacher

        enhance_by = Teacher(teacher).enhance
        facts["teacher"] = teacher.stem
    if first:
        facts |= describe_start(first)
    workers = jobs if chosen.type == "cuda" else 0
    path, summary = train(source, config, folder, minutes, chosen, workers, valid, enhance_by, facts, team, first)
    close_team(team)
    if not team.leads:
        return path, None
    return path, write_record("train", summary, model=model, seed=config.seed, config=asdict(config), **facts)
