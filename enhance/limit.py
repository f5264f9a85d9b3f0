"""The attenuation limit: a rest of the noise that stays, so that a voice does not stand in a void."""

import numpy as np

from quietmic.enhance.arrays import Spectra

_TINY = np.float32(1e-12)


def limit_attenuation(enhanced: Spectra, reference: Spectra, floor: np.float32) -> Spectra:
    """Mixes the reference in, so that each frequency of each frame keeps at least `floor` of its magnitude.

    The mix alone would not do: where a mask turns the phase around, what it leaves cancels what is mixed in.

    Args:
        enhanced: spectra of any shape.
        reference: what was heard, of the same shape.
        floor: 0..1.
    """
    mixed = enhanced + floor * (reference - enhanced)
    least = floor * np.abs(reference)
    return mixed * np.maximum(1, least / np.maximum(np.abs(mixed), _TINY))
