"""Trains the head above 8 kHz: python tools/train_upper_band.py SCENES.

SCENES are made by `scenes --rate 48000 --split train`: never of the voices that figures are told for. Writes the
weights beside enhance/upperhead.py. Minutes.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

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
from quietmic.enhance.upperhead import HEAD_FILE, N_BEFORE

FRAMES_PER_HOP = 3
COMPRESSION = 0.3  # amplitudes count to this power: soft noise is heard beside loud speech
LOGARITHMS = 8e-4  # weight of their logarithms, which count the soft noise of pauses as much as speech
RANGE_DB = 50.0
CLEAN_WEIGHT = 0.2  # of what is done to speech without noise
N_UNITS = 24
EPOCHS = 20
BATCH = 512
JITTER = 0.3  # noise on the clues, natural logarithms: few voices and noises must do for all
SHARPER = (1.3, 0.3)  # factor and summand of the odds that are learned: spectra of training scenes come nearer in dB
FAINT = 0.0073  # as `UpperSettings.faint`, which is smaller: pauses become quieter than what is learned for
SILENCE = -23.0  # natural logarithm of a power that nobody hears


@dataclass
class Frames:
    """What is learned from: clues [n, (N_BEFORE + 1) * n_clues] of each frame and those before, shares of noise [n, 1].

    Levels and clean levels are [n, n_bands]; `floors` [n, n_bands] lie 50 dB below the loudest of each clean scene:
    what is softer counts as that in decibels.
    """

    clues: Tensor
    noise: Tensor
    levels: Tensor
    clean: Tensor
    floors: Tensor

    def take(self, index: Tensor) -> "Frames":
        """Some of them."""
        return Frames(self.clues[index], self.noise[index], self.levels[index], self.clean[index], self.floors[index])


def read_scene(network: OnnxNetwork, noisy: Array, clean: Array, rate: int) -> list[Array]:
    """Clues, shares of noise, levels, clean levels and floors of one scene, as `UpperBand` would see it."""
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
    clues, noise = gains.weigh(levels, at, hops, gains.initial_state())
    beside = np.concatenate([clues[k : k + n] for k in range(N_BEFORE + 1)], axis=1)
    floors = np.full_like(levels, target.max() - np.log(10) * RANGE_DB / 10)
    return [part[::2] for part in (beside, noise, levels, target, floors)]


def gather(scenes: list[list[Array]]) -> Frames:
    """All frames of all scenes."""
    return Frames(*(torch.from_numpy(np.concatenate(part).astype(np.float32)) for part in zip(*scenes, strict=True)))


def loss(frames: Frames, odds: Tensor) -> Tensor:
    """Mean squared differences of the compressed amplitudes of the bands, and of their logarithms."""
    gain = 1 - torch.sigmoid(-odds) * frames.noise / (frames.noise + FAINT)
    before, wanted = (torch.exp(0.5 * x.clamp_min(SILENCE)) for x in (frames.levels, frames.clean))
    amplitudes = ((gain * before) ** COMPRESSION - wanted**COMPRESSION).square().mean()
    after = frames.levels + 2 * gain.log()
    logarithms = torch.maximum(after, frames.floors) - torch.maximum(frames.clean, frames.floors)
    return amplitudes + LOGARITHMS * logarithms.square().mean()


def train(noisy: Frames, clean: Frames) -> nn.Sequential:
    """A head for frames of scenes and of speech without noise."""
    torch.manual_seed(0)
    n_clues, n_bands = noisy.clues.shape[1], noisy.levels.shape[1]
    head = nn.Sequential(
        nn.Linear(n_clues, N_UNITS), nn.ReLU(), nn.Linear(N_UNITS, N_UNITS), nn.ReLU(), nn.Linear(N_UNITS, n_bands)
    )
    optimiser = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=0.02)
    for epoch in range(EPOCHS):
        losses = []
        for index in torch.randperm(len(noisy.clues)).split(BATCH):
            some, quiet = noisy.take(index), clean.take(torch.randint(len(clean.clues), (BATCH // 4,)))
            total = CLEAN_WEIGHT * loss(quiet, head(quiet.clues))
            total = total + loss(some, head(some.clues + JITTER * torch.randn_like(some.clues)))
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            losses.append(total.item())
        click.echo(f"epoch {epoch + 1}: {np.mean(losses):.6f}")
    return head


def save(layers: list[nn.Linear]) -> int:
    """Writes the weights as `run_head` reads them, and tells how many there are."""
    factor, summand = SHARPER
    values = {}
    for k, layer in enumerate(layers):
        weights, bias = layer.weight.detach().T.numpy(), layer.bias.detach().numpy()
        if k == len(layers) - 1:
            weights, bias = factor * weights, factor * bias + summand
        values[f"weights_{k}"], values[f"bias_{k}"] = weights.astype(np.float16), bias.astype(np.float16)
    np.savez(HEAD_FILE, **values)
    return sum(value.size for value in values.values())


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", default="default", show_default=True, help="Network whose work speaks for the band above.")
def main(scenes: Path, model: str) -> None:
    """Trains the head of the band above 8 kHz on SCENES of training voices, and writes its weights."""
    torch.set_num_threads(1)
    network = OnnxNetwork(find_model(model))
    noisy, clean = [], []
    for recording in find_recordings(scenes):
        if recording.clean is None:
            continue
        (heard, rate), (target, _) = audio.read(recording.noisy), audio.read(recording.clean)
        noisy.append(read_scene(network, heard[0], target[0], rate))
        clean.append(read_scene(network, target[0], target[0], rate))
    layers = [layer for layer in train(gather(noisy), gather(clean)) if isinstance(layer, nn.Linear)]
    click.echo(f"{HEAD_FILE}: {save(layers)} parameters")


if __name__ == "__main__":
    main()
