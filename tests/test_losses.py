"""The training loss against the metrics that it stands for, and the filters in it against scipy's."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import butter, lfilter

from quietmic.enhance.card import StftConfig
from quietmic.enhance.measure.metrics import pesq_wb, stoi
from quietmic.models.networks.spectra import analysis, synthesis
from quietmic.models.training.losses import (
    Weights,
    band_loss,
    filter_spectrum,
    first_those_kept,
    negative_snr,
    pesq_loss,
    spectra_loss,
    spectral_loss,
    stoi_loss,
    wave_loss,
)


def test_loss_is_lowest_at_the_target_and_finite_without_speech() -> None:
    rng = torch.Generator().manual_seed(0)
    target, noise = torch.randn(2, 8000, generator=rng), torch.randn(2, 8000, generator=rng)
    noisy = target + noise
    losses = [float(wave_loss(target + share * noise, target, noisy)) for share in (0.0, 0.3, 1.0)]
    assert losses == sorted(losses)
    assert float(negative_snr(noisy, target, noisy).mean()) == pytest.approx(0.0, abs=0.3)
    silent = wave_loss(0.1 * noise, torch.zeros_like(noise), noise)
    assert torch.isfinite(silent)
    assert float(silent) < float(wave_loss(noise, torch.zeros_like(noise), noise))


def test_pesq_loss_orders_as_pesq_does(recordings: Path) -> None:
    """More noise costs more; a scene without speech nothing; the gradient leads to a better score."""
    clean = torch.from_numpy(soundfile.read(recordings / "mono_keyboard_clean.flac", dtype="float32")[0])[None, :48000]
    noise = 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    signals = [clean + gain * noise for gain in (0.0, 0.1, 0.3, 1.0)]
    costs = [float(pesq_loss(signal, clean, signal)) for signal in signals]
    scores = [pesq_wb(clean[0].numpy(), signal[0].numpy(), 16000) or 0.0 for signal in signals]
    assert costs == sorted(costs)
    assert scores == sorted(scores, reverse=True)
    assert float(pesq_loss(noise, torch.zeros_like(noise), noise)) == 0.0
    pushed = signals[3].clone().requires_grad_()
    pesq_loss(pushed, clean, pushed.detach()).backward()
    better = pushed.detach() - 1e-3 * pushed.grad / pushed.grad.abs().mean()
    assert float(pesq_loss(better, clean, better)) < costs[3]


def test_stoi_loss_is_what_stoi_misses(recordings: Path) -> None:
    clean = torch.from_numpy(soundfile.read(recordings / "mono_keyboard_clean.flac", dtype="float32")[0])[None, :48000]
    noise = 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    for gain in (0.1, 0.3, 1.0):
        noisy = clean + gain * noise
        expected = 1 - (stoi(clean[0].numpy(), noisy[0].numpy(), 16000) or 0.0)
        assert float(stoi_loss(noisy, clean, noisy)) == pytest.approx(expected, abs=0.02)
    assert float(stoi_loss(noise, torch.zeros_like(noise), noise)) == 0.0
    pushed = noisy.clone().requires_grad_()
    stoi_loss(pushed, clean, noisy).backward()
    better = noisy - 1e-3 * pushed.grad / pushed.grad.abs().mean()
    assert float(stoi_loss(better, clean, better)) < float(stoi_loss(noisy, clean, noisy))


def test_perceptual_terms_add_to_the_loss_of_spectra(recordings: Path) -> None:
    clean = torch.from_numpy(soundfile.read(recordings / "mono_keyboard_clean.flac", dtype="float32")[0])[None, :32000]
    noisy = clean + 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    stft = StftConfig()
    n_samples = synthesis(analysis(noisy, stft), stft).shape[1]
    pair = noisy[:, :n_samples], clean[:, :n_samples]
    plain, pesq, both = (
        float(spectra_loss(analysis(noisy, stft), clean, noisy, stft, weights=weights))
        for weights in (None, Weights(pesq=0.5), Weights(0.5, 2.0))
    )
    assert pesq - plain == pytest.approx(0.5 * float(pesq_loss(*pair, pair[0])), rel=1e-3)
    assert both - pesq == pytest.approx(2 * float(stoi_loss(*pair, pair[0])), rel=1e-3)


def test_some_frequencies_are_compared_as_they_are() -> None:
    """No audio can be made of them: all three places that knew so had a switch of their own."""
    rng, stft, freqs = torch.Generator().manual_seed(0), StftConfig(), torch.tensor([3, 100, 256])
    target = torch.randn(2, 8000, generator=rng)
    noisy = target + torch.randn(2, 8000, generator=rng)
    spectra, wanted = analysis(noisy, stft)[:, freqs], analysis(target, stft)[:, freqs]
    steps = [wanted + share * (spectra - wanted) for share in (0.0, 0.3, 1.0)]
    losses = [float(spectra_loss(step, target, noisy, stft, freqs)) for step in steps]
    assert losses == sorted(losses)
    turned = spectra_loss(spectra.flip(1), target, noisy, stft, freqs.flip(0))
    assert float(turned) == pytest.approx(losses[2], rel=1e-5)
    wrong = spectra_loss(spectra.flip(1), target, noisy, stft, freqs)
    assert float(wrong) > losses[2] + 1


def test_filter_by_spectra_is_the_recursive_one() -> None:
    wave = np.random.default_rng(0).normal(size=(2, 20000)).astype(np.float32)
    b, a = (np.asarray(part, np.float32) for part in butter(5, [325, 3250], fs=16000, btype="band"))
    expected = lfilter(b.astype(float), a.astype(float), wave.astype(float))
    got = filter_spectrum(torch.from_numpy(wave), torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_kept_frames_move_to_the_front_in_order() -> None:
    frames = torch.arange(1.0, 9.0).reshape(2, 4, 1)
    kept = torch.tensor([[False, True, False, True], [True, True, True, False]])
    assert first_those_kept(frames, kept)[..., 0].tolist() == [[2, 4, 0, 0], [5, 6, 7, 0]]


def test_speech_that_is_cut_away_counts_more_than_noise_that_is_left() -> None:
    target = torch.rand(2, 257, 9, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    plain, weighted = (lambda gain, w=w: spectral_loss(gain * target, target, w) for w in (0.0, 1.0))
    assert torch.allclose(weighted(1.5), plain(1.5), rtol=1e-6)
    # of one phase, both parts of the error are equal: the magnitude's share of 0.7 counts once more
    assert torch.allclose(weighted(0.5), 1.7 * plain(0.5), rtol=1e-4)


def test_over_attenuation_counts_on_all_frequencies_and_on_some() -> None:
    clean = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    stft, weights = StftConfig(), Weights(over_attenuation=2.0)
    spectra, freqs = 0.3 * analysis(clean, stft), torch.arange(20, 60)
    for chosen, part in ((None, spectra), (freqs, spectra[:, freqs])):
        plain = spectra_loss(part, clean, clean, stft, chosen)
        assert float(spectra_loss(part, clean, clean, stft, chosen, weights)) > 1.5 * float(plain)


def test_terms_of_the_loss_in_numbers() -> None:
    """Seven tenths for magnitudes, three for complex values; ten for spectra, a twentieth for each dB."""
    ones = torch.tensor([1.0, 0.0]).expand(2, 5, 3, 2)
    assert spectral_loss(2 * ones, ones).tolist() == pytest.approx([(2**0.3 - 1) ** 2] * 2, rel=1e-3)
    assert spectral_loss(-ones, ones).tolist() == pytest.approx([0.3 * 4] * 2, rel=1e-3)
    target, noise = torch.randn(2, 2, 32_000, generator=torch.Generator().manual_seed(0))
    assert negative_snr(target + 0.1 * noise, target, noise).tolist() == pytest.approx([-20, -20], abs=0.5)
    assert float(wave_loss(target, target, noise)) == pytest.approx(-0.05 * 30, abs=1e-4)  # 30 dB are as good as all
    # Compressed to the power of 0.3, white noise of unit spectra has a mean square of gamma(1.3).
    turned = 10 * 0.3 * 4 * math.gamma(1.3) + 0.05 * 10 * math.log10(4)
    assert float(wave_loss(-target, target, noise)) == pytest.approx(turned, rel=0.01)


def test_levels_do_not_count_and_neither_does_the_noisy_input_where_there_is_speech() -> None:
    generator, stft = torch.Generator().manual_seed(0), StftConfig()
    target, noise = torch.randn(2, 2, 16_000, generator=generator)
    enhanced = target + 0.3 * noise

    def losses(gain: float, noisy: torch.Tensor) -> list[float]:
        spectra = analysis(gain * enhanced, stft)
        values = wave_loss(gain * enhanced, gain * target, noisy), band_loss(spectra, gain * target, noisy, stft)
        return [float(value) for value in values]

    expected = losses(1.0, target + noise)
    for gain in (1e-2, 10.0):
        assert losses(gain, gain * (target + noise)) == pytest.approx(expected, rel=1e-3)
    assert losses(1.0, target + 3 * noise) == pytest.approx(expected, rel=1e-3)


def test_scenes_without_speech_count_as_perceived_and_those_in_loud_noise_do_not(recordings: Path) -> None:
    clean = torch.from_numpy(soundfile.read(recordings / "mono_keyboard_clean.flac", dtype="float32")[0])[None, :32000]
    noise = clean.std() * 10 ** (15 / 20) * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = clean + noise
    for loss in (pesq_loss, stoi_loss):
        alone = float(loss(noisy, clean, noisy))
        assert alone > 0.2
        both = loss(torch.cat([noisy, noise]), torch.cat([clean, 0 * clean]), torch.cat([noisy, noise]))
        assert float(both) == pytest.approx(alone / 2, rel=1e-3)
