"""Two sound cards never agree on what a second is: a resampler whose ratio follows their drift."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.polyphase import windowed_sinc

_N_TAPS = 64
_N_PHASES = 512
_CUTOFF = 0.95  # of the Nyquist frequency
_KAISER_BETA = 9.0


def _design_kernel() -> NDArray[np.float64]:
    """[_N_PHASES + 1, _N_TAPS] windowed sinc; row p delays by p / _N_PHASES of a sample less than row 0."""
    phase = np.arange(_N_PHASES + 1)[:, None] / _N_PHASES
    time = np.arange(_N_TAPS)[None, :] - (_N_TAPS // 2 - 1) - phase
    half = _N_TAPS // 2
    return windowed_sinc(time / half, _CUTOFF * half, _KAISER_BETA)


class DriftResampler:
    """Resamples one channel by a ratio close to one that may change with every block.

    The filter is 64 taps of a windowed sinc, interpolated linearly between 512 phases, so any real ratio is exact.
    It is meant for the per mille between two clocks, not for another sample rate.

    Attributes:
        delay: samples.
    """

    delay = _N_TAPS // 2

    def __init__(self) -> None:
        self._kernel = _design_kernel().astype(np.float32)
        self._slope = np.diff(self._kernel, axis=0)
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first sample."""
        self._history: Array = np.zeros(_N_TAPS - 1, np.float32)
        self._position = 0.0  # of the next output, in samples from the first of the history's filter

    def process(self, block: Array, ratio: float) -> Array:
        """All outputs whose inputs are known.

        Args:
            block: [n_samples].
            ratio: output samples per input sample, near 1.

        Returns:
            [n_ready], n_ready = n_samples * ratio on average.
        """
        signal = np.concatenate((self._history, block))
        n_positions = len(block)  # filters start at sample 0 .. n_positions - 1
        n_out = max(0, int(np.ceil((n_positions - self._position) * ratio)))
        positions = self._position + np.arange(n_out) / ratio
        positions = positions[positions < n_positions]
        first = positions.astype(np.int64)
        phase = (positions - first) * _N_PHASES
        row = phase.astype(np.int64)
        kernel = self._kernel[row] + self._slope[row] * (phase - row).astype(np.float32)[:, None]
        windows = np.lib.stride_tricks.sliding_window_view(signal, _N_TAPS)[first]
        self._position += len(positions) / ratio - n_positions
        self._history = signal[n_positions:]
        return np.einsum("nk,nk->n", windows, kernel)


@dataclass
class DriftController:
    """Keeps the samples between two clocks at a target by a proportional-integral loop (critically damped).

    What waits between the clocks changes by their difference in speed; a loop of natural frequency w turns a drift
    d into a passing error of d / (e w) seconds and then none: 200 ppm at 0.1 rad/s make 0.7 ms.

    Attributes:
        target_s: wanted buffering, seconds.
        limit: largest correction.
        natural_frequency: of the loop, rad/s.
        smoothing_s: time constant of the mean over single measurements, seconds.
        tolerance_s: an error that is not corrected; without drift the ratio then stays at one.
        settling_s: for so long it only measures; what is then found is the target, if it is more than that and no
            more than `most_s` above.
        most_s: see settling_s.
    """

    target_s: float
    limit: float = 1e-3
    natural_frequency: float = 0.1
    smoothing_s: float = 1.0
    tolerance_s: float = 0.0
    settling_s: float = 0.0
    most_s: float = 0.05

    def __post_init__(self) -> None:
        self._integral = 0.0
        self._mean_error_s: float | None = None

    def update(self, buffered_s: float, elapsed_s: float) -> float:
        """The ratio for the next block.

        Args:
            buffered_s: measured buffering between the two clocks, seconds.
            elapsed_s: audio since the last update, seconds.

        Returns:
            Output samples per input sample; below 1 empties the buffer.
        """
        error = buffered_s - self.target_s
        if self._mean_error_s is None:
            self._mean_error_s = error
        self._mean_error_s += (error - self._mean_error_s) * min(1.0, elapsed_s / self.smoothing_s)
        if self.settling_s > 0:
            self.settling_s -= elapsed_s
            if self.settling_s <= 0:
                found_s = min(max(self._mean_error_s, 0.0), self.most_s)
                self.target_s += found_s
                self._mean_error_s -= found_s
            return 1.0
        excess_s = self._mean_error_s - min(max(self._mean_error_s, -self.tolerance_s), self.tolerance_s)
        correction = 2 * self.natural_frequency * excess_s + self._integral
        if (
            abs(correction) < self.limit or self._integral * excess_s < 0
        ):  # a limit reached teaches nothing of the drift
            integral = self._integral + self.natural_frequency**2 * excess_s * elapsed_s
            self._integral = min(max(integral, -self.limit), self.limit)
        return 1.0 - min(max(correction, -self.limit), self.limit)
