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

_HALF_WIDTH = 50  # samples of the lower rate on either side
_CUTOFF = 0.475  # of the lower rate: half a transition band (0.05) below its Nyquist frequency
_KAISER_BETA = 7.857  # 80 dB
_MATRIX_LIMIT = 1 << 20  # values; beyond it, filters are gathered for each sample
_GATHER_LENGTH = 4096  # output samples gathered at a time


def windowed_sinc(time: NDArray[np.float64], zeros: float, kaiser_beta: float) -> NDArray[np.float64]:
    """Low-pass filters of gain 1, one a row: a sinc under a Kaiser window.

    Args:
        time: [n_filters, n_taps] of each tap, in half widths of the window, which is zero beyond -1..1.
        zeros: of the sinc on either side of its middle; twice the cutoff times the half width.
        kaiser_beta: of the window.
    """
    inside = np.clip(1 - time**2, 0, None)
    taper = np.where(np.abs(time) <= 1, np.i0(kaiser_beta * np.sqrt(inside)), 0)
    bank = np.sinc(zeros * time) * taper
    return bank / bank.sum(axis=1, keepdims=True)


def low_pass_gain(frequencies_hz: NDArray[Any], lower_rate: int) -> NDArray[np.float64]:
    """Gain of a resampler at frequencies [n], whose lower rate in Hz is given: a real number, as its filter is even."""
    fine = np.linspace(-1, 1, 64 * _HALF_WIDTH + 1)
    taps = windowed_sinc(fine[None], 2 * _CUTOFF * _HALF_WIDTH, _KAISER_BETA)[0]
    seconds = fine * (_HALF_WIDTH / lower_rate)
    return np.cos(2 * np.pi * frequencies_hz[:, None] * seconds) @ taps


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

    Times are counted in ticks, the grid that holds the samples of both rates: an input sample lasts `up` ticks,
    an output sample `down` ticks. Output m lies at tick m * down - delay_ticks, input n at tick n * up.

    Attributes:
        delay: of the output, in output samples; whole unless one was asked for.
        state: plain and copyable; assign a copy to go back.
    """

    def __init__(self, n_channels: int, input_rate: int, output_rate: int, min_delay: Fraction | None = None) -> None:
        """Designs the filter between two rates.

        Args:
            n_channels: channels of every block.
            input_rate: Hz.
            output_rate: Hz.
            min_delay: wanted delay in output samples, a multiple of gcd(rates) / input_rate; whole samples are
                added until the filter fits.
        """
        divisor = gcd(input_rate, output_rate)
        self._up, self._down = output_rate // divisor, input_rate // divisor
        self._half = _HALF_WIDTH * max(self._up, self._down) if input_rate != output_rate else 0
        wanted = min_delay or Fraction(0)
        self.delay = wanted + max(0, ceil(Fraction(self._half, self._down) - wanted))
        ticks = self.delay * self._down
        if ticks.denominator != 1:
            raise ValueError(f"a delay of {wanted} samples lies off the grid of {input_rate} and {output_rate} Hz")
        self._delay_ticks = int(ticks)
        self.n_channels = n_channels
        self._bank = self._design_bank()
        self._matrix = self._design_matrix()
        # Outputs are made in groups of whole cycles, so the history goes back to a group's first input.
        self._group = 1 if self._matrix is None else self._matrix.shape[1]
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first sample."""
        # The first outputs reach back to before the first input, where there is silence.
        start = self._first_input(0)
        self.state = ResamplerState(np.zeros((self.n_channels, -start), np.float32), start)

    def process(self, block: Array) -> Array:
        """All output samples that the input so far determines.

        Args:
            block: [n_channels, n_samples] float32, any n_samples.

        Returns:
            [n_channels, n_ready]; the block itself where both rates are the same.
        """
        state = self.state
        state.n_in += block.shape[1]
        if self._half == self._delay_ticks == 0:  # of one rate, nothing to wait for: every hop of a stream comes here
            state.n_out = state.n_in
            return block
        state.history = np.concatenate((state.history, block), axis=1)
        # The last input under output m is floor((m * down - delay + half) / up), which must lie below n_in.
        end = -((self._half - self._delay_ticks - state.n_in * self._up) // self._down)
        output = self._outputs(state.n_out, max(end, state.n_out))
        state.n_out += output.shape[1]
        next_group = state.n_out - state.n_out % self._group
        drop = min(max(self._first_input(next_group) - state.start, 0), state.history.shape[1])
        state.history = state.history[:, drop:].copy()
        state.start += drop
        return output

    def flush(self) -> Array:
        """What silence would push out, so that all outputs are those of the input's length plus the delay."""
        n_total = ceil(Fraction(self.state.n_in * self._up, self._down) + self.delay)
        n_owed = n_total - self.state.n_out
        n_zeros = ceil(Fraction((n_owed + 1) * self._down, self._up)) + 1
        return self.process(np.zeros((self.n_channels, n_zeros), np.float32))[:, :n_owed]

    @property
    def _n_taps(self) -> int:
        return 2 * self._half // self._up + 1

    def _first_input(self, m: int) -> int:
        """Index of the first input sample under the filter of output m."""
        return -((self._half + self._delay_ticks - m * self._down) // self._up)

    def _design_bank(self) -> Array:
        """[up, n_taps] filter of each phase: phase = ticks from the filter's first tick to the first input."""
        n_low = max(self._up, self._down)
        ticks = np.arange(self._up)[:, None] + self._up * np.arange(self._n_taps)[None, :] - self._half
        if self._half == 0:
            return np.ones((1, 1), np.float32)
        return windowed_sinc(ticks / self._half, 2 * _CUTOFF * self._half / n_low, _KAISER_BETA).astype(np.float32)

    def _phase(self, m: int) -> int:
        return (self._half + self._delay_ticks - m * self._down) % self._up

    def _design_matrix(self) -> Array | None:
        """Filters of whole cycles as one matrix [n_inputs, n_outputs], so that blocks run as matrix products.

        A cycle is `down` inputs and `up` outputs, after which the phases repeat. None where it would be too large.
        """
        n_outputs = self._up * max(1, self._n_taps // self._down)
        first = np.array([self._first_input(m) for m in range(n_outputs)])
        first -= first[0]
        n_inputs = int(first[-1]) + self._n_taps
        if n_inputs * n_outputs > _MATRIX_LIMIT:
            return None
        matrix = np.zeros((n_inputs, n_outputs), np.float32)
        for m in range(n_outputs):
            matrix[first[m] : first[m] + self._n_taps, m] = self._bank[self._phase(m)]
        return matrix

    def _outputs(self, begin: int, end: int) -> Array:
        """Outputs begin .. end - 1, [n_channels, end - begin]."""
        if begin == end:
            return np.zeros((self.n_channels, 0), np.float32)
        if self._matrix is None:
            parts = [self._gather(m, min(m + _GATHER_LENGTH, end)) for m in range(begin, end, _GATHER_LENGTH)]
            return np.concatenate(parts, axis=1)
        anchor = begin - begin % self._group
        n_groups = -((anchor - end) // self._group)
        stride = self._group * self._down // self._up
        n_inputs = len(self._matrix)
        signal = self._padded_history(self._first_input(anchor), (n_groups - 1) * stride + n_inputs)
        windows = np.lib.stride_tricks.sliding_window_view(signal, n_inputs, axis=1)[:, ::stride]
        output = np.ascontiguousarray(windows) @ self._matrix
        return output.reshape(self.n_channels, -1)[:, begin - anchor : end - anchor]

    def _gather(self, begin: int, end: int) -> Array:
        first = np.array([self._first_input(m) for m in range(begin, end)])
        filters = self._bank[[self._phase(m) for m in range(begin, end)]]
        signal = self._padded_history(int(first[0]), int(first[-1] - first[0]) + self._n_taps)
        windows = np.lib.stride_tricks.sliding_window_view(signal, self._n_taps, axis=1)[:, first - first[0]]
        return np.einsum("cmk,mk->cm", windows, filters)

    def _padded_history(self, first: int, n_samples: int) -> Array:
        """[n_channels, n_samples] input from index `first` on, zeros where it has not come yet."""
        known = self.state.history[:, first - self.state.start :][:, :n_samples]
        return np.pad(known, ((0, 0), (0, n_samples - known.shape[1])))
