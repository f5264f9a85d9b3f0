"""Two channels that carry one scene, under one mask, so that a voice stays where it stood between them.

Enhanced one by one, the channels get masks that differ by chance, and what was panned wanders. Here one stream enhances
the mean of both, and the gain that it puts on each frequency of the mean is put on both.
"""

from collections.abc import Callable, Iterable

import numpy as np

from quietmic.enhance.arrays import Array, Spectra
from quietmic.enhance.card import StftConfig
from quietmic.enhance.offset import initial_offset, remove_offset
from quietmic.enhance.samples import silence_non_finite
from quietmic.enhance.stft import Stft
from quietmic.enhance.stream import Stream

LINK_COHERENCE = 0.2
"""Channels more alike than this carry one scene; see `measure_likeness`."""

STEREO = ("auto", "linked", "separate")
"""What may be done with two channels that are no array."""

LISTEN_S = 30
"""Seconds of a recording that are heard before it is known whether its channels carry one scene."""

_HOP_S = 0.016
_LARGEST_GAIN = 2.0  # where the mean nearly cancels, the quotient says little
_CANCELLED = 1e-6  # share of the channels' power below which that of the mean says nothing
_TINY = 1e-12
_LIKENESS_LENGTH = 0.064  # seconds of a frame: longer than the ways between two microphones of one stand


def measure_likeness(blocks: Iterable[Array], sample_rate: int) -> tuple[float, float]:
    """Whether two channels carry one scene.

    Args:
        blocks: [2, n_samples] each.
        sample_rate: Hz.

    Returns:
        (coherence, polarity): the magnitude-squared coherence, each frequency weighted by the geometric mean of its
        energies in the two channels, 0..1 (Carter, 1987); and 1, or -1 where one channel is the other upside down.
    """
    n = 1 << int(np.log2(sample_rate * _LIKENESS_LENGTH))
    window = np.hanning(n).astype(np.float32)
    cross, power, n_frames = np.zeros(n // 2 + 1, complex), np.zeros((2, n // 2 + 1)), 0
    for block in blocks:
        if block.shape[1] < n:
            continue
        frames = np.lib.stride_tricks.sliding_window_view(silence_non_finite(block)[0], n, axis=1)[:, :: n // 2]
        spectra = np.fft.rfft((frames - frames.mean(axis=-1, keepdims=True)) * window)
        cross += np.sum(spectra[0] * spectra[1].conj(), axis=0)
        power += np.sum(np.abs(spectra) ** 2, axis=1)
        n_frames += frames.shape[1]
    both = power[0] * power[1]
    coherence = np.abs(cross) ** 2 / np.maximum(both, _TINY**2)
    # The mean of n frames of unrelated sounds has a coherence of 1 / n.
    unbiased = np.clip((coherence - 1 / max(n_frames, 1)) / (1 - 1 / max(n_frames, 2)), 0, 1)
    weight = np.sqrt(both)
    total = weight.sum()
    polarity = -1.0 if cross.real.sum() < 0 else 1.0
    return (float(np.sum(weight * unbiased) / total) if total > _TINY else 0.0), polarity


class LinkedStream:
    """Enhances two channels with one mask: blocks [2, n_samples] in, [2, n_ready] out.

    Attributes:
        delay: samples by which the output lags the input.
        non_finite: samples that were NaN, infinite or absurdly large, and were replaced by zero.
    """

    def __init__(self, stream: Stream, polarity: float = 1.0) -> None:
        """Sets up the pair at its beginning.

        Args:
            stream: fresh, of one microphone; enhances the mean.
            polarity: -1 where the second channel is the first upside down, so that they do not cancel.
        """
        self._stream = stream
        self._signs = np.array([[1.0], [polarity]], np.float32) / 2
        hop = 16 * max(1, round(stream.sample_rate * _HOP_S / 16))
        self._stft = Stft(StftConfig(stream.sample_rate, 2 * hop, hop, 2 * hop))
        self.delay = stream.delay + self._stft.delay
        self.non_finite = 0
        self._offset, self._onset = initial_offset(2), np.ones(hop, np.float32)
        self._rest = np.zeros((2, 0), np.float32)  # short of a hop, over which offsets are found
        self._waiting = np.zeros((2, stream.delay), np.float32)  # what the stream has not answered yet
        self._pending = np.zeros((4, 0), np.float32)  # both channels, their mean, the mean enhanced: short of a hop
        self._analysis = self._stft.initial_state(4)
        self._synthesis = [self._stft.initial_state(1) for _ in range(2)]
        self._n_in = self._n_out = 0

    def process(self, block: Array) -> Array:
        """Enhanced samples that are ready."""
        finite, n_bad = silence_non_finite(block)
        self.non_finite += n_bad
        self._n_in += block.shape[1]
        level = self._without_offset(finite)
        ready = self._apply(level, self._stream.process(self._mean(level)))
        self._n_out += ready.shape[1]
        return ready

    def flush(self) -> Array:
        """The tail, so that samples out = samples in + delay."""
        n_owed = self._n_in + self.delay - self._n_out
        rest = self._rest - np.array(self._offset.offset, np.float32)[:, None]
        last = self._apply(rest, self._stream.process(self._mean(rest)))
        tail = self._stream.flush()
        silence = np.zeros((2, self._stft.delay + self._stft.config.hop_length), np.float32)
        ready = np.concatenate((last, self._apply(silence, np.concatenate((tail, silence[0])))), axis=1)[:, :n_owed]
        self._n_out += n_owed
        return ready

    def _without_offset(self, channels: Array) -> Array:
        """Whole hops, each channel without its own offset: what one has more than the other is no place of a voice."""
        signals = np.concatenate((self._rest, channels), axis=1)
        n_whole = signals.shape[1] - signals.shape[1] % len(self._onset)
        self._rest = signals[:, n_whole:].copy()
        return remove_offset(signals[:, :n_whole], self._onset, self._offset)

    def _mean(self, channels: Array) -> Array:
        return np.sum(channels * self._signs, axis=0, keepdims=True)

    def _apply(self, channels: Array, enhanced: Array) -> Array:
        """Puts the gain of the mean onto both channels, hop by hop."""
        waiting = np.concatenate((self._waiting, channels), axis=1)
        n = len(enhanced)
        self._waiting, answered = waiting[:, n:], waiting[:, :n]
        signals = np.concatenate((self._pending, np.concatenate((answered, self._mean(answered), enhanced[None]))), 1)
        n_whole = signals.shape[1] - signals.shape[1] % self._stft.config.hop_length
        self._pending = signals[:, n_whole:].copy()
        if not n_whole:
            return np.zeros((2, 0), np.float32)
        left, right, mean, clean = self._stft.analyse(signals[:, :n_whole], self._analysis)
        gain = _find_gain(clean, mean, _CANCELLED * (np.abs(left) ** 2 + np.abs(right) ** 2))
        both = [self._stft.synthesise(gain * x, s) for x, s in zip((left, right), self._synthesis, strict=True)]
        return np.stack(both)


def open_pair(
    make_stream: Callable[[], Stream], stereo: str, heard: Iterable[Array], sample_rate: int
) -> tuple[str, list[Stream | LinkedStream]]:
    """Streams for two channels that are no array, at their beginning.

    Args:
        make_stream: gives a fresh stream of one microphone.
        stereo: one of `STEREO`.
        heard: the first blocks [2, n_samples], by which it is told whether the two carry one scene.
        sample_rate: Hz.

    Returns:
        "linked" and one stream for both, or "separate" and one for each.
    """
    coherence, polarity = measure_likeness(heard, sample_rate)
    if stereo == "linked" or (stereo == "auto" and coherence > LINK_COHERENCE):
        return "linked", [LinkedStream(make_stream(), polarity)]
    return "separate", [make_stream(), make_stream()]


def _find_gain(clean: Spectra, mean: Spectra, least: Array) -> Spectra:
    """[n_freqs, T] gains of the mean; where it has less power than `least`, that of the whole frame holds."""
    told, power = clean * mean.conj(), np.abs(mean) ** 2
    of_frame = told.real.sum(axis=0) / np.maximum(power.sum(axis=0), _TINY)
    least = least + _TINY
    gain = (told + least * of_frame) / (power + least)
    return gain / np.maximum(np.abs(gain) / _LARGEST_GAIN, 1)
