"""The training loss: compressed spectra at several resolutions, SNR in time, and what PESQ and STOI find missing."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from quietmic.enhance.card import StftConfig
from quietmic.models.networks.blocks import compress
from quietmic.models.networks.spectra import analysis, synthesis

RESOLUTIONS = ((1024, 512), (512, 256), (256, 128))  # window and hop in samples
SPECTRAL_WEIGHT = 10.0
SNR_WEIGHT = 0.05  # per dB
MAGNITUDE_SHARE = 0.7
SNR_CEILING = 1e-3  # errors 30 dB below the target count no more
FILTER_TAPS = 4096  # by then the responses of PESQ's filters have fallen below float32


@dataclass(frozen=True)
class Weights:
    """Weights of the terms that follow PESQ and STOI, which need all frequencies, and of speech that is cut away."""

    pesq: float = 0.0
    stoi: float = 0.0
    over_attenuation: float = 0.0


def spectral_loss(enhanced: Tensor, target: Tensor, over_attenuation: float = 0.0) -> Tensor:
    """Error [B] of compressed spectra [B, F, T, 2]: magnitudes and complex values (Braun and Tashev 2020).

    Magnitudes below the target's count `over_attenuation` times more (Wang et al. 2020, VoiceFilter-Lite).
    """
    spectrum, magnitude = compress(enhanced)
    wanted_spectrum, wanted_magnitude = compress(target)
    error = MAGNITUDE_SHARE * (magnitude - wanted_magnitude).square()
    if over_attenuation:
        error = error + over_attenuation * MAGNITUDE_SHARE * (wanted_magnitude - magnitude).clamp_min(0).square()
    error = error + (1 - MAGNITUDE_SHARE) * (spectrum - wanted_spectrum).square().sum(dim=-1)
    return error.mean(dim=(1, 2))


def negative_snr(enhanced: Tensor, target: Tensor, noisy: Tensor) -> Tensor:
    """Minus the SNR in dB [B] of signals [B, ...]; where there is no speech, the level left of the noisy input."""
    error = (enhanced - target).square().flatten(1).sum(dim=1)
    wanted, given = target.square().flatten(1).sum(dim=1), noisy.square().flatten(1).sum(dim=1)
    scale = torch.where(wanted > 1e-4 * given, wanted, given).clamp_min(1e-9)
    return 10 * torch.log10(error / scale + SNR_CEILING)


def scale_of(target: Tensor, noisy: Tensor) -> Tensor:
    """Level [B] to divide signals [B, ...] by before compression: the target's, or the input's without speech."""
    wanted, given = (x.square().flatten(1).mean(dim=1).sqrt() for x in (target, noisy))
    return torch.where(wanted > 1e-2 * given, wanted, given).clamp_min(1e-6)


def pesq_loss(enhanced: Tensor, target: Tensor, noisy: Tensor) -> Tensor:
    """What PESQ (ITU-T P.862) takes off its best score before its curve, by torch-pesq: mean over scenes with speech.

    Audio [B, n_samples]; scenes without speech have no reference for it and count as zero.
    """
    spoken = _has_speech(target, noisy)
    if not spoken.any():
        return torch.zeros((), device=enhanced.device)
    lost = _ear(enhanced.device)(target[spoken], enhanced[spoken])
    return torch.nan_to_num(lost).sum().float() / len(target)


def stoi_loss(enhanced: Tensor, target: Tensor, noisy: Tensor) -> Tensor:
    """One minus STOI (Taal et al. 2011) by torch-stoi, at 16 kHz in place of 10: mean over scenes with speech.

    Audio [B, n_samples]; scenes without speech count as zero.
    """
    spoken = _has_speech(target, noisy)
    if not spoken.any():
        return torch.zeros((), device=enhanced.device)
    lost = 1 + _intelligibility(enhanced.device)(enhanced[spoken], target[spoken])
    return torch.nan_to_num(lost).sum().float() / len(target)


def _has_speech(target: Tensor, noisy: Tensor) -> Tensor:
    """Which scenes [B] have a target to compare with."""
    return target.square().mean(dim=1) > 1e-4 * noisy.square().mean(dim=1)


@cache
def _intelligibility(device: torch.device) -> nn.Module:
    """torch-stoi, its loop over scenes, which a GPU waits for hundreds of times, replaced by one sort."""
    from torch_stoi import NegSTOILoss, stoi

    stoi._mask_audio = first_those_kept
    return NegSTOILoss(sample_rate=16000, do_resample=False).to(device)


@cache
def _ear(device: torch.device) -> nn.Module:
    """torch-pesq, its recursive filters, which go sample by sample, replaced by products of spectra."""
    from torch_pesq import PesqLoss, loss

    loss.lfilter = filter_spectrum
    return PesqLoss(1.0, sample_rate=16000).to(device)


def first_those_kept(frames: Tensor, kept: Tensor) -> Tensor:
    """Frames [B, T, n] with those that are `kept` [B, T] moved to the front in their order, zeros behind them."""
    order = torch.argsort(kept.byte(), dim=1, descending=True, stable=True)
    moved = frames.gather(1, order[..., None].expand_as(frames))
    return moved * kept.gather(1, order)[..., None]


def filter_spectrum(wave: Tensor, a: Tensor, b: Tensor, clamp: bool = False) -> Tensor:
    """Recursive filter with denominator `a` and numerator `b`, its response cut after FILTER_TAPS, of [B, n_samples].

    The name and order of the arguments are those of torchaudio's lfilter; nothing is clamped.
    """
    n_samples = wave.shape[-1]
    n_fft = -(-(n_samples + FILTER_TAPS) // 4096) * 4096  # a length with small factors
    response = torch.fft.rfft(b.double(), n_fft) / torch.fft.rfft(a.double(), n_fft)
    return torch.fft.irfft(torch.fft.rfft(wave, n_fft) * response.to(torch.complex64), n_fft)[..., :n_samples]


def wave_loss(enhanced: Tensor, target: Tensor, noisy: Tensor, over_attenuation: float = 0.0) -> Tensor:
    """The loss of audio [B, n_samples]; `noisy` is the reference microphone."""
    scale = scale_of(target, noisy)[:, None]
    spectral = torch.zeros((), device=enhanced.device)
    for n_fft, hop in RESOLUTIONS:
        window = torch.hann_window(n_fft, device=enhanced.device)
        pair = torch.cat([enhanced / scale, target / scale])
        spectra = torch.stft(pair, n_fft, hop, window=window, return_complex=True) / (n_fft * 3 / 8) ** 0.5
        given, wanted = torch.view_as_real(spectra).chunk(2)
        spectral = spectral + spectral_loss(given, wanted, over_attenuation).mean() / len(RESOLUTIONS)
    return SPECTRAL_WEIGHT * spectral + SNR_WEIGHT * negative_snr(enhanced, target, noisy).mean()


def spectra_loss(
    enhanced: Tensor, target: Tensor, noisy: Tensor, stft: StftConfig, freqs: Tensor | None = None,
    weights: Weights | None = None,
) -> Tensor:  # fmt: skip
    """The loss that networks are trained by; all training and compression goes through here.

    Whole spectra become audio: `wave_loss` and the weighted terms. Of some frequencies no audio can be made: their loss
    is `band_loss`, and nothing is perceived.

    Args:
        enhanced: [B, n, T, 2] of all frequencies, or of `freqs`.
        target: audio [B, n_samples].
        noisy: audio of the reference microphone [B, n_samples].
        stft: of the network.
        freqs: [n], where a network was trained on some of them.
        weights: of the terms that few runs have; none by default.
    """
    weights = weights or Weights()
    if freqs is not None:
        return band_loss(enhanced, target, noisy, stft, freqs, weights.over_attenuation)
    wave = synthesis(enhanced, stft)
    n_samples = wave.shape[1]
    pair = target[:, :n_samples], noisy[:, :n_samples]
    loss = wave_loss(wave, *pair, weights.over_attenuation)
    if weights.pesq:
        loss = loss + weights.pesq * pesq_loss(wave, *pair)
    if weights.stoi:
        loss = loss + weights.stoi * stoi_loss(wave, *pair)
    return loss


def band_loss(
    enhanced: Tensor, target: Tensor, noisy: Tensor, stft: StftConfig, freqs: Tensor | None = None,
    over_attenuation: float = 0.0,
) -> Tensor:  # fmt: skip
    """The loss of the network's own spectra [B, n, T, 2] at `freqs` [n], or at all, against audio [B, n_samples]."""
    chosen = slice(None) if freqs is None else freqs
    target, noisy = (analysis(wave, stft)[:, chosen] for wave in (target, noisy))
    scale = scale_of(target, noisy)[:, None, None, None]
    spectral = spectral_loss(enhanced / scale, target / scale, over_attenuation).mean()
    return SPECTRAL_WEIGHT * spectral + SNR_WEIGHT * negative_snr(enhanced, target, noisy).mean()
