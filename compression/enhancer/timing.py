"""What a hop of an enhancer costs on this machine: a few widths of it are exported, run in turns and fitted."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import nn

from quietmic.compression.enhancer.speech import STFT
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.surgery import cut
from quietmic.enhance.card import ModelCard
from quietmic.enhance.measure.speed import hop_times
from quietmic.enhance.progress import Progress, silent
from quietmic.models.export import export
from quietmic.models.networks.count import count
from quietmic.models.networks.inputs import EXAMPLE_FRAMES, example_inputs

N_WIDTHS = 9  # from the whole network to the narrowest
NARROWEST = 0.2
APART = 0.4  # range in which the widths of groups are drawn about that, so that MACs and bytes part
SECONDS = 20.0  # of audio that each of them gets
LESS = 1e-6  # of the squares, by which a fit with more terms must be nearer


@dataclass(frozen=True)
class HopCosts:
    """Time of a live hop of one network at any width, on the machine where it was measured.

    Attributes:
        base_s: of the stream and of the operators, whose number does not change with the widths.
        seconds_per_mac: of a multiply-accumulate.
        seconds_per_byte: of the weights that are read.
        seconds_per_far_byte: of those beyond what the caches keep from one hop to the next, besides.
        near_bytes: what the caches keep.
    """

    base_s: float
    seconds_per_mac: float
    seconds_per_byte: float
    seconds_per_far_byte: float
    near_bytes: float

    def hop_seconds(self, macs: float, n_operators: int, weight_bytes: float) -> float:
        """Expected time of one hop, in the form of a board's cost table (the operators are in `base_s`)."""
        far = max(weight_bytes - self.near_bytes, 0.0) * self.seconds_per_far_byte
        return self.base_s + macs * self.seconds_per_mac + weight_bytes * self.seconds_per_byte + far


def fit_costs(points: Sequence[tuple[float, float]], times: Sequence[float]) -> HopCosts:
    """Costs that come nearest to measured times, relative to them, by least squares; none is negative.

    Args:
        points: (MACs, bytes of weights) of a hop of each network.
        times: of a hop of each, in s.
    """
    macs, weights = np.array(points).T
    seconds = np.array(times)
    found, least = [0.0] * 5, np.inf
    for near in sorted(weights):
        terms = (np.ones_like(macs), macs, weights, np.maximum(weights - near, 0.0))
        table = np.stack(terms, axis=1) / seconds[:, None]
        for chosen in (list(some) for n in range(1, 5) for some in combinations(range(4), n)):
            values = np.zeros(4)
            values[chosen] = np.linalg.lstsq(table[:, chosen], np.ones(len(seconds)), rcond=None)[0]
            error = float(np.square(table @ values - 1).sum())
            if (values >= 0).all() and error < least - LESS:
                found, least = [*values.tolist(), float(near)], error
    return HopCosts(*found)


def measure_hop_costs(network: nn.Module, progress: Progress = silent) -> HopCosts:
    """Exports a network at several widths and times a live hop of each, one microphone and one thread, in turns."""
    structure, drawn = find_groups(network, example_inputs), torch.Generator().manual_seed(0)
    card = ModelCard(str(network.family), STFT, 8, 0, None, None, None, 0, 0)
    points: list[tuple[float, float]] = []
    paths: list[Path] = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(N_WIDTHS):
            middle = 1 - (1 - NARROWEST) * index / (N_WIDTHS - 1)
            shares = middle + APART * (torch.rand(len(structure.groups), generator=drawn) - 0.5) * bool(index)
            kept = {
                group.name: torch.arange(group.n_units) < max(1, round(group.n_units * min(float(share), 1.0)))
                for group, share in zip(structure.groups, shares, strict=True)
            }
            model = cut(network, structure, kept)
            paths.append(export(model, card, Path(folder) / f"{index}.onnx"))
            figures = count(model, example_inputs(model))
            points.append((figures.macs / EXAMPLE_FRAMES, 4.0 * figures.parameters))
            progress("timing", index + 1, N_WIDTHS, f"{1e-6 * figures.parameters:.3f}M parameters")
        return fit_costs(points, hop_times(paths, SECONDS))
