"""Measures what each choice of the training gives: python tools/measure_losses.py CHECKPOINT SCENES OUT.

Every variant starts from the same weights, sees the same scenes for as many steps, its learning rate falling to zero,
and is scored on the same validation scenes; differences are means over scenes against the first, with 95% intervals of
the paired differences. Finished variants are kept in OUT/*.json. An hour for one core and 300 steps.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.models.networks.registry import load_network
from quietmic.models.training.config import TrainConfig, read_config
from quietmic.models.training.progress import read_scenes, score
from quietmic.models.training.sources import Sources, open_source
from quietmic.models.training.teacher import Teacher
from quietmic.models.training.train import measure_norms, open_start
from quietmic.models.training.trainer import Trainer, batches

PLAIN: dict[str, Any] = {
    "batch_size": 4,
    "pesq_weight": 0.3,
    "stoi_weight": 2.0,
    "perceptual_every": 3,
    "teacher_weight": 0.0,
    "average": 0.99,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "spectra, SNR, PESQ term 0.3 and STOI term 2": {},
    "over-attenuation counts twice": {"over_attenuation": 1.0},
    "half of the segments begin with a long silence": {"mix": {"late_start": 0.5}},
    "teacher, weight 0.3": {"teacher_weight": 0.3},
    "no PESQ term": {"pesq_weight": 0.0},
    "no STOI term": {"stoi_weight": 0.0},
}


def configure(base: TrainConfig, name: str) -> TrainConfig:
    """The settings of one variant."""
    values = PLAIN | VARIANTS[name]
    return replace(base, **values | {"mix": replace(base.mix, **values.get("mix", {}))})


def run(config: TrainConfig, source: Any, first: Path, teacher: Path, steps: int, scenes: Path, n: int) -> np.ndarray:
    """Trains one variant; scores [n_scenes, 3] of its averaged weights."""
    enhance_by = Teacher(teacher).enhance if config.teacher_weight else None
    trainer = Trainer(config, torch.device("cpu"), enhance_by, network=open_start(first, config))
    for drawn in batches(source, config, 0, 0):
        trainer.train_step(drawn, min(1.0, 2 * (1 - trainer.step / steps)))
        if trainer.step == steps:
            break
    measure_norms(trainer, source)
    return np.array([score(trainer, noisy[:1], clean) for noisy, clean in read_scenes(scenes, n)])


def table(results: dict[str, np.ndarray]) -> str:
    """Markdown: means of the first, then paired differences with intervals."""
    lines = ["| variant | SI-SDR dB | STOI | PESQ-WB |", "|---" * 4 + "|"]
    plain = results[next(iter(VARIANTS))]
    for name, scores in results.items():
        if scores is plain:
            cells = [f"{x:.3f}" for x in scores.mean(axis=0)]
        else:
            gain = scores - plain
            half = 1.96 * gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
            cells = [f"{m:+.3f} ± {h:.3f}" for m, h in zip(gain.mean(axis=0), half, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("scenes", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--speech", type=click.Path(path_type=Path), required=True, help="Folder to train on.")
@click.option("--noise", type=click.Path(path_type=Path), required=True, help="Folder to train on.")
@click.option("--teacher", type=click.Path(path_type=Path), required=True, help="An .onnx file to learn from.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of the training.")
@click.option("--rooms", default=600, show_default=True, help="Simulated rooms.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True, help="Packs.")
@click.option("--steps", default=300, show_default=True, help="Of each variant.")
@click.option("--rate", default=3e-4, show_default=True, help="Learning rate at the start.")
@click.option("--count", default=60, show_default=True, help="Scenes to score.")
def main(
    checkpoint: Path, scenes: Path, out: Path, speech: Path, noise: Path, teacher: Path, config: Path | None,
    rooms: int, cache: Path, steps: int, rate: float, count: int,
) -> None:  # fmt: skip
    """Trains CHECKPOINT on with each choice and scores it on SCENES; OUT gets losses.md and the finished variants."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model = str(load_network(checkpoint)[0].family)
    base = replace(read_config(config, model), learning_rate=rate, warmup_steps=20)
    results = {}
    for i, name in enumerate(VARIANTS):
        chosen, path = configure(base, name), out / f"{i}.json"
        if not path.exists():
            source, _ = open_source(Sources(speech, noise, n_rooms=rooms, cache=cache), chosen)
            scores = run(chosen, source, checkpoint, teacher, steps, scenes, count)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"variant": name, "steps": steps, "scores": scores.tolist()}))
        results[name] = np.array(json.loads(path.read_text())["scores"])
    (out / "losses.md").write_text(table(results))
    click.echo(table(results))


if __name__ == "__main__":
    main()
