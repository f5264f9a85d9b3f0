"""Levels in dB, the noise reduction as heard in the pauses of speech, and the last moment for a picture."""

from collections import deque
from math import log10

import numpy as np

from quietmic.enhance.arrays import Array

_FLOOR = 1e-10  # -100 dB
_N_RECENT = 2  # hops


def _power(samples: Array) -> float:
    return float(samples @ samples) / len(samples)


def _in_db(power: float) -> float:
    return 10 * log10(max(power, _FLOOR))


class Levels:
    """Running levels of the microphones and of what is heard."""

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
        self._powers: list[float] = []
        self._recent: deque[tuple[Array, Array]] = deque(maxlen=_N_RECENT)

    def forget(self) -> None:
        """Back to silence: the devices are closed."""
        self._input_power = self._output_power = 0.0
        self._powers = []

    def update(self, microphones: Array, reference: Array, enhanced: Array, output: Array) -> None:
        """Takes in one hop.

        Args:
            microphones: [n_mics, n_samples] as they come in.
            reference: [n_samples] of the first one, later by the delay of the other two.
            enhanced: [n_samples] of the engine.
            output: [n_samples] as it is heard.
        """
        powers = [_power(each) for each in microphones]
        before = self._powers or [0.0] * len(powers)
        self._powers = [old + self._smoothing * (new - old) for old, new in zip(before, powers, strict=True)]
        self._recent.append((reference, output))
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

    @property
    def microphones_db(self) -> list[float]:
        """The same for each microphone, as it comes in; empty before the first sound."""
        return [_in_db(power) for power in self._powers]

    def recent(self) -> Array:
        """The last two hops of the first microphone and of what is heard, [2, n_samples]; of one delay."""
        hops = list(self._recent)
        return np.concatenate([np.zeros((2, 0), np.float32), *(np.stack(hop) for hop in hops)], axis=1)

    def noise_reduction_db(self) -> float:
        """By how much the quietest tenth of the window has become quieter."""
        if not self._noisy:
            return 0.0
        noisy, enhanced = np.percentile(list(self._noisy), 10), np.percentile(list(self._enhanced), 10)
        return float(max(0.0, noisy - enhanced))
