"""The commands `train`, `export` and `scenes`: paths and options in, files and a record out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from quietmic.cli.evaluate import run_evaluation
from quietmic.enhance.card import ModelCard, StftConfig
from quietmic.enhance.catalogue import WEIGHTS, list_models
from quietmic.enhance.errors import UserError
from quietmic.enhance.measure.quality import read_info
from quietmic.enhance.measure.recordings import find_scenes
from quietmic.enhance.measure.records import hash_file, write_record
from quietmic.enhance.measure.systems import NOISY, model_system
from quietmic.enhance.network import OnnxNetwork
from quietmic.models.export import add_to_index, export, round_to_half, write_card
from quietmic.models.mixtures.pack import Pack, pack_folder
from quietmic.models.mixtures.rooms import RoomCache, build_rooms
from quietmic.models.mixtures.source import SceneSource, read_measured
from quietmic.models.networks.registry import load_network, save_network
from quietmic.models.training.config import TrainConfig, read_config
from quietmic.models.training.parallel import close_team, open_team
from quietmic.models.training.train import train

ROOMS_SEED = 0  # the same rooms for every run's seed: they take minutes
REPORTED = ("si_sdr", "si_sdr_gain", "stoi", "stoi_gain", "pesq_wb", "pesq_wb_gain", "ovrl")


def open_source(
    speech: Path, noise: Path, measured: Path | None, n_rooms: int, config: TrainConfig, cache: Path, jobs: int
) -> tuple[SceneSource, dict[str, Any]]:
    """Training scenes from folders, packed and simulated into `cache` on first use, and the facts of the data."""
    packs = {"speech": pack_folder(speech, "train", cache, jobs), "noise": pack_folder(noise, "train", cache, jobs)}
    rooms = RoomCache(build_rooms(cache, n_rooms, ROOMS_SEED, jobs=jobs))
    responses = read_measured(measured, cache) if measured else []
    source = SceneSource(packs["speech"], packs["noise"], rooms, config.mix, responses)
    facts = {name: describe_pack(pack) for name, pack in packs.items()}
    return source, facts | {"simulated_rooms": n_rooms, "measured_rooms": len(responses)}


def describe_pack(pack: Pack) -> dict[str, Any]:
    """Hours, hash, and each source with its licences: what a card says of the training data."""
    licences: dict[str, set[str]] = {}
    for source, licence in zip(pack.column("source", "unnamed"), pack.column("licence", "unknown"), strict=True):
        licences.setdefault(source, set()).add(licence)
    hours = float(pack.lengths.sum() / 16000 / 3600)
    return {"hours": hours, "sha256": pack.sha256, "sources": {s: sorted(v) for s, v in sorted(licences.items())}}


def describe_start(checkpoint: Path) -> dict[str, Any]:
    """What a run tells of the weights it starts from: hours, steps, teacher, their own start, and their compression."""
    _, facts = load_network(checkpoint)
    told = {"sha256": hash_file(checkpoint)} | _chosen(facts, "audio_hours", "steps", "teacher", "started_from")
    return {"started_from": told} | _chosen(facts, "compression")


def _chosen(facts: dict[str, Any], *names: str) -> dict[str, Any]:
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
) -> Path:
    """Train or go on training, alone or as one of torchrun's processes; returns the path of the averaged weights."""
    config = read_config(config_path, model)
    if config.model != model:
        raise UserError(f"{config_path} is for the network '{config.model}', not '{model}'.", exit_code=2)
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
        return path
    record = write_record("train", summary, model=model, seed=config.seed, config=asdict(config), **facts)
    print(f"Weights: {path}\nRecord: {record}")
    return path


def run_export(checkpoint: Path, out: Path, name: str, notes: str, scenes: Path | None, list_it: bool) -> Path:
    """Write a checkpoint's ONNX and card, and the exact half-precision checkpoint (`write_model`)."""
    network, facts = load_network(checkpoint)
    if not name.startswith(str(network.family)):
        raise UserError(f"The name must begin with the network's family: {network.family}...", exit_code=2)
    cut = facts.get("compression", {})  # of a compressed network: parent, its hash and the recipe
    card = ModelCard(
        name=name, stft=StftConfig(), max_mics=8, look_ahead=0, parent=cut.get("parent"),
        parent_sha256=cut.get("parent_sha256"), recipe=cut.get("recipe"),
        parameters=0, macs_per_second=0, training_data=card_data(facts), notes=notes,
    )  # fmt: skip
    write_model(network, card, facts, out, scenes)
    if list_it:
        add_to_index(out, name)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB, SHA-256 {hash_file(out)[:16]}...)")
    return out


def write_model(network: Any, card: ModelCard, facts: dict[str, Any], out: Path, scenes: Path | None) -> None:
    """Write ONNX and card, measured on a scenes folder where one is given, and the exact half-precision checkpoint.

    The weights are rounded to half precision first, so that the checkpoint beside the graph (OUT with .pt, half the
    size) is exactly the network that was exported and measured: compression and further training start from it.
    """
    network = round_to_half(network)
    out.parent.mkdir(parents=True, exist_ok=True)
    export(network, card, out)
    save_network(network, out.with_suffix(".pt"), facts, half=True)
    if scenes:
        measure_into_card(out, scenes)


def measure_into_card(path: Path, scenes: Path) -> None:
    """Write what a model reaches on a scenes folder into its card; the graph stays."""
    write_card(path, replace(OnnxNetwork(path).card, metrics=measure(path, scenes)))


def measure_listed(scenes: Path, weights: Path = WEIGHTS) -> None:
    """Measure every listed model anew, as after a change of what runs around the networks."""
    for entry in list_models(weights):
        measure_into_card(entry.path, scenes)
        add_to_index(entry.path, entry.name)


def card_data(facts: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the training: data with licences, hours heard, steps, the teacher, and what came before."""
    return json.loads(json.dumps(_chosen(facts, "data", "teacher", "audio_hours", "steps", "started_from")))


def measure(path: Path, scenes: Path, mics: tuple[int, ...] = (1, 2, 4), jobs: int = 2) -> dict[str, Any]:
    """Means over a scenes folder by number of microphones, as far as it has them, the noisy reference included."""
    most = max(read_info(scene.noisy).n_channels for scene in find_scenes(scenes))
    systems = {n: model_system(str(path), n) for n in mics if n <= most}
    record = run_evaluation(scenes, list(systems.values()), jobs)
    summary = record["figures"]["summary"]
    labels = {"noisy": NOISY} | {f"{n}_mics": system.label for n, system in systems.items()}
    metrics: dict[str, Any] = {"data": scenes.name, "data_sha256": record["data_sha256"]}
    for key, label in labels.items():
        metrics[key] = {name: summary[label][name]["mean"] for name in REPORTED}
    return metrics
