"""The online MVDR of enhance/beamform.py for training: whole utterances, batched, the same numbers.

Souden et al. 2010; covariances are recursive means over the frames before, driven by a given mask.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from quietmic.enhance.beamform import MIN_TRACE, SILENCE, BeamSettings

SETTINGS = BeamSettings()


@torch.no_grad()
def beamform(noisy: Tensor, mask: Tensor) -> Tensor:
    """Beam at the reference (microphone 0) of every frame, by the masks of the frames before it.

    Args:
        noisy: [B, n_mics, F, T, 2].
        mask: speech presence [B, F, T].

    Returns:
        [B, F, T, 2].
    """
    spectra = torch.view_as_complex(noisy.float().contiguous()).permute(0, 2, 3, 1)  # [B, F, T, M]
    n_mics = spectra.shape[3]
    outer = spectra[..., :, None] * spectra[..., None, :].conj()  # [B, F, T, M, M]
    speech = _means_before(outer, mask**SETTINGS.speech_sharpness)
    noise = _means_before(outer, (1 - mask) ** SETTINGS.noise_sharpness)
    eye = torch.eye(n_mics, device=noisy.device, dtype=spectra.dtype)
    mean_power = (noise + SETTINGS.speech_loading * speech).diagonal(dim1=-2, dim2=-1).sum(dim=-1).real / n_mics
    loading = (SETTINGS.loading * mean_power + SILENCE).double()  # the covariances of few frames are nearly singular
    loaded = noise + loading[..., None, None] * eye
    ratio = torch.linalg.solve(loaded, speech.to(loaded.dtype)).to(spectra.dtype)
    trace = ratio.diagonal(dim1=-2, dim2=-1).sum(dim=-1).real
    heard = trace > MIN_TRACE
    weights = ratio[..., :, 0] / torch.where(heard, trace, torch.ones_like(trace))[..., None]
    weights = torch.where(heard[..., None], weights, eye[0])
    noise_power, speech_power = noise[..., 0, 0].real, speech[..., 0, 0].real
    share = noise_power / (noise_power + SETTINGS.low_noise * speech_power + SILENCE)
    weights = eye[0] + share[..., None] * (weights - eye[0])
    return torch.view_as_real((weights.conj() * spectra).sum(dim=-1))


def beam_or_reference(noisy: Tensor, bands: Tensor | None, mask: Callable[[], Tensor]) -> Tensor:
    """What stands beside the reference in the network's input [B, F, T, 2].

    Args:
        noisy: [B, n_mics, F, T, 2].
        bands: [n_bands] frequencies at which the beam is wanted; the others keep the reference. None: all.
        mask: gives the speech presence [B, n_bands, T]; asked for arrays only, one microphone being its own beam.
    """
    beam = noisy[:, 0]
    if noisy.shape[1] == 1:
        return beam
    chosen = slice(None) if bands is None else bands
    beam = beam.clone()
    beam[:, chosen] = beamform(noisy[:, :, chosen], mask())
    return beam


def _means_before(outer: Tensor, weight: Tensor) -> Tensor:
    """Recursive means [B, F, T, M, M] of the frames before each frame, weighted by [B, F, T]."""
    time = torch.arange(outer.shape[2], device=outer.device, dtype=weight.dtype)
    lag, forgetting = time[:, None] - time[None, :] - 1, SETTINGS.forgetting
    window = torch.where(lag >= 0, (1 - forgetting) * forgetting ** lag.clamp_min(0.0), torch.zeros_like(lag))
    weighted = torch.view_as_real(outer * weight[..., None, None]).flatten(3)  # [B, F, T, 2 M M]
    return torch.view_as_complex((window @ weighted).unflatten(3, (*outer.shape[3:], 2)).contiguous())
