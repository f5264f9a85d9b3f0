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
    """Recursive means of the outer products of speech and of noise, [2, n_mics, n_mics, n_freqs]."""

    means: Spectra

    @property
    def speech(self) -> Spectra:
        """Covariances of speech, [n_mics, n_mics, n_freqs]."""
        return self.means[0]

    @property
    def noise(self) -> Spectra:
        """Covariances of noise, [n_mics, n_mics, n_freqs]."""
        return self.means[1]


class Beamformer:
    """MVDR of one array; holds no signal state, but memory to compute in: one object serves one thread."""

    def __init__(self, n_mics: int, n_freqs: int, settings: BeamSettings | None = None) -> None:
        self.n_mics = n_mics
        self.n_freqs = n_freqs
        self.settings = settings or BeamSettings()
        # Double precision: the covariances of few frames are nearly singular, and the order of the microphones must
        # not show in the result.
        self._table = np.zeros((n_mics, 2 * n_mics, n_freqs), np.complex128)  # noise | speech
        self._products = np.zeros_like(self._table)
        self._weights = np.zeros((2, n_freqs, 2), np.float32)  # of a frame as speech and as noise

    def initial_state(self) -> BeamState:
        """Covariances before anything was heard, by which the beam is the reference as it is."""
        return BeamState(np.zeros((2, self.n_mics, self.n_mics, self.n_freqs), np.complex64))

    def apply(self, spectra: Spectra, reference: int, state: BeamState) -> Spectra:
        """Beam of one frame by the covariances of the frames before it.

        Args:
            spectra: [n_mics, n_freqs].
            reference: index of the microphone whose speech is to be kept.
            state: left as it is.

        Returns:
            [n_freqs].
        """
        filtered = self.weights(reference, state).T.conj()
        filtered *= spectra
        return np.add.reduce(filtered)

    def weights(self, reference: int, state: BeamState) -> Spectra:
        """Filter [n_freqs, n_mics], to be conjugated before it meets the spectra."""
        n, means = self.n_mics, state.means
        if reference:  # the elimination finds the filter of the first microphone
            order = [reference, *range(reference), *range(reference + 1, n)]
            means = means[:, order][:, :, order]
        noise, speech = self._table[:, :n], self._table[:, n:]
        noise[...], speech[...] = means[1], means[0]
        speech_power, noise_power = means[:, 0, 0].real
        speech_sum, noise_sum = np.einsum("immf->if", means).real
        own = (noise_sum + self.settings.speech_loading * speech_sum) / n
        _real_diagonal(noise)[...] += self.settings.loading * own + SILENCE
        self._solve()
        trace = np.add.reduce(_real_diagonal(speech))
        share = noise_power / (noise_power + self.settings.low_noise * speech_power + SILENCE) * (trace > MIN_TRACE)
        weights = speech[:, 0] * (share / np.maximum(trace, MIN_TRACE))
        weights[0] += 1 - share
        if reference:
            weights = weights[np.argsort(order)]
        return weights.T.astype(np.complex64)

    def update(self, spectra: Spectra, mask: Array, state: BeamState) -> None:
        """Lets one frame into the covariances of `state`.

        Args:
            spectra: [n_mics, n_freqs].
            mask: [n_freqs] presence of speech, 0..1.
            state: advanced in place.
        """
        if np.vdot(spectra, spectra).real < SILENCE:
            return
        settings = self.settings
        weights = self._weights
        np.power(mask, settings.speech_sharpness, out=weights[0, :, 0])
        np.power(1 - mask, settings.noise_sharpness, out=weights[1, :, 0])
        weights[..., 0] *= np.float32((1 - settings.forgetting) / 2)
        weights[..., 1] = weights[..., 0]
        outer = spectra[:, None] * spectra.conj()
        outer += outer.transpose(1, 0, 2).conj()  # twice, but Hermitian to the last bit: no order of microphones shows
        # Real and imaginary parts in turns: a product of complex numbers would take three times as long.
        means = state.means.view(np.float32)
        means *= np.float32(settings.forgetting)
        means += weights.reshape(2, 1, 1, -1) * outer.view(np.float32)

    def _solve(self) -> None:
        """Leaves the diagonal and the first column of inv(noise) @ speech in the right half of the table.

        Gauss's elimination; positive definite matrices need no exchange of rows. One step serves all frequencies at
        once, which for a few microphones is several times as fast as one call of LAPACK for each.
        """
        n, table, products = self.n_mics, self._table, self._products
        scales = [1 / table[0, 0].real]
        for k in range(n - 1):
            factors = table[k + 1 :, k] * scales[k]
            table[k + 1 :, k + 1 :] -= np.multiply(factors[:, None], table[k, k + 1 :], out=products[k + 1 :, k + 1 :])
            scales.append(1 / table[k + 1, k + 1].real)
        for k in range(n - 1, -1, -1):
            row = table[k, n : n + k + 1]
            row *= scales[k]
            if k:
                table[:k, n : n + k] -= np.multiply(table[:k, k, None], row[:k], out=products[:k, :k])


def _real_diagonal(matrices: NDArray[Any]) -> NDArray[Any]:
    """View [n, n_freqs] of the real parts of the diagonals of [n, n, n_freqs]."""
    return np.einsum("mmf->mf", matrices).real
