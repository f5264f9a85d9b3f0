"""Scenes to audio on the training device: rooms, levels, SNR, microphones and distortions, a whole batch at a time."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from quietmic.models.mixtures.rooms import SAMPLE_RATE
from quietmic.models.mixtures.scene import Scene

Scenes = dict[str, Tensor]

ACTIVE_S = 0.02  # of a frame
ACTIVE_DB = 35.0  # frames that far below the loudest do not count as speech
EQUALISER_OCTAVES = 7.06  # from 60 Hz to 8 kHz


@dataclass
class Batch:
    """What microphones hear and what is wanted.

    Attributes:
        noisy: [B, n_mics, n_samples].
        target: [B, n_samples], direct sound + 50 ms at the reference microphone.
        reverberant: [B, n_samples], the talker there with all of the room's echo and without noise.
    """

    noisy: Tensor
    target: Tensor
    reverberant: Tensor


def stack_scenes(scenes: list[Scene]) -> Scenes:
    """Every field of the scenes but their facts, stacked to float32 tensors [B, ...]."""
    names = [f.name for f in fields(Scene) if f.name != "facts"]
    return {n: torch.from_numpy(np.stack([np.asarray(getattr(s, n), np.float32) for s in scenes])) for n in names}


def mix(
    scenes: Scenes, device: torch.device, seed: int, share: tuple[int, int] = (0, 1), sample_rate: int = SAMPLE_RATE
) -> Batch:
    """The audio of stacked scenes.

    Args:
        scenes: a batch, or one process's share of it.
        device: where to compute.
        seed: decides the sensor noise only, which is that of the whole batch.
        share: (k, n): the scenes are the k-th of n equal parts of a batch.
        sample_rate: Hz, of the scenes.
    """
    moves = bool(torch.isfinite(scenes["leaves_s"]).any())  # asked before the scenes go where asking waits
    scenes = {name: value.to(device, non_blocking=True) for name, value in scenes.items()}
    n_samples = scenes["speech"].shape[-1]
    n_fft = -(-(n_samples + scenes["responses"].shape[-1]) // 8192) * 8192  # a length with small factors
    sources = torch.cat([scenes["speech"][:, None], scenes["point_noises"]], dim=1)  # [B, S, N]
    if moves:
        _move(sources, scenes, sample_rate)
    spectra = torch.fft.rfft(sources, n_fft)  # [B, S, K]
    responses = torch.fft.rfft(scenes["responses"], n_fft)  # [B, S, M, K]
    images = spectra[:, :, None] * responses  # [B, S, M, K]
    talker, noise = images[:, 0], images[:, 1:].sum(dim=1)  # [B, M, K]
    target = spectra[:, 0] * torch.fft.rfft(scenes["early"][:, 0], n_fft)  # [B, K]
    if moves:
        there = torch.isfinite(scenes["leaves_s"])[:, None]
        target = target + there * spectra[:, -1] * torch.fft.rfft(scenes["early"][:, 1], n_fft)
        last = there[..., None] * images[:, -1]
        talker, noise = talker + last, noise - last
    freqs = torch.arange(n_fft // 2 + 1, device=device) * (sample_rate / n_fft)
    noise = noise + _diffuse(scenes, freqs, n_fft)
    device_filter = _microphones(scenes, freqs)  # [B, M, K]
    tone = tone_filter(scenes, freqs)  # [B, 1, K]
    parts = torch.stack([talker * device_filter, noise * device_filter], dim=1) * tone[:, None]
    parts = torch.fft.irfft(parts, n_fft)[..., :n_samples]  # [B, 2, M, N]
    heard = torch.fft.irfft(target * tone[:, 0], n_fft)[..., :n_samples]
    noisy = parts[:, 0] + _noise_gain(parts[:, :, 0], scenes, sample_rate)[:, None, None] * parts[:, 1]
    return _finish(noisy, torch.stack([heard, parts[:, 0, 0]], dim=1), scenes, seed, share)


def _move(sources: Tensor, scenes: Scenes, sample_rate: int) -> None:
    """Fades the talker of `sources` [B, S, N] over to the last place in the scenes where he moves, in place."""
    time = torch.arange(sources.shape[-1], device=sources.device) / sample_rate
    course = ((time - scenes["leaves_s"][:, None]) / scenes["moves_s"][:, None]).clamp(0.0, 1.0)  # [B, N]
    sources[:, -1] += course * sources[:, 0]
    sources[:, 0] *= 1 - course


def _diffuse(scenes: Scenes, freqs: Tensor, n_fft: int) -> Tensor:
    """Spectrum [B, M, K] of plane waves from all around; unit power each scene, or zero."""
    waves = scenes["waves"]
    power = waves.square().mean(dim=2).sum(dim=1).clamp_min(1e-10)
    present = (power > 1e-9).float()
    waves = torch.fft.rfft(waves * (present / power.sqrt())[:, None, None], n_fft)  # [B, W, K]
    delays = scenes["wave_delays"]  # [B, W, M]
    if delays.shape[1:] == (1, 1):
        return waves
    angle = -2 * torch.pi * delays[..., None] * freqs
    return (waves[:, :, None] * torch.polar(torch.ones_like(angle), angle)).sum(dim=1)


def _microphones(scenes: Scenes, freqs: Tensor) -> Tensor:
    """Gain and delay [B, M, K] of each microphone."""
    gains, delays = scenes["mic_gains"], scenes["mic_delays_s"]
    angle = -2 * torch.pi * delays[..., None] * freqs
    return torch.polar(gains[..., None].expand_as(angle).contiguous(), angle)


def tone_filter(scenes: Scenes, freqs: Tensor) -> Tensor:
    """Equaliser and band limit [B, 1, K] common to all microphones, the target included."""
    points = scenes["equaliser_db"]  # [B, n_points], evenly over the octaves from 60 Hz to 8 kHz
    octaves = torch.log2(freqs.clamp_min(60.0) / 60.0)
    place = (octaves * ((points.shape[1] - 1) / EQUALISER_OCTAVES)).clamp(max=points.shape[1] - 1.001)
    left = place.long()
    curve = torch.lerp(points[:, left], points[:, left + 1], place - left)  # [B, K]
    low_pass_hz = scenes["low_pass_hz"][:, None]
    stop = ((freqs - low_pass_hz) / 300.0).clamp(0.0, 1.0) * (low_pass_hz > 0)
    return (10 ** ((curve - 80.0 * stop) / 20.0))[:, None]


def active_power(wave: Tensor, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Mean power [B] of the 20 ms frames of [B, n_samples] that lie within 35 dB of the loudest one."""
    length = int(ACTIVE_S * sample_rate)
    frames = wave[:, : wave.shape[1] // length * length].unflatten(1, (-1, length))
    power = frames.square().mean(dim=2)
    active = power >= power.amax(dim=1, keepdim=True) * 10 ** (-ACTIVE_DB / 10)
    return (power * active).sum(dim=1) / active.sum(dim=1)


def _noise_gain(reference: Tensor, scenes: Scenes, sample_rate: int) -> Tensor:
    """Gain [B] that gives each scene its SNR at the reference microphone; reference is [B, 2, N]: speech, noise."""
    snr = scenes["snr_db"]
    speech, noise = (active_power(reference[:, k], sample_rate) for k in range(2))
    gain = torch.sqrt(speech / noise.clamp_min(1e-12)) * 10 ** (-snr / 20)
    return torch.where(speech > 0, gain, torch.ones_like(gain))


def _finish(noisy: Tensor, speech: Tensor, scenes: Scenes, seed: int, share: tuple[int, int]) -> Batch:
    """Sensor noise, level and clipping; `speech` [B, 2, n_samples] is the target and the reverberant speech."""
    power = noisy[:, 0].square().mean(dim=1).clamp_min(1e-12).sqrt()
    generator = torch.Generator(noisy.device).manual_seed(seed)
    k, n = share
    hiss = torch.randn((n * len(noisy), *noisy.shape[1:]), generator=generator, device=noisy.device).chunk(n)[k]
    hiss_gain = 10 ** (scenes["sensor_db"] / 20) * power
    noisy = noisy + hiss_gain[:, None, None] * hiss
    full_scale = 1 / noisy.abs().amax(dim=(1, 2)).clamp_min(1e-6)  # louder is turned down: clipping is drawn apart
    gain = torch.minimum(10 ** (scenes["level_db"] / 20) / power, full_scale)
    noisy = noisy * gain[:, None, None]
    clip = scenes["clip"][:, None, None]
    peak = noisy[:, :1].abs().amax(dim=2, keepdim=True)
    limit = torch.where(clip < 1, clip * peak, torch.ones_like(peak))
    return Batch(torch.minimum(torch.maximum(noisy, -limit), limit), *(speech * gain[:, None, None]).unbind(dim=1))
