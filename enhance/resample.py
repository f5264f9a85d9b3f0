"""Streaming change of the sample rate by a polyphase windowed sinc of exactly known delay.

Libraries that resample through large transforms hold back tens of milliseconds at each end; a live stream cannot
afford that, nor can their state be copied. This filter is 50 samples of the lower rate to either side (3 ms at
16 kHz), flat to 0.9 of the lower Nyquist frequency and 80 dB down beyond it.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.polyphase import HALF_WIDTH, find_filters, half_ticks, rate_filters


def low_pass_gain(frequencies_hz: NDArray[Any], lower_rate: int) -> NDArray[np.float64]:
    """Gain of a resampler at frequencies [n], whose lower rate in Hz is given: a real number, as its filter is even."""
    fine = np.linspace(-1, 1, 64 * HALF_WIDTH + 1)
    taps = rate_filters(fine[None])[0]
    seconds = fine * (HALF_WIDTH / lower_rate)
    return np.einsum("ft,t->f", np.cos(2 * np.pi * frequencies_hz[:, None] * seconds), taps)


@dataclass
class ResamplerState:
    """What the next block needs of those before.

    Attributes:
        history: [n_channels, n] input samples that later outputs still need.
        start: index of the first of them in the whole input.
        n_in: input samples so far.
        n_out: output samples so far.
    """

    history: Array
    start: int
    n_in: int = 0
    n_out: int = 0


class StreamResampler:
    """Resamples blocks of any length; the output is the same for every cut into blocks.

    Attributes:
        delay: of the output, in output samples; whole unless one was asked for.
        n_channels: channels of every block.
        state: plain and copyable; assign a copy to go back.
    """

    def __init__(self, n_channels: int, input_rate: int, output_rate: int, min_delay: Fraction | None = None) -> None:
        """Takes the filters between two rates.

        Args:
            n_channels: channels of every block.
            input_rate: Hz.
            output_rate: Hz.
            min_delay: wanted delay in output samples, a multiple of gcd(rates) / input_rate; whole samples are
                added until the filter fits.
        """
        divisor = gcd(input_rate, output_rate)
        self._up, self._down = output_rate // divisor, input_rate // divisor
        half = half_ticks(self._up, self._down)
        wanted = min_delay or Fraction(0)
        self.delay = wanted + max(0, ceil(Fraction(half, self._down) - wanted))
        ticks = self.delay * self._down
        if ticks.denominator != 1:
            raise ValueError(f"a delay of {wanted} samples lies off the grid of {input_rate} and {output_rate} Hz")
        self.n_channels = n_channels
        self._filters = find_filters(self._up, self._down, int(ticks))
        self._beyond = np.zeros((n_channels, self._filters.n_beyond), np.float32)
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first sample."""
        # The first outputs reach back to before the first input, where there is silence.
        start = self._filters.first_input(0)
        self.state = ResamplerState(np.zeros((self.n_channels, -start), np.float32), start)

    def process(self, block: Array) -> Array:
        """All output samples that the input so far determines.

        Args:
            block: [n_channels, n_samples] float32, any n_samples.

        Returns:
            [n_channels, n_ready]; the block itself where both rates are the same.
        """
        state, filters = self.state, self._filters
        state.n_in += block.shape[1]
        if filters.changes_nothing:  # of one rate, nothing to wait for: every hop of a stream comes here
            state.n_out = state.n_in
            return block
        n_known = state.history.shape[1] + block.shape[1]
        signal = np.empty((self.n_channels, n_known + self._beyond.shape[1]), np.float32)
        np.concatenate((state.history, block, self._beyond), axis=1, out=signal)
        begin = state.n_out
        state.n_out = end = max(filters.n_determined(state.n_in), begin)
        output = filters.run(signal, state.start, begin, end) if begin < end else signal[:, :0]
        drop = min(max(filters.first_needed(end) - state.start, 0), n_known)
        state.history = signal[:, drop:n_known].copy()
        state.start += drop
        return output

    def flush(self) -> Array:
        """What silence would push out, so that all outputs are those of the input's length plus the delay."""
        n_total = ceil(Fraction(self.state.n_in * self._up, self._down) + self.delay)
        n_owed = n_total - self.state.n_out
        n_zeros = ceil(Fraction((n_owed + 1) * self._down, self._up)) + 1
        return self.process(np.zeros((self.n_channels, n_zeros), np.float32))[:, :n_owed]
