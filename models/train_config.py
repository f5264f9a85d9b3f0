"""How to train: the settings of a run, and the TOML file that changes them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from enhance.errors import UserError
from models.data import MixConfig
from models.losses import Perceptual


@dataclass(frozen=True)
class TrainConfig:
    """How to train; a TOML file holds what differs from these values (tables `sizes` and `mix` inside).

    bands: frequencies that go through the sub-band part each step (0 = all). mics: numbers of microphones, one drawn
    for each batch with equal odds. pesq_weight, stoi_weight: of the terms that need all bands. decay_minutes: at the
    end of --minutes the learning rate falls to zero for so long.
    """

    model: str = "tcn"
    sizes: dict[str, Any] = field(default_factory=dict)
    mix: MixConfig = field(default_factory=MixConfig)
    batch_size: int = 5
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    decay_minutes: float = 15.0
    gradient_clip: float = 3.0
    average: float = 0.999
    bands: int = 0
    teacher_weight: float = 1.0
    pesq_weight: float = 0.0
    stoi_weight: float = 0.0
    mics: tuple[int, ...] = (1,)
    seed: int = 0

    @property
    def perceptual(self) -> Perceptual:
        return Perceptual(self.pesq_weight, self.stoi_weight)


def read_config(path: Path | None, model: str) -> TrainConfig:
    """Defaults for a model, changed by a TOML file.

    Raises:
        UserError: a key that does not exist.
    """
    values = tomllib.loads(path.read_text()) if path else {}
    mix_values = values.pop("mix", {})
    known = {f.name for f in fields(TrainConfig)} - {"mix"}
    wrong = (set(values) - known) | (set(mix_values) - {f.name for f in fields(MixConfig)})
    if wrong:
        raise UserError(f"{path}: unknown settings {', '.join(sorted(wrong))}.", exit_code=2)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    mix_values = {k: tuple(v) if isinstance(v, list) else v for k, v in mix_values.items()}
    return TrainConfig(**({"model": model} | values), mix=MixConfig(**mix_values))
