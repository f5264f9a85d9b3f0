"""The enhancers as a task of compression: batches of scenes, the training loss, real frames."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quietmic.compression.cost import RtfModel
from quietmic.enhance.card import StftConfig
from quietmic.enhance.network import OnnxNetwork, hop_path
from quietmic.models.mixtures.mixing import mix
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.networks.beam import beam_or_reference
from quietmic.models.networks.blocks import compress as compress_spectrum
from quietmic.models.networks.count import LayerCount
from quietmic.models.networks.inputs import EXAMPLE_FRAMES
from quietmic.models.networks.registry import build
from quietmic.models.networks.spectra import analysis
from quietmic.models.networks.structure import changes
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.losses import Weights, scale_of, spectra_loss
from quietmic.models.training.precision import bfloat16_where_fast
from quietmic.models.training.trainer import batches

STFT = StftConfig()
HOP_S = STFT.hop_length / STFT.sample_rate
EXAMPLE_S = EXAMPLE_FRAMES * HOP_S
DECISIVE = ("mix", "batch_size", "unit_share", "mics", "seed", "pesq_weight", "stoi_weight")  # what batches depend on
FRAMES_PER_SCENE = 25  # for the calibration of int8

Feed = dict[str, np.ndarray]  # inputs of a graph by name
OPERATORS_PER_LAYER = 6  # ONNX operators around one layer with weights, where no graph of the parent tells


def fresh_like(network: Any) -> Callable[[], nn.Module] | None:
    """Builds the network with the weights that its training starts from; None where its layers were compressed."""

    def fresh() -> nn.Module:
        return build(network.family, **asdict(network.config))

    return None if changes(fresh(), network) else fresh


@dataclass(frozen=True)
class SpeechBatch:
    """Spectra noisy [B, n_mics, F, T, 2] and beam [B, F, T, 2], audio [B, n_samples] for the loss, the units or None.

    `weights` are those of terms of the training's loss.
    """

    noisy: Tensor
    beam: Tensor
    noisy_wave: Tensor
    target_wave: Tensor
    units: list[Tensor] | None  # of FullSubNet, those of each width that are computed
    weights: Weights = field(default_factory=Weights)


class SpeechData:
    """Training scenes without end, the same in each iteration; the parent's mask drives the beamformer of arrays."""

    def __init__(self, source: SceneSource, config: TrainConfig, parent: Any, first: int = 0) -> None:
        self.source, self.config, self.parent, self.first = source, config, parent.eval(), first

    def __iter__(self) -> Iterator[SpeechBatch]:
        for step, scenes in enumerate(batches(self.source, self.config, self.first, 0), start=self.first):
            batch = mix(scenes, torch.device("cpu"), seed=step)
            noisy, units = analysis(batch.noisy, STFT), None
            if self.config.unit_share < 1:
                units = self.parent.draw_units(self.config.unit_share, torch.Generator().manual_seed(step))
            freqs = None if units is None else self.parent.frequencies(units)
            beam = beam_or_reference(noisy, freqs, partial(self._mask, noisy, units))
            yield SpeechBatch(noisy, beam, batch.noisy[:, 0], batch.target, units, self.config.weights_at(step))

    def skip(self, n: int) -> "SpeechData":
        """The scenes from batch n on, at no cost."""
        return SpeechData(self.source, self.config, self.parent, self.first + n)

    @property
    def identity(self) -> dict[str, Any]:
        """What the batches depend on, as plain values: packs, rooms, measured responses, settings of the training."""
        source, measured = self.source, hashlib.sha256()
        for response in source.measured:
            measured.update(response.tobytes())
        settings = asdict(self.config)
        return {
            "speech": source.speech.sha256, "noise": source.noise.sha256, "rooms": len(source.rooms),
            "measured": measured.hexdigest() if source.measured else None, "first": self.first,
            **{name: settings[name] for name in DECISIVE},
        }  # fmt: skip

    @torch.no_grad()
    def _mask(self, noisy: Tensor, units: list[Tensor] | None) -> Tensor:
        """Speech presence [B, F, T] that the parent sees at the reference alone."""
        return _forward(self.parent, noisy[:, :1], noisy[:, 0], units)[1]


def _forward(model: Any, noisy: Tensor, beam: Tensor, units: list[Tensor] | None) -> tuple[Tensor, Tensor, Any]:
    """A network from its initial state, all of it or its `units`."""
    chosen = {} if units is None else {"units": units}
    return model(noisy, beam, model.initial_state(len(noisy), **chosen), **chosen)


def _run(model: Any, batch: SpeechBatch) -> Tensor:
    """Enhanced spectra of a batch, of its units where it has some; scores are taken in full precision."""
    with bfloat16_where_fast(batch.noisy.device, enabled=model.training):
        return _forward(model, batch.noisy, batch.beam, batch.units)[0].float()


def loss(model: nn.Module, batch: SpeechBatch) -> Tensor:
    """The training loss of models/training/losses.py."""
    freqs = None if batch.units is None else model.frequencies(batch.units)
    enhanced = _run(model, batch)
    return spectra_loss(enhanced, batch.target_wave, batch.noisy_wave, STFT, freqs, batch.weights)


def predict(model: nn.Module, batch: SpeechBatch) -> Tensor:
    """Compressed enhanced spectra at the target's level: what distillation and `curl` compare."""
    scale = scale_of(batch.target_wave, batch.noisy_wave)[:, None, None, None]
    return compress_spectrum(_run(model, batch) / scale)[0]


HopSeconds = Callable[[float, int, float], float]  # MACs, operators, bytes of weights of one hop -> its time in s


def rtf_model(hop_seconds: HopSeconds, n_operators: int | None = None) -> RtfModel:
    """Real-time factor of a network run frame by frame, from a machine's cost of one hop.

    Args:
        hop_seconds: cost of a board (devices/boards.toml) or of this machine (timing.py).
        n_operators: of the graph; estimated from the layers where it is not known.
    """

    def rtf(layers: Any, seconds: float) -> float:
        rows: list[LayerCount] = list(layers)
        hops = seconds / HOP_S
        macs = sum(layer.macs for layer in rows) / hops
        operators = n_operators or OPERATORS_PER_LAYER * len(rows)
        return hop_seconds(macs, operators, 4.0 * sum(layer.parameters for layer in rows)) / HOP_S

    return rtf


def operators_of(path: Path) -> int:
    """Number of operators that do work in what a stream runs of an ONNX file: the graph for hops where there is one."""
    import onnx

    graph = onnx.load(str(hop_path(path) if hop_path(path).is_file() else path)).graph
    return sum(node.op_type not in ("Constant", "Identity", "Cast") for node in graph.node)


def real_frames(path: Path, data: SpeechData, n_scenes: int = 6) -> Iterator[Feed]:
    """Inputs of an ONNX enhancer over training scenes, states included: calibration of int8."""
    network = OnnxNetwork(path)
    for batch in islice(data, n_scenes):
        state = network.initial_state()
        noisy, beam = batch.noisy[:1].numpy(), batch.beam[:1].numpy()
        n_frames = noisy.shape[3]
        chosen = {i * n_frames // FRAMES_PER_SCENE for i in range(FRAMES_PER_SCENE)}
        for t in range(n_frames):
            frame = np.ascontiguousarray(noisy[:, :, :, t : t + 1])
            own = np.ascontiguousarray(beam[:, :, t : t + 1])
            if t in chosen:
                yield {"noisy": frame, **({"beam": own} if network.uses_beam else {}), **state}
            _, _, state = network.step(frame, own, state)
