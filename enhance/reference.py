"""Choice of the reference microphone: another one takes over where it is dead or clipped for long."""

from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array

_LIVE_POWER = 1e-10  # -100 dBFS: below it a microphone carries nothing
_DEAD_RATIO = 1e-4  # 40 dB below the others, which no gain spread or distance explains
_DEAD_HOPS = 6  # about 0.1 s; a pause of the talker is silent in all microphones alike
_START_HOPS = 31  # about 0.5 s in which the first sound microphone is chosen anew each hop
_CLIP_LEVEL = 0.98  # of full scale; a resampler rounds the edges off
_CLIP_SHARE = 0.03  # of the samples
_CLIP_MEMORY = 0.99  # a hop: about 1.6 s


@dataclass
class ReferenceState:
    """What is known of each microphone.

    Attributes:
        index: the reference.
        quiet_hops: [n_mics] hops in a row that each was dead.
        was_live: [n_mics] has carried a signal before.
        clipped: [n_mics] running share of clipped samples.
        n_hops: hops so far in which a microphone carried a signal.
    """

    index: int
    quiet_hops: NDArray[np.int64]
    was_live: NDArray[np.bool_]
    clipped: NDArray[np.float64]
    n_hops: int = 0


def initial_reference(n_mics: int) -> ReferenceState:
    """Microphone 0, as long as nothing speaks against it."""
    return ReferenceState(0, np.zeros(n_mics, np.int64), np.zeros(n_mics, np.bool_), np.zeros(n_mics))


def update_reference(hop: Array, state: ReferenceState) -> int:
    """Index of the reference microphone for this hop; advances `state`.

    A microphone is dead when it is far below the others for some hops, at once if it never carried a signal. The
    first sound one takes over and stays, also when the old one comes back: each change costs the listener something.
    Only at the start, where a sound microphone may still be silent (padding, a card that opens late), it gives way
    again. The change itself is cross-faded by the overlap of the synthesis windows.

    Args:
        hop: [n_mics, hop_length] samples.
        state: advanced in place.
    """
    power = np.einsum("ms,ms->m", hop, hop) / hop.shape[1]
    live = power > _LIVE_POWER
    if live.any():
        quiet = power <= max(_LIVE_POWER, _DEAD_RATIO * median(power[live].tolist()))
        state.quiet_hops = (state.quiet_hops + 1) * quiet
        state.was_live |= ~quiet
        state.n_hops += 1
    share = np.add.reduce(np.abs(hop) > _CLIP_LEVEL, axis=1) / hop.shape[1]
    state.clipped = _CLIP_MEMORY * state.clipped + (1 - _CLIP_MEMORY) * share
    dead = state.quiet_hops >= np.where(state.was_live, _DEAD_HOPS, 1)
    sound = np.flatnonzero(~dead & (state.clipped < _CLIP_SHARE))
    if len(sound) and (state.index not in sound or state.n_hops <= _START_HOPS):
        state.index = int(sound[0])
    return state.index
