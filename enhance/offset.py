"""The constant offset of a cheap converter, taken away from a microphone's signal without touching anything else.

A high-pass filter would turn the phase of low voices, or need a long window and its delay. Here the mean is estimated
as the sound comes, and subtracted only where it is certain: a sound without an offset passes unchanged.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.resample import StreamResampler

Numbers = NDArray[np.float64]

_MEMORY_HOPS = 62.5  # time constant of the mean, a second at 16 kHz: passes all that is faster than 0.2 Hz
_SURE = 6.0  # the mean counts as an offset from so many of its standard errors on
_SURE_AT_ONCE = 1.5  # or, within the first hop, from so many standard deviations of the sound on: no hum has that
_LARGE = 0.01  # and from so much on, which rumble in front of quiet sound seldom reaches
_WAIT_HOPS = 12  # until smaller ones are decided on: fewer means stray too little to tell how far they do
_MOST_ALIKE = 0.97
_RISEN = 0.999
_JUMP_HOPS = 5  # behind the one in which it happens: together longer than a plosive or a slam lies to one side
_FAR = 4.0  # a jump is so many times farther than hops before it stray, and than those behind it do

Change = tuple[int, list[float], list[float], Array | None]
"""A hop, what is subtracted at its beginning and at its end, and how that rises; None for evenly."""
_SMALLEST = 1e-4  # an offset below -80 dB harms nothing


@dataclass
class OffsetState:
    """What the next hop needs of those before, a number for each microphone.

    Attributes:
        mean: of the last second.
        spread: variance of the means of hops, about the mean.
        together: covariance of each with the one before it: those of rumble go together.
        latest: how far the latest lay from the mean.
        offset: what is subtracted; 0 where there is no offset.
        n_hops: how many the mean stands for.
        away: means of the latest hops, as long as they lie so far from the mean that it may have jumped.
    """

    mean: list[float]
    spread: list[float]
    together: list[float]
    latest: list[float]
    offset: list[float]
    n_hops: list[float]
    away: list[list[float]]


def initial_offset(n_mics: int) -> OffsetState:
    """State before the first sample."""
    mean, spread, together, latest, offset, n_hops = ([0.0] * n_mics for _ in range(6))
    return OffsetState(mean, spread, together, latest, offset, n_hops, [[] for _ in range(n_mics)])


def find_onset(resampler: StreamResampler | None, hop_length: int) -> Array:
    """How an offset of 1 at the input rises within the first hop behind a fresh resampler, [hop_length]."""
    if resampler is None:
        return np.ones(hop_length, np.float32)
    one = np.ones((resampler.n_channels, hop_length), np.float32)
    parts = [resampler.process(one)[0]]
    while sum(map(len, parts)) < hop_length:
        parts.append(resampler.process(one)[0])
    resampler.reset()
    return np.concatenate(parts)[:hop_length]


def remove_offset(hops: Array, onset: Array, state: OffsetState) -> Array:
    """The same hops without their offset; advances `state`.

    It is decided hop by hop, so the result is the same for every cut. An offset is taken away along a ramp over a hop,
    but at once where the sound begins with it. Where it jumps, as when a recorder changes its gain, the new one is
    taken a tenth of a second later.

    Args:
        hops: [n_mics, T * hop_length].
        onset: [hop_length] how an offset of 1 rises within the first hop, behind a resampler; ends at 1.
        state: as left by the hops before.

    Returns:
        [n_mics, T * hop_length]; `hops` itself where there is no offset.
    """
    hop_length = len(onset)
    cut = hops.reshape(len(hops), -1, hop_length)
    changes: list[Change] = []
    for t, means in enumerate((np.add.reduce(cut, axis=2) / hop_length).T.tolist()):
        before, rise = state.offset, None
        if not state.n_hops[0]:
            settled = cut[:, t, int(np.argmax(onset > _RISEN)) :].astype(np.float64)
            _begin(settled.mean(axis=1), settled.var(axis=1), state)
            rise = onset
        else:
            _go_on(means, state)
        if any(before) or any(state.offset):
            changes.append((t, before, state.offset, rise))
    return _subtract(cut, changes).reshape(hops.shape) if changes else hops


def _subtract(cut: Array, changes: list[Change]) -> Array:
    """[n_mics, T, hop_length] without what is found."""
    ramp = np.arange(1, cut.shape[2] + 1) / cut.shape[2]
    rest = cut.astype(np.float64)
    for t, begin, end, rise in changes:
        rest[:, t] -= np.array(begin)[:, None] + np.subtract(end, begin)[:, None] * (ramp if rise is None else rise)
    return rest.astype(np.float32)


def _begin(means: Numbers, variances: Numbers, state: OffsetState) -> None:
    """The first hop: how far its mean may stray is not known yet, but whether all of it lies to one side of zero."""
    is_offset = np.abs(means) > np.maximum(_LARGE, _SURE_AT_ONCE * np.sqrt(variances))
    state.mean, state.n_hops = means.tolist(), [1.0] * len(means)
    state.spread = (variances / 4).tolist()  # the means of hops stray by less than half of what the sound does
    state.offset = np.where(is_offset, means, 0.0).tolist()


def _go_on(means: list[float], state: OffsetState) -> None:
    """Whether the means are certain to be no chance, with those of the next hop."""
    offset = []
    for mic, mean in enumerate(means):
        has_jumped = _follow(mean, mic, state)
        error = _error_of_mean(mic, state)
        is_known = bool(state.offset[mic]) and not has_jumped
        is_sure = is_known or has_jumped or state.n_hops[mic] >= _WAIT_HOPS
        limit = max(_SMALLEST, error if is_known else _SURE * error)
        offset.append(state.mean[mic] if is_sure and abs(state.mean[mic]) > limit else 0.0)
    state.offset = offset


def _error_of_mean(mic: int, state: OffsetState) -> float:
    """Standard error of the mean; as many hops of rumble as go together count for one."""
    spread = state.spread[mic]
    alike = min(max(state.together[mic] / spread, 0.0), _MOST_ALIKE) if spread else 0.0
    return sqrt(spread / state.n_hops[mic] * (1 + alike) / (1 - alike))


def _follow(mean: float, mic: int, state: OffsetState) -> bool:
    """Takes in the mean of the next hop; whether what is constant has jumped, so that all before it counts no more."""
    away = state.away[mic]
    is_away = abs(mean - state.mean[mic]) > max(_SMALLEST, _FAR * sqrt(state.spread[mic]))
    away.append(mean)
    if is_away and len(away) <= _JUMP_HOPS:
        return False
    state.away[mic] = []
    if is_away:
        behind = away[1:]
        level, strays = sum(behind) / _JUMP_HOPS, (max(behind) - min(behind)) / 2
        if abs(level - state.mean[mic]) > _FAR * strays:
            state.mean[mic], state.spread[mic], state.n_hops[mic] = level, strays**2, float(_JUMP_HOPS)
            state.together[mic] = state.latest[mic] = 0.0
            return True
    for one in away:
        _take(one, mic, state)
    return False


def _take(mean: float, mic: int, state: OffsetState) -> None:
    """A running mean and variance (Welford, 1962)."""
    state.n_hops[mic] = min(state.n_hops[mic] + 1, _MEMORY_HOPS)
    share = 1 / state.n_hops[mic]
    difference = mean - state.mean[mic]
    state.together[mic] += share * (difference * state.latest[mic] - state.together[mic])
    state.latest[mic] = difference
    state.mean[mic] += share * difference
    state.spread[mic] = (1 - share) * (state.spread[mic] + share * difference**2)
