"""Online MVDR beamformer driven by a speech-presence mask, for any number of microphones in any order.

Souden, Benesty, Affes, "On optimal frequency-domain multichannel linear filtering for noise reduction" (2010),
equation 22: w = inv(R_noise) R_speech / trace(inv(R_noise) R_speech), column of the reference microphone. It needs
neither the array's geometry nor a direction. The covariances are recursive means, so they stay bounded for hours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Spectra = NDArray[np.complex64]

SPEECH_SHARPNESS = 4  # powers of the mask and of one minus it: what is half speech, half noise teaches neither, so that
NOISE_SHARPNESS = 8  # no speech leaks into the noise, which would then be cancelled
FORGETTING = 0.98  # weight of the past in each frame's mean: 0.8 s at 16 ms a hop

LOADING = 1e-3  # of the noise covariance's diagonal, relative to its mean
SPEECH_LOADING = 0.01  # share of the speech power that counts as noise: where no noise was heard, it bounds the filter
SILENCE = 1e-16  # power below which a frame teaches nothing and decay would only breed denormal numbers
MIN_TRACE = 1e-8  # no speech heard yet: the reference passes


@dataclass
class BeamState:
    """Recursive means of the outer products, each [n_freqs, n_mics, n_mics]."""

    speech: Spectra
    noise: Spectra


class Beamformer:
    """MVDR of one array; holds no signal state."""

    def __init__(self, n_mics: int, n_freqs: int, forgetting: float = FORGETTING, loading: float = LOADING) -> None:
        """Sets up the filter.

        Args:
            n_mics: microphones.
            n_freqs: frequency bins.
            forgetting: weight of the past in each frame's mean.
            loading: added to the diagonal of the noise covariance, relative to its mean. It limits how much the
                filter can amplify what differs between microphones, and makes silent or identical ones harmless.
        """
        self.n_mics = n_mics
        self.n_freqs = n_freqs
        self.forgetting = forgetting
        self.loading = loading
        self._eye = np.eye(n_mics, dtype=np.complex64)

    def initial_state(self) -> BeamState:
        """Nothing heard yet: the reference passes as it is."""
        shape = (self.n_freqs, self.n_mics, self.n_mics)
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
        power = np.einsum("fmm->f", state.noise + SPEECH_LOADING * state.speech).real / self.n_mics
        loading = self.loading * power + SILENCE
        # Double precision: the covariances of few frames are nearly singular, and the order of the microphones must
        # not show in the result.
        noise = state.noise + loading.astype(np.float64)[:, None, None] * self._eye
        ratio = np.linalg.solve(noise, state.speech)
        trace = np.einsum("fmm->f", ratio).real
        heard = trace > MIN_TRACE
        weights = (ratio[:, :, reference] / np.where(heard, trace, 1)[:, None]).astype(np.complex64)
        weights[~heard] = self._eye[reference]
        return weights

    def update(self, spectra: Spectra, mask: Array, state: BeamState) -> None:
        """Lets one frame into the covariances of `state`.

        Args:
            spectra: [n_mics, n_freqs].
            mask: [n_freqs] presence of speech, 0..1.
            state: advanced in place.
        """
        frame = spectra.T
        outer = frame[:, :, None] * frame[:, None, :].conj()
        if np.abs(outer).max() < SILENCE:
            return
        for mean, weight in ((state.speech, mask**SPEECH_SHARPNESS), (state.noise, (1 - mask) ** NOISE_SHARPNESS)):
            mean *= np.float32(self.forgetting)
            mean += (np.float32(1 - self.forgetting) * weight)[:, None, None] * outer
