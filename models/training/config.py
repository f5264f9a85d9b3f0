"""How to train: the settings of a run, and the TOML file that changes them."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.served import MAX_MICS
from quietmic.enhance.tomlfile import read_toml
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.networks.registry import check_family
from quietmic.models.networks.tcn import MEMORIES
from quietmic.models.training.losses import Weights

NAMES = {int: "whole number", float: "number", str: "text", tuple: "list", dict: "table"}


@dataclass(frozen=True)
class TrainConfig:
    """How to train; a TOML file holds what differs from these values (tables `sizes` and `mix` inside).

    unit_share: of FullSubNet's units, drawn anew for every step (1 = all of them). mics: numbers of microphones, one
    drawn for each batch with equal odds. trained_rate: factor of the learning rate of all but the TCN's memories, for a
    run that gives them to a trained network. pesq_weight, stoi_weight: of the terms that need all units, used every
    `perceptual_every` steps with as many times the weight. over_attenuation: how much more magnitudes below the clean
    ones count than those above. decay_minutes: at the end of --minutes the learning rate
    falls to zero for so long, half of the run at most. planned_hours: of audio, over which the learning rate falls
    along a cosine to zero, whatever the number of sittings; 0 = it does not. earlier: share of the scenes before which
    the network heard another sound, up to 20 dB louder or quieter, as in a stream that has run for long.
    """

    model: str = "tcn"
    sizes: dict[str, Any] = field(default_factory=dict)
    mix: MixConfig = field(default_factory=MixConfig)
    batch_size: int = 5
    learning_rate: float = 1.5e-3
    trained_rate: float = 1.0
    weight_decay: float = 0.01
    warmup_steps: int = 200
    decay_minutes: float = 15.0
    gradient_clip: float = 3.0
    average: float = 0.999
    planned_hours: float = 0.0
    unit_share: float = 1.0
    earlier: float = 0.0
    teacher_weight: float = 1.0
    pesq_weight: float = 0.0
    stoi_weight: float = 0.0
    perceptual_every: int = 1
    over_attenuation: float = 0.0
    mics: tuple[int, ...] = (1,)
    seed: int = 0

    def weights_at(self, step: int) -> Weights:
        """The weights of a step; perceptual terms cost as much as the network, so few steps bear them for all."""
        every = 0 if step % self.perceptual_every else self.perceptual_every
        return Weights(every * self.pesq_weight, every * self.stoi_weight, self.over_attenuation)


def read_config(path: Path | None, model: str) -> TrainConfig:
    """Defaults for a model, changed by a TOML file.

    Raises:
        QuietmicError: no TOML, a key that does not exist, a value of another kind, or settings that do not go together.
    """
    values = read_toml(path) if path else {}
    mix_values = values.pop("mix", {})
    config = TrainConfig(**({"model": model} | _checked(values, TrainConfig(), path)))
    config = replace(config, mix=MixConfig(**_checked(mix_values, MixConfig(), path)))
    check_family(config.model)
    if not config.mics or not all(isinstance(n, int) and 1 <= n <= MAX_MICS for n in config.mics):
        raise QuietmicError(f"{path}: mics is a list of numbers from 1 to {MAX_MICS}.", exit_code=2)
    if config.unit_share < 1 and (config.pesq_weight or config.stoi_weight):
        raise QuietmicError(f"{path}: pesq_weight and stoi_weight need all units: set unit_share = 1.", exit_code=2)
    if not 0 < config.unit_share <= 1 or config.perceptual_every < 1:
        raise QuietmicError(
            f"{path}: unit_share lies above 0 and up to 1, perceptual_every is at least 1.", exit_code=2
        )
    if config.unit_share != 1 and config.model != "fullsubnet":
        raise QuietmicError(
            f"{path}: unit_share is FullSubNet's; the network '{config.model}' has no units.", exit_code=2
        )
    _check_trained_rate(config, path)
    return config


def _check_trained_rate(config: TrainConfig, path: Path | None) -> None:
    if not 0 <= config.trained_rate <= 1:
        raise QuietmicError(f"{path}: trained_rate lies between 0 and 1.", exit_code=2)
    if config.trained_rate != 1 and not config.sizes.keys() & {*MEMORIES}:
        raise QuietmicError(
            f"{path}: trained_rate is for a run that gives memories: set {' or '.join(MEMORIES)} in "
            "[sizes], or another learning_rate for all.", exit_code=2,
        )  # fmt: skip


def _checked(values: dict[str, Any], defaults: TrainConfig | MixConfig, path: Path | None) -> dict[str, Any]:
    """The values with lists as tuples, each of the kind of its default."""
    known = {f.name: getattr(defaults, f.name) for f in fields(defaults)}
    if wrong := set(values) - set(known):
        raise QuietmicError(f"{path}: unknown settings {', '.join(sorted(wrong))}.", exit_code=2)
    checked = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in checked.items():
        kind = type(known[name])
        if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
            raise QuietmicError(f"{path}: {name} = {values[name]!r}, but it is a {NAMES[kind]}.", exit_code=2)
    return checked
