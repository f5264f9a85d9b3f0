"""Filters between two sample rates: designed once, shared by all streams that go from the one to the other.

Times are counted in ticks, the grid that holds the samples of both rates: an input sample lasts `up` ticks, an output
sample `down` ticks. Output m lies at tick m * down - delay_ticks, input n at tick n * up. After a cycle of `down`
inputs and `up` outputs the phases repeat. Where a cycle is short, matrices hold its filters; where it would take
gigabytes, as between 16000 and 191999 Hz, filters are interpolated.
"""

from abc import ABC, abstractmethod
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import ONE_THREAD_MATRIX, ONE_THREAD_PRODUCT, Array, multiply

HALF_WIDTH = 50
"""Samples of the lower rate that a filter reaches to either side."""

_CUTOFF = 0.475  # of the lower rate: half a transition band (0.05) below its Nyquist frequency
_KAISER_BETA = 7.857  # 80 dB
_MOST_OUTPUTS = 24  # of a matrix where the rate falls: fewer read inputs too often, more leave most of it zeros
_MOST_CYCLES = 8  # of one matrix where the rate rises, for the same reason
_LEAST_STRIDE = 40  # inputs from one row to the next, with fewer it is quicker to copy them
_MATRIX_LIMIT = 1 << 18  # values of all matrices; beyond it, filters are interpolated
_N_PHASES = 512  # between which filters are interpolated linearly, 105 dB below the signal
_PIECE = 256  # outputs at a time that are interpolated
_FEW_CYCLES = 5  # one after the other, they take less time than together

Ticks = NDArray[np.int64]


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


def rate_filters(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Filters of a change of rate, [n_filters, n_taps], with each tap's time in half widths."""
    return windowed_sinc(time, 2 * _CUTOFF * HALF_WIDTH, _KAISER_BETA)


class Filters(ABC):
    """The filters of one change of rate; `run` of the two kinds below makes samples. Holds no signal.

    Attributes:
        n_beyond: samples behind the known input that `run` may read; what they are changes nothing.
    """

    n_beyond = 1  # as the last tap of a filter may be none

    def __init__(self, up: int, down: int, delay_ticks: int) -> None:
        """Lays filters over the ticks.

        Args:
            up: ticks of an input sample.
            down: ticks of an output sample.
            delay_ticks: how far outputs lag.
        """
        self._up, self._down, self._delay_ticks = up, down, delay_ticks
        self._half = half_ticks(up, down)
        self._n_taps = 2 * self._half // up + 1
        self.changes_nothing = self._half == delay_ticks == 0

    def first_input(self, m: int) -> int:
        """Index of the first input sample under the filter of output m."""
        return -((self._half + self._delay_ticks - m * self._down) // self._up)

    def first_needed(self, m: int) -> int:
        """Index of the first input sample that `run` reads where output m is the first."""
        return self.first_input(m)

    def n_determined(self, n_in: int) -> int:
        """How many outputs the first n_in inputs determine."""
        # The last input under output m is floor((m * down - delay + half) / up), which must lie below n_in.
        return -((self._half - self._delay_ticks - n_in * self._up) // self._down)

    @abstractmethod
    def run(self, signal: Array, start: int, begin: int, end: int) -> Array:
        """Outputs begin .. end - 1, at least one.

        Args:
            signal: [n_channels, n] input from index `start` on and `n_beyond` samples more, contiguous.
            start: no later than `first_needed(begin)`.
            begin: first output.
            end: first that is not wanted, at most as many as are determined.

        Returns:
            [n_channels, end - begin].
        """

    def _ticks(self, m: int, count: int) -> tuple[int, Ticks]:
        """The first input of output m, and how many ticks it lies behind the first tick of [count] filters from m on.

        Filters behind that of m begin behind that input, too: the numbers fall below zero, and `% up` is their phase.
        """
        before, phase = divmod(self._half + self._delay_ticks - m * self._down, self._up)
        return -before, phase - self._down * np.arange(count)


class Matrices(Filters):
    """Filters of a short cycle: each matrix makes `length` outputs from all the inputs under them."""

    def __init__(self, up: int, down: int, delay_ticks: int, length: int) -> None:
        """Designs the filters of one cycle.

        Args:
            up: ticks of an input sample.
            down: ticks of an output sample.
            delay_ticks: how far outputs lag.
            length: outputs of a matrix: whole cycles, or a part of one that divides it.
        """
        super().__init__(up, down, delay_ticks)
        self._length, self._n = length, max(1, up // length)
        self._cycle = self._n * length
        self._stride = self._cycle * down // up  # inputs of so many outputs
        _, ticks = self._ticks(0, self._cycle)
        first = (-(ticks // up)).reshape(self._n, length)
        self._offsets = first[:, 0]  # of the matrices' inputs
        within = first - self._offsets[:, None]
        n_inputs = int(within.max()) + self._n_taps
        self._matrices = np.zeros((self._n, n_inputs, length), np.float32)
        taps = np.arange(self._n_taps)
        distance = np.arange(up)[:, None] + up * taps - self._half
        filters = rate_filters(distance / self._half) if self._half else np.ones((1, 1))
        matrix, column = np.divmod(np.arange(self._cycle), length)
        self._matrices[matrix[:, None], within.reshape(-1, 1) + taps, column[:, None]] = filters[ticks % up]
        self._matrices.flags.writeable = False
        self._most = max(2, ONE_THREAD_PRODUCT // (n_inputs * length))  # cycles
        n_cycles = max(self._most, _FEW_CYCLES + 1)
        self._places = (self._offsets + self._stride * np.arange(n_cycles)[:, None]).reshape(-1)
        self.n_beyond = n_inputs + 3 * self._stride

    def first_needed(self, m: int) -> int:
        """Index of the first input sample of the cycle that output m lies in."""
        return self.first_input(m - m % self._up)

    def run(self, signal: Array, start: int, begin: int, end: int) -> Array:
        """Outputs begin .. end - 1, at least one; see the base class."""
        first = begin - begin % min(self._up, self._length)
        n_cycles = -((first - end) // self._cycle)
        make = self._run_copied
        if self._n > 1 and n_cycles <= _FEW_CYCLES:
            make = self._run_singly
        elif self._n > 1:
            first = begin - begin % self._up
        elif n_cycles > self._most and self._stride >= _LEAST_STRIDE:
            return self._run_rows(signal, start, first, end)[:, begin - first : end - first]
        step = self._most * self._cycle
        parts = [make(signal, start, m, min(m + step, end)) for m in range(first, end, step)]
        output = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return output[:, begin - first : end - first]

    def _blocks(self, signal: Array, place: int, places: Ticks) -> Array:
        """[n_channels, n_blocks, n_inputs] copied from the signal, at places that are counted from `place`."""
        n_channels, n = signal.shape
        n_inputs, step = self._matrices.shape[1], signal.itemsize
        shape = (n_channels, n - place - n_inputs + 1, n_inputs)
        windows: Array = np.ndarray(shape, np.float32, signal, place * step, (n * step, step, step))
        return windows[:, places]

    def _run_singly(self, signal: Array, start: int, begin: int, end: int) -> Array:
        """Outputs from `begin`, where a matrix begins, to `end` and some more; matrices times single vectors."""
        first = begin % self._cycle // self._length
        n_blocks = -((begin - end) // self._length)
        place = self.first_input(begin - first * self._length) - start
        blocks = self._blocks(signal, place, self._places[first : first + n_blocks])[:, :, None]
        parts, done = [], 0
        while done < n_blocks:
            n = min(self._n - first, n_blocks - done)
            parts.append(blocks[:, done : done + n] @ self._matrices[first : first + n])
            first, done = 0, done + n
        return np.concatenate(parts, axis=1).reshape(len(signal), -1)

    def _run_copied(self, signal: Array, start: int, begin: int, end: int) -> Array:
        """Outputs from `begin`, where a cycle begins, to `end` and some more; inputs are copied for large products."""
        n_cycles = max(2, -((begin - end) // self._cycle))  # a single vector would go on threads
        blocks = self._blocks(signal, self.first_input(begin) - start, self._places[: n_cycles * self._n])
        if self._n == 1:
            return (blocks @ self._matrices[0]).reshape(len(signal), -1)
        blocks = blocks.reshape(len(signal), n_cycles, self._n, -1).swapaxes(1, 2)
        return (blocks @ self._matrices).swapaxes(1, 2).reshape(len(signal), -1)

    def _run_rows(self, signal: Array, start: int, begin: int, end: int) -> Array:
        """The same for one matrix and long strides: nothing is copied, the matrix is taken in parts."""
        n_rows, stride, (matrix,) = -((begin - end) // self._cycle), self._stride, self._matrices
        place = self.first_input(begin) - start
        output = np.zeros((len(signal), n_rows, self._length), np.float32)
        for channel, made in zip(signal, output, strict=True):
            for top in range(0, len(matrix), stride):
                part = matrix[top : top + stride]
                rows = channel[place + top :][: n_rows * stride].reshape(n_rows, stride)
                made += multiply(rows[:, : len(part)], part)
        return output.reshape(len(signal), -1)


class Interpolated(Filters):
    """Filters of a long cycle, interpolated linearly between those of a fixed number of phases."""

    def __init__(self, up: int, down: int, delay_ticks: int) -> None:
        """Designs the filters of the phases that are kept.

        Args:
            up: ticks of an input sample.
            down: ticks of an output sample.
            delay_ticks: how far outputs lag.
        """
        super().__init__(up, down, delay_ticks)
        self._bank, self._slopes = _design_bank(up, down)

    def run(self, signal: Array, start: int, begin: int, end: int) -> Array:
        """Outputs begin .. end - 1, at least one; see the base class."""
        windows = np.lib.stride_tricks.sliding_window_view(signal, self._n_taps, axis=1)
        output = np.empty((len(signal), end - begin), np.float32)
        for m in range(begin, end, _PIECE):
            count = min(_PIECE, end - m)
            place, ticks = self._ticks(m, count)
            row, rest = np.divmod(ticks % self._up * _N_PHASES, self._up)
            filters = self._slopes[row]
            filters *= (rest / self._up).astype(np.float32)[:, None]
            filters += self._bank[row]
            under = windows[:, place - start - ticks // self._up]
            np.einsum("cmk,mk->cm", under, filters, out=output[:, m - begin : m - begin + count])
        return output


def half_ticks(up: int, down: int) -> int:
    """Ticks on either side of a filter's middle."""
    return HALF_WIDTH * max(up, down) if up != down else 0


@lru_cache(maxsize=16)
def find_filters(up: int, down: int, delay_ticks: int) -> Filters:
    """The filters of one change of rate, made when they are first needed; the arguments have no common divisor."""
    length = _choose_length(up, down)
    return Matrices(up, down, delay_ticks, length) if length else Interpolated(up, down, delay_ticks)


def _choose_length(up: int, down: int) -> int:
    """Outputs of one matrix; 0 where there would be too many matrices."""
    n_taps = 2 * half_ticks(up, down) // up + 1
    if up <= 2 * _MOST_OUTPUTS:
        n_cycles = min(_MOST_CYCLES, _MOST_OUTPUTS // down) if up > down else _MOST_OUTPUTS // up
        return up * max(1, n_cycles)
    for length in range(_MOST_OUTPUTS, 3, -1):
        n_values = length * (n_taps + length * down // up + 1)
        if up % length == 0 and n_values < ONE_THREAD_MATRIX:
            return length if up // length * n_values <= _MATRIX_LIMIT else 0
    return 0


@lru_cache(maxsize=16)
def _design_bank(up: int, down: int) -> tuple[Array, Array]:
    """[_N_PHASES + 1, n_taps] filters at phases of 0 to 1 input sample, and how much each differs from the next."""
    half = half_ticks(up, down)
    phases = up * np.arange(_N_PHASES + 1)[:, None] / _N_PHASES
    bank = rate_filters((phases + up * np.arange(2 * half // up + 1) - half) / half)
    arrays = bank.astype(np.float32), np.diff(bank, axis=0).astype(np.float32)
    for array in arrays:
        array.flags.writeable = False
    return arrays
