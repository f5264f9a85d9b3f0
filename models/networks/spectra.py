"""Analysis and synthesis in torch, frame for frame the same as the run time's (enhance/stft.py)."""

import torch
from torch import Tensor

from quietmic.enhance.card import StftConfig


def window(stft: StftConfig, device: torch.device) -> Tensor:
    """Square root of the periodic Hann window [win_length]."""
    return torch.hann_window(stft.win_length, periodic=True, device=device).sqrt()


def analysis(wave: Tensor, stft: StftConfig) -> Tensor:
    """Spectra [..., n_freqs, T, 2] of [..., n_samples]; frame t ends with sample (t + 1) * hop_length."""
    padded = torch.nn.functional.pad(wave, (stft.win_length - stft.hop_length, 0))
    frames = padded.unfold(-1, stft.win_length, stft.hop_length) * window(stft, wave.device)
    return torch.view_as_real(torch.fft.rfft(frames, stft.n_fft).transpose(-1, -2))


def synthesis(spectrum: Tensor, stft: StftConfig) -> Tensor:
    """Audio [B, (T - 1) * hop_length] of spectra [B, n_freqs, T, 2], aligned with the input of `analysis`."""
    frames = torch.fft.irfft(torch.view_as_complex(spectrum.contiguous()).transpose(1, 2), stft.n_fft)
    frames = frames[..., : stft.win_length] * window(stft, spectrum.device)
    length = (frames.shape[1] - 1) * stft.hop_length + stft.win_length
    wave = torch.nn.functional.fold(
        frames.transpose(1, 2), (1, length), (1, stft.win_length), stride=(1, stft.hop_length)
    )[:, 0, 0]
    overlap = stft.win_length - stft.hop_length
    return wave[:, overlap : length - overlap]
