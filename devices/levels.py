"""Levels in dB and the noise reduction as heard in the pauses of speech."""

from collections import deque
from math import log10

import numpy as np

from quietmic.enhance.arrays import Array

_FLOOR = 1e-10  # -100 dB


def _power(samples: Array) -> float:
    return float(samples @ samples) / len(samples)


def _in_db(power: float) -> float:
    return 10 * log10(max(power, _FLOOR))


class Levels:
    """Running levels of the microphone and of what is heard."""

    def __init__(self, hop_s: float, window_s: float = 5.0) -> None:
        """Starts at silence, with no pause seen.

        Args:
            hop_s: seconds per hop.
            window_s: seconds in which a pause is looked for.
        """
        n_hops = max(1, round(window_s / hop_s))
        self._noisy: deque[float] = deque(maxlen=n_hops)
        self._enhanced: deque[float] = deque(maxlen=n_hops)
        self._smoothing = min(1.0, hop_s / 0.1)
        self._input_power = self._output_power = 0.0

    def update(self, reference: Array, enhanced: Array, output: Array) -> None:
        """Takes in one hop; [n_samples] each, of the same delay."""
        noisy = _power(reference)
        if noisy > _FLOOR:  # digital silence has no noise to reduce
            self._noisy.append(_in_db(noisy))
            self._enhanced.append(_in_db(_power(enhanced)))
        self._input_power += self._smoothing * (noisy - self._input_power)
        self._output_power += self._smoothing * (_power(output) - self._output_power)

    @property
    def input_db(self) -> float:
        """Level of the microphone over the last tenth of a second, dB of full scale, -100 at least."""
        return _in_db(self._input_power)

    @property
    def output_db(self) -> float:
        """Level of what is heard over the last tenth of a second, dB of full scale, -100 at least."""
        return _in_db(self._output_power)

    def noise_reduction_db(self) -> float:
        """By how much the quietest tenth of the window has become quieter."""
        if not self._noisy:
            return 0.0
        noisy, enhanced = np.percentile(list(self._noisy), 10), np.percentile(list(self._enhanced), 10)
        return float(max(0.0, noisy - enhanced))
