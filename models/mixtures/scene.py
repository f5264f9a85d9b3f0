"""A scene before it is mixed, and what scenes look like."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class MixConfig:
    """What scenes look like. Ranges are uniform; the other numbers are probabilities of a scene having the trait.

    babble, synthetic_noise: of a noise being made of training speakers, or by a generator; the others are recordings.
    varied_noise: of recordings being layered, sped up or down, reversed, coloured and gated.
    late_start: of a long silence before the first word. whispered: of the talker whispering.
    moving: of the talker going to another place of the room.
    leave_classes: noise classes (and generators) that are never drawn. classes: the only ones that are; () = all.
    """

    segment_s: float = 4.0
    snr_db: tuple[float, float] = (-8.0, 25.0)
    level_db: tuple[float, float] = (-45.0, -5.0)
    source_weights: dict[str, float] = field(default_factory=dict)
    leave_classes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    diffuse: float = 0.5
    clean: float = 0.03
    noise_only: float = 0.04
    late_start: float = 0.0
    whispered: float = 0.0
    moving: float = 0.0
    dry: float = 0.08
    measured_room: float = 0.10
    babble: float = 0.08
    synthetic_noise: float = 0.35
    varied_noise: float = 0.85
    speech_speed: float = 0.0
    equaliser: float = 0.3
    low_pass: float = 0.08
    clipping: float = 0.05
    sensor_noise: float = 0.3
    gain_spread: float = 0.3
    dead_microphone: float = 0.05
    device_delay: float = 0.05


def no_augmentation(config: MixConfig) -> MixConfig:
    """Settings without distortions and rarities, so that validation hears plain scenes."""
    off = [f.name for f in fields(MixConfig) if f.type is float and f.name not in ("segment_s", "diffuse")]
    values: dict[str, Any] = dict.fromkeys(off, 0.0)
    return replace(config, **values)


@dataclass
class Scene:
    """One drawn scene, before mixing.

    speech [n_samples]; point_noises [N_NOISES, n_samples] (zeros where unused); waves [n_waves, n_samples] of the
    diffuse part; responses [1 + N_NOISES, n_mics, MAX_TAPS]; early [2, MAX_TAPS] at the reference; wave_delays
    [n_waves, n_mics] in seconds; mic_gains, mic_delays_s [n_mics]; equaliser_db [n_points]; the rest are scalars
    (clip: fraction of the peak, 1 = none; low_pass_hz: 0 = none; sensor_db: below the noisy level, -inf = none).

    A talker who moves leaves the first place for the last one at `leaves_s` and is there after `moves_s` (leaves_s inf:
    he stays). The last response is then his, and the last point noise silent. The early parts are of these two places.
    """

    speech: np.ndarray
    point_noises: np.ndarray
    waves: np.ndarray
    responses: np.ndarray
    early: np.ndarray
    wave_delays: np.ndarray
    mic_gains: np.ndarray
    mic_delays_s: np.ndarray
    equaliser_db: np.ndarray
    snr_db: float
    level_db: float
    clip: float
    low_pass_hz: float
    sensor_db: float
    leaves_s: float
    moves_s: float
    facts: dict[str, str | float]
