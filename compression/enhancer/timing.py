"""What a hop of an enhancer costs on this machine: a few widths of it are exported, run in turns and fitted."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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

N_WIDTHS = 6  # the whole network, and others with widths drawn for each group, so that MACs and bytes part
NARROWEST = 0.2
SECONDS = 10.0  # of audio that each of them gets


@dataclass(frozen=True)
class HopCosts:
    """Time of a live hop of one network at any width, on the machine where it was measured.

    Attributes:
        base_s: of the stream and of the operators, whose number does not change with the widths.
        seconds_per_mac: of a multiply-accumulate.
        seconds_per_byte: of the weights that are read.
    """

    base_s: float
    seconds_per_mac: float
    seconds_per_byte: float

    def hop_seconds(self, macs: float, n_operators: int, weight_bytes: float) -> float:
        """Expected time of one hop, in the form of a board's cost table (the operators are in `base_s`)."""
        return self.base_s + macs * self.seconds_per_mac + weight_bytes * self.seconds_per_byte


def fit_costs(points: Sequence[tuple[float, float]], times: Sequence[float]) -> HopCosts:
    """Costs that come nearest to measured times, relative to them, by least squares; none is negative.

    Args:
        points: (MACs, bytes of weights) of a hop of each network.
        times: of a hop of each, in s.
    """
    seconds = np.array(times)
    table = np.array([(1.0, *point) for point in points]) / seconds[:, None]
    fits = []
    for chosen in ([0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2]):
        values = np.zeros(3)
        values[chosen] = np.linalg.lstsq(table[:, chosen], np.ones(len(seconds)), rcond=None)[0]
        if (values >= 0).all():
            fits.append((float(np.square(table @ values - 1).sum()), values))
    return HopCosts(*min(fits, key=lambda found: found[0])[1].tolist())


def measure_hop_costs(network: nn.Module, progress: Progress = silent) -> HopCosts:
    """Exports a network at several widths and times a live hop of each, one microphone and one thread, in turns."""
    structure, drawn = find_groups(network, example_inputs), torch.Generator().manual_seed(0)
    card = ModelCard(str(network.family), STFT, 8, 0, None, None, None, 0, 0)
    points: list[tuple[float, float]] = []
    paths: list[Path] = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(N_WIDTHS):
            shares = NARROWEST + (1 - NARROWEST) * torch.rand(len(structure.groups), generator=drawn)
            kept = {
                group.name: torch.arange(group.n_units) < max(1, round(group.n_units * (float(share) if index else 1)))
                for group, share in zip(structure.groups, shares, strict=True)
            }
            model = cut(network, structure, kept)
            paths.append(export(model, card, Path(folder) / f"{index}.onnx"))
            figures = count(model, example_inputs(model))
            points.append((figures.macs / EXAMPLE_FRAMES, 4.0 * figures.parameters))
            progress("timing", index + 1, N_WIDTHS, f"{1e-6 * figures.parameters:.3f}M parameters")
        return fit_costs(points, hop_times(paths, SECONDS))
