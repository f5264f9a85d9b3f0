"""Analysis and synthesis hop by hop, with explicit state."""

from dataclasses import dataclass

import numpy as np

from quietmic.enhance.arrays import Array, Spectra
from quietmic.enhance.card import StftConfig


def sqrt_hann(win_length: int) -> Array:
    """Square root of the periodic Hann window, [win_length]."""
    phase = np.pi * np.arange(win_length) / win_length
    return np.sin(phase).astype(np.float32)


@dataclass
class StftState:
    """What the next hop needs of those before.

    Attributes:
        history: [n_channels, win_length - hop_length] last input samples.
        overlap: [win_length - hop_length] output still to be added to.
    """

    history: Array
    overlap: Array


class Stft:
    """Analysis of several channels and synthesis of one, delay `win_length - hop_length` samples in all.

    Many frames at once, or one hop at a time with the same samples and as little around the transform as can be. One
    object serves one thread.
    """

    def __init__(self, config: StftConfig) -> None:
        self.config = config
        self.delay = config.win_length - config.hop_length
        self._window = sqrt_hann(config.win_length)
        n_overlaps = config.win_length // config.hop_length
        # The squared windows that lie over one hop; a constant for sqrt-Hann, divided out in the synthesis.
        power = (self._window.astype(np.float64) ** 2).reshape(n_overlaps, config.hop_length).sum(axis=0)
        self._synthesis_window = (self._window / np.tile(power, n_overlaps)).astype(np.float32)

    def initial_state(self, n_channels: int) -> StftState:
        """State before the first sample: silence."""
        return StftState(np.zeros((n_channels, self.delay), np.float32), np.zeros(self.delay, np.float32))

    def analyse_hop(self, hop: Array, state: StftState, spectra: Spectra) -> None:
        """Spectra of the frame that one hop completes; advances `state.history`.

        Args:
            hop: [n_channels, hop_length].
            state: as left by the hops before.
            spectra: [n_channels, n_freqs], where they go.
        """
        frames = np.concatenate((state.history, hop), axis=1)
        state.history[...] = frames[:, self.config.hop_length :]
        frames *= self._window
        spectra[...] = np.fft.rfft(frames, self.config.n_fft)

    def synthesise_hop(self, spectrum: Spectra, state: StftState) -> Array:
        """Samples that one frame finishes, by weighted overlap-add; advances `state.overlap`.

        Args:
            spectrum: [n_freqs].
            state: as left by the frames before.

        Returns:
            [hop_length], `delay` samples behind the input.
        """
        frame = np.fft.irfft(spectrum, self.config.n_fft)[: self.config.win_length]
        frame *= self._synthesis_window
        frame[: self.delay] += state.overlap
        state.overlap[...] = frame[self.config.hop_length :]
        return frame[: self.config.hop_length].astype(np.float32, copy=False)

    def analyse(self, hops: Array, state: StftState) -> Spectra:
        """Spectra of the frames that whole hops complete; advances `state.history`.

        Args:
            hops: [n_channels, T * hop_length].
            state: as left by the hops before.

        Returns:
            [n_channels, n_freqs, T].
        """
        signal = np.concatenate((state.history, hops), axis=1)
        state.history = signal[:, signal.shape[1] - self.delay :].copy()
        windows = np.lib.stride_tricks.sliding_window_view(signal, self.config.win_length, axis=1)
        frames = windows[:, :: self.config.hop_length] * self._window
        spectra = np.fft.rfft(frames, self.config.n_fft, axis=-1).transpose(0, 2, 1)
        return np.ascontiguousarray(spectra, dtype=np.complex64)

    def synthesise(self, spectra: Spectra, state: StftState) -> Array:
        """Samples that T frames finish, by weighted overlap-add; advances `state.overlap`.

        Args:
            spectra: [n_freqs, T].
            state: as left by the frames before.

        Returns:
            [T * hop_length], `delay` samples behind the input.
        """
        hop, win = self.config.hop_length, self.config.win_length
        frames = np.fft.irfft(spectra.T, self.config.n_fft, axis=-1)[:, :win] * self._synthesis_window
        n_ready = hop * len(frames)
        signal = np.zeros(n_ready + self.delay, np.float32)
        signal[: self.delay] = state.overlap
        for start in range(0, win, hop):
            signal[start : start + n_ready] += frames[:, start : start + hop].reshape(-1)
        state.overlap = signal[n_ready:].copy()
        return signal[:n_ready]
