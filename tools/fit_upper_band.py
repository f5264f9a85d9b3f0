"""Fits the rule above 8 kHz: python tools/fit_upper_band.py SCENES.

SCENES are made by `scenes --rate 48000 --split train`: never of the voices that figures are told for. Prints the fields
of `UpperSettings` in enhance/uppergains.py. Minutes.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.enhance.arrays import Array
from quietmic.enhance.card import StftConfig
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.files import audio
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.resample import StreamResampler
from quietmic.enhance.stft import Stft
from quietmic.enhance.uppergains import UpperGains

FRAMES_PER_HOP = 3
COMPRESSION = 0.3  # amplitudes count to this power: soft noise is heard beside loud speech
CLEAN_WEIGHT = 0.5  # of what is done to speech without noise
SILENCE = -23.0  # natural logarithm of a power that nobody hears


@dataclass
class Frames:
    """What a fit sees of a set of scenes: clues [n, n_bands, 3], levels and clean levels [n, n_bands], odds [n]."""

    clues: Tensor
    levels: Tensor
    clean: Tensor
    odds: Tensor


def read_scene(network: OnnxNetwork, noisy: Array, clean: Array, rate: int) -> list[Array]:
    """Clues, levels, clean levels and odds of the frames of one scene, as `UpperBand` would see them."""
    lower = network.card.stft
    hop = lower.hop_length * rate // lower.sample_rate // FRAMES_PER_HOP
    upper = Stft(StftConfig(rate, 2 * hop, hop, 2 * hop))
    gains = UpperGains(np.fft.rfftfreq(2 * hop, 1 / rate), 2 * hop, lower)
    resampler = StreamResampler(1, rate, lower.sample_rate)
    heard = resampler.process(noisy[None])
    stft = Stft(lower)
    spectra = stft.analyse(heard[:, : heard.shape[1] // lower.hop_length * lower.hop_length], stft.initial_state(1))
    given = np.ascontiguousarray(spectra).view(np.float32).reshape(1, 1, *spectra.shape[1:], 2)
    enhanced, _, _ = network.step(given, given[:, 0] if network.uses_beam else None, network.initial_state())
    evidence = gains.hear(np.ascontiguousarray(enhanced[0]).view(np.complex64)[..., 0], spectra[0])
    # As the stream has it: the first sample that a frame finishes waits for the filters of both resamplers.
    n = min(len(noisy) // hop, FRAMES_PER_HOP * (len(evidence) - 2))
    places = (np.arange(n) - 1) / FRAMES_PER_HOP + float(2 * resampler.delay) / lower.hop_length
    whole = places.astype(int)
    at = evidence[whole] + (places - whole)[:, None].astype(np.float32) * (evidence[whole + 1] - evidence[whole])
    levels, target = (gains.levels(np.ascontiguousarray(upper.analyse(x[None, : n * hop], upper.initial_state(1))[0].T))
                      for x in (noisy, clean))  # fmt: skip
    hops = [*(np.flatnonzero(np.diff(whole, prepend=-1))).tolist(), n]
    over = gains.over_floors(levels, 1 / (1 + np.exp(at[:, :1])), hops, gains.initial_state())
    near = np.broadcast_to(at[:, :1], levels.shape)
    return [np.stack([near, over, at[:, 1:] - levels], axis=2)[::3], levels[::3], target[::3], at[::3, 0]]


def gather(scenes: list[list[Array]]) -> Frames:
    """All frames of all scenes."""
    return Frames(*(torch.from_numpy(np.concatenate(part).astype(np.float32)) for part in zip(*scenes, strict=True)))


def loss(frames: Frames, weights: Tensor, bias: Tensor, exponent: Tensor, faint: Tensor) -> Tensor:
    """Mean squared difference of the compressed amplitudes of the bands."""
    noise = torch.sigmoid(-frames.odds)[:, None]
    taken = 1 - torch.sigmoid(frames.clues @ weights + bias) ** exponent.exp()
    gain = 1 - taken * noise / (noise + faint.exp())
    before, wanted = (torch.exp(0.5 * x.clamp_min(SILENCE)) for x in (frames.levels, frames.clean))
    return ((gain * before) ** COMPRESSION - wanted**COMPRESSION).square().mean()


def fit(noisy: Frames, clean: Frames) -> list[Tensor]:
    """Weights [3], bias [n_bands], logarithms of exponent and faint."""
    values = [torch.tensor([0.6, 0.7, 0.6]), torch.full((noisy.levels.shape[1],), -4.0), torch.tensor(-1.0)]
    values.append(torch.tensor(-5.0))
    for value in values:
        value.requires_grad_()
    optimiser = torch.optim.LBFGS(values, lr=0.5, max_iter=100, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        total = loss(noisy, *values) + CLEAN_WEIGHT * loss(clean, *values)
        total.backward()
        return total

    optimiser.step(step)
    return [value.detach() for value in values]


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", default="default", show_default=True, help="Network whose gains speak for the band above.")
def main(scenes: Path, model: str) -> None:
    """Fits the weights of the band above 8 kHz to SCENES of training voices, and prints them."""
    torch.set_num_threads(1)
    network = OnnxNetwork(find_model(model))
    noisy, clean = [], []
    for recording in find_recordings(scenes):
        if recording.clean is None:
            continue
        (heard, rate), (target, _) = audio.read(recording.noisy), audio.read(recording.clean)
        noisy.append(read_scene(network, heard[0], target[0], rate))
        clean.append(read_scene(network, target[0], target[0], rate))
    (near, own, level), bias, exponent, faint = fit(gather(noisy), gather(clean))
    click.echo(f"near = {near:.3f}\nown = {own:.3f}\nlevel = {level:.3f}\nexponent = {exponent.exp():.3f}")
    click.echo(f"bias = ({', '.join(f'{value:.2f}' for value in bias)})\nfaint = {faint.exp():.4f}")


if __name__ == "__main__":
    main()
