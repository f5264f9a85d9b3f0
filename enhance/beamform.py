"""Online MVDR beamformer driven by a speech-presence mask, for any number of microphones in any order.

Souden, Benesty, Affes, "On optimal frequency-domain multichannel linear filtering for noise reduction" (2010),
equation 22: w = inv(R_noise) R_speech / trace(inv(R_noise) R_speech), column of the reference microphone. It needs
neither the array's geometry nor a direction. The covariances are recursive means, so they stay bounded for hours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array, Spectra

SILENCE = 1e-16  # power below which a frame teaches nothing and decay would only breed denormal numbers
MIN_TRACE = 1e-8  # no speech heard yet: the reference passes


@dataclass(frozen=True)
class BeamSettings:
    """How the covariances are learned and inverted; docs/array.md has what other values gave.

    Attributes:
        speech_sharpness: power of the mask that weights a frame in the speech covariance.
        noise_sharpness: power of one minus the mask that weights it in the noise covariance. With high powers, what is
            half speech, half noise teaches neither: speech that leaks into the noise is cancelled.
        forgetting: weight of the past in each frame's mean; 0.98 is 0.8 s at 16 ms a hop.
        loading: added to the diagonal of the noise covariance, relative to its mean. It limits how much the filter can
            amplify what differs between microphones, and makes silent or identical ones harmless.
        speech_loading: share of the speech power that counts as noise in that mean: where no noise was heard, it bounds
            the filter.
        low_noise: share of the speech power, both as in the covariances, below which noise is low: the filter gives
            way to the reference there, as it can only harm.
    """

    speech_sharpness: int = 4
    noise_sharpness: int = 8
    forgetting: float = 0.98
    loading: float = 1e-3
    speech_loading: float = 0.01
    low_noise: float = 0.002


@dataclass
class BeamState:
    """Recursive means of the outer products, each [n_mics, n_mics, n_freqs]."""

    speech: Spectra
    noise: Spectra


class Beamformer:
    """MVDR of one array; holds no signal state."""

    def __init__(self, n_mics: int, n_freqs: int, settings: BeamSettings | None = None) -> None:
        self.n_mics = n_mics
        self.n_freqs = n_freqs
        self.settings = settings or BeamSettings()

    def initial_state(self) -> BeamState:
        """Covariances before anything was heard, by which the beam is the reference as it is."""
        shape = (self.n_mics, self.n_mics, self.n_freqs)
        return BeamState(np.zeros(shape, np.complex64), np.zeros(shape, np.complex64))

    def apply(self, spectra: Spectra, reference: int, state: BeamState) -> Spectra:
        """Beam of one frame by the covariances of the frames before it.

        Args:
            spectra: [n_mics, n_freqs].
            reference: index of the microphone whose speech is to be kept.
            state: left as it is.

        Returns:
            [n_freqs].
        """
        weights = self.weights(reference, state)
        return np.einsum("fm,mf->f", weights.conj(), spectra)

    def weights(self, reference: int, state: BeamState) -> Spectra:
        """Filter [n_freqs, n_mics], to be conjugated before it meets the spectra."""
        speech, noise = state.speech, state.noise
        own = _diagonal(noise).real + self.settings.speech_loading * _diagonal(speech).real
        # Double precision: the covariances of few frames are nearly singular, and the order of the microphones must
        # not show in the result.
        loaded = noise.astype(np.complex128)
        _diagonal(loaded)[...] += self.settings.loading * own.mean(axis=0) + SILENCE
        ratio = _solve(loaded, speech)
        trace = _diagonal(ratio).real.sum(axis=0)
        heard = trace > MIN_TRACE
        noise_power, speech_power = noise[reference, reference].real, speech[reference, reference].real
        share = noise_power / (noise_power + self.settings.low_noise * speech_power + SILENCE) * heard
        weights = ratio[:, reference] * (share / np.where(heard, trace, 1))
        weights[reference] += 1 - share
        return weights.T.astype(np.complex64)

    def update(self, spectra: Spectra, mask: Array, state: BeamState) -> None:
        """Lets one frame into the covariances of `state`.

        Args:
            spectra: [n_mics, n_freqs].
            mask: [n_freqs] presence of speech, 0..1.
            state: advanced in place.
        """
        if np.abs(spectra).max() ** 2 < SILENCE:
            return
        outer = spectra[:, None] * spectra.conj()
        decay, gain = np.float32(self.settings.forgetting), np.float32(1 - self.settings.forgetting)
        weights = mask**self.settings.speech_sharpness, (1 - mask) ** self.settings.noise_sharpness
        for mean, weight in zip((state.speech, state.noise), weights, strict=True):
            mean *= decay
            mean += (gain * weight) * outer


def _diagonal(matrices: NDArray[Any]) -> NDArray[Any]:
    """View [n, n_freqs] of the diagonals of [n, n, n_freqs]."""
    return np.einsum("mmf->mf", matrices)


def _solve(left: NDArray[np.complex128], right: Spectra) -> NDArray[np.complex128]:
    """inv(left) @ right [n, n, n_freqs] for each frequency, by Gauss's elimination.

    Positive definite matrices need no exchange of rows. One step serves all frequencies at once, which for a few
    microphones is several times as fast as one call of LAPACK for each.
    """
    n = len(left)
    table: NDArray[np.complex128] = np.concatenate((left, right), axis=1)  # [n, 2 n, n_freqs]
    for k in range(n):
        row = table[k, k + 1 :]
        row *= 1 / table[k, k].real
        if k < n - 1:
            table[k + 1 :, k + 1 :] -= table[k + 1 :, k, None] * row
    solution = table[:, n:]
    for k in range(n - 1, 0, -1):
        solution[:k] -= table[:k, k, None] * solution[k]
    return solution
