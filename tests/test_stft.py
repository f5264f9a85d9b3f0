"""Analysis and synthesis are transparent, hop by hop as in one call."""

import numpy as np
import pytest

from quietmic.enhance.card import StftConfig
from quietmic.enhance.stft import Stft


@pytest.mark.parametrize("config", [StftConfig(), StftConfig(hop_length=128), StftConfig(n_fft=512, win_length=256,
                                                                                        hop_length=128)])  # fmt: skip
def test_reconstruction(config: StftConfig) -> None:
    stft = Stft(config)
    signal = np.random.default_rng(0).standard_normal((1, 40 * config.hop_length)).astype(np.float32)
    state, live = stft.initial_state(1), stft.initial_state(1)
    output = stft.synthesise(stft.analyse(signal, state)[0], state)
    assert stft.delay == config.win_length - config.hop_length
    assert np.abs(output[stft.delay :] - signal[0, : -stft.delay]).max() < 1e-6
    spectrum, parts = np.zeros((1, config.n_freqs), np.complex64), []
    for hop in np.split(signal, 40, axis=1):
        stft.analyse_hop(hop, live, spectrum)
        parts.append(stft.synthesise_hop(spectrum[0], live))
    assert np.abs(np.concatenate(parts) - output).max() < 1e-6


def test_hop_by_hop_is_the_same_as_one_call() -> None:
    config = StftConfig()
    stft = Stft(config)
    signal = np.random.default_rng(1).standard_normal((3, 9 * 256)).astype(np.float32)
    at_once, by_hops = stft.initial_state(3), stft.initial_state(3)
    spectra = stft.analyse(signal, at_once)
    hops = [stft.analyse(hop, by_hops) for hop in np.split(signal, 9, axis=1)]
    assert spectra.shape == (3, config.n_freqs, 9)
    assert np.abs(spectra - np.concatenate(hops, axis=2)).max() < 1e-4
    output = stft.synthesise(spectra[0], at_once)
    parts = [stft.synthesise(hop[0], by_hops) for hop in hops]
    assert np.abs(output - np.concatenate(parts)).max() < 1e-6


def test_agrees_with_torch() -> None:
    """Training sees the spectra that the run time sees."""
    torch = pytest.importorskip("torch")
    config = StftConfig()
    stft = Stft(config)
    signal = np.random.default_rng(2).standard_normal((1, 10 * 256)).astype(np.float32)
    ours = stft.analyse(signal, stft.initial_state(1))[0]
    padded = torch.nn.functional.pad(torch.from_numpy(signal[0]), (256, 0))
    window = torch.hann_window(512, periodic=True).sqrt()
    theirs = torch.stft(padded, 512, 256, window=window, center=False, return_complex=True).numpy()
    assert np.abs(ours - theirs).max() < 1e-4


def test_windows_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="win_length"):
        StftConfig(hop_length=200)
    with pytest.raises(ValueError, match="window"):
        StftConfig(window="hamming")
