"""The band above the network's: split off at the stream's own rate, shaped there, and joined with the one below.

The input goes around the network, through an analysis and synthesis of its own; the network's part is only what it
takes away, resampled and added. So where nothing is taken away the input comes out as it was, whatever the slope of the
resampler between the bands is. Above that slope the gains of `uppergains.py` take away. All of it is done while the
stream waits for the network, whose delay it keeps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array, Spectra, multiply
from quietmic.enhance.card import StftConfig
from quietmic.enhance.resample import low_pass_gain
from quietmic.enhance.stft import sqrt_hann
from quietmic.enhance.uppergains import GainState, UpperGains, UpperSettings

FRAMES_PER_HOP = 3  # of the upper band for one of the network: a sibilant begins within a few milliseconds


@dataclass
class UpperState:
    """What the next hop needs of those before.

    Attributes:
        samples: [n_mics, n] input from the start of the next frame on.
        overlap: [hop] output still to be added to.
        finished: [n] shaped samples that wait for the network's part.
        heard: [n_evidence + 2 * n_mics] of the last frame of the network: what it told, 1 for the microphone that
            was the reference, and the constant offsets of all.
        offsets: [T, n_mics] constant offsets in the hops that the network hears next.
        gains: noise floors.
        n_heard: frames of the network so far.
        n_made: frames of the upper band so far.
    """

    samples: Array
    overlap: Array
    finished: Array
    heard: Array
    offsets: Array
    gains: GainState
    n_heard: int = 0
    n_made: int = 0


class UpperBand:
    """The upper band of one stream; holds no signal state.

    Its frame m is centred on sample m * hop of the input, and made as soon as the network has heard what the first
    sample that the frame finishes waits for.
    """

    def __init__(self, n_mics: int, sample_rate: int, delay: int, reach: int, lower: StftConfig) -> None:
        """Designs the split of one rate.

        Args:
            n_mics: of the stream.
            sample_rate: Hz, above the network's.
            delay: of the stream, samples at its rate.
            reach: of the filters of both resamplers, one side of each, in samples at the network's rate.
            lower: the network's analysis.
        """
        self._hop = hop = 8 * round(lower.hop_length * sample_rate / lower.sample_rate / FRAMES_PER_HOP / 8)
        self._n_mics, self._delay, self._reach, self._lower = n_mics, delay, reach, lower
        self._rate = sample_rate
        self._window = sqrt_hann(2 * hop).reshape(2, hop)
        freqs = np.fft.rfftfreq(2 * hop, 1 / sample_rate)
        self._first = first = int(np.searchsorted(freqs, UpperSettings().bands_hz[0]))
        around = 1 - low_pass_gain(freqs[first:], lower.sample_rate) ** 2
        self._gains = UpperGains(freqs[first:], 2 * hop, lower)
        # How much of what a band takes away each frequency loses: nothing where the network has all of it.
        self._shares = (self._gains.shapes * around).astype(np.float32)

    def initial_state(self) -> UpperState:
        """State before the first sample."""
        return UpperState(
            samples=np.zeros((self._n_mics, self._hop), np.float32),
            overlap=np.zeros(self._hop, np.float32),
            finished=np.zeros(self._delay - self._hop, np.float32),
            heard=np.zeros(self._gains.n_evidence + 2 * self._n_mics, np.float32),
            offsets=np.zeros((0, self._n_mics), np.float32),
            gains=self._gains.initial_state(),
        )

    def take(self, samples: Array, offset: Array, state: UpperState) -> None:
        """Keeps the input until the network has heard it.

        Args:
            samples: [n_mics, n_samples].
            offset: [n_mics, T * hop_length] of the network, what was taken from the hops that these complete.
            state: advanced.
        """
        state.samples = np.concatenate((state.samples, samples), axis=1)
        state.offsets = offset[:, self._lower.hop_length - 1 :: self._lower.hop_length].T

    def shape(self, enhanced: Spectra, noisy: Spectra, index: int, floor: np.float32, state: UpperState) -> None:
        """Makes the frames that the network's next ones allow; what they finish waits for `join`.

        Args:
            enhanced: [n_freqs] or [n_freqs, T], what the network made of the reference.
            noisy: the same of the reference itself.
            index: of the reference microphone.
            floor: gain that nothing goes below, 0..1.
            state: advanced.
        """
        evidence = self._gains.hear(enhanced, noisy)
        n, n_evidence = evidence.shape
        known = np.zeros((1 + n, n_evidence + 2 * self._n_mics), np.float32)
        known[0] = state.heard
        known[1:, :n_evidence] = evidence
        known[1:, n_evidence + index] = 1
        known[1:, n_evidence + self._n_mics :] = state.offsets[:n]
        state.offsets, state.heard = state.offsets[n:], known[n]
        places = self._places(state.n_made, state.n_heard, state.n_heard + n)
        state.n_heard += n
        if n == 1 and places:  # live
            part = np.array(places, np.float32)[:, None]
            self._make(known[0] + part * (known[1] - known[0]), [0, len(places)], floor, state)
        elif places:
            whole = np.array(places, np.int64)
            part = (places - whole).astype(np.float32)[:, None]
            before = known[whole]
            hops = [0, *(np.flatnonzero(np.diff(whole)) + 1).tolist(), len(whole)]
            self._make(before + part * (known[whole + 1] - before), hops, floor, state)

    def _places(self, n_made: int, n_heard: int, end: int) -> list[float]:
        """Where the frames that may be made lie among the network's `n_heard - 1` to `end - 1`, counted from 0."""
        lower, step = self._lower, self._hop * self._lower.sample_rate
        n_frames = 1 - (((end - 1) * lower.hop_length - self._reach) * self._rate // -step)
        begins = (frame * (step / self._rate) for frame in range(n_made - 1, n_frames - 1))
        return [(begin + self._reach) / lower.hop_length - (n_heard - 1) for begin in begins]

    def _make(self, at: Array, hops: list[int], floor: np.float32, state: UpperState) -> None:
        """Frames with what is known at their times [n, n_heard]."""
        n, hop, n_evidence = len(at), self._hop, self._gains.n_evidence
        cut = state.samples[:, : (n + 1) * hop].reshape(self._n_mics, n + 1, hop)
        state.samples = state.samples[:, n * hop :]
        frames: NDArray[Any] = np.empty((n, 2, hop), np.float32)
        for half, part in enumerate(self._reference(cut, at[:, n_evidence:])):
            np.multiply(part, self._window[half], out=frames[:, half])
        spectra = np.fft.rfft(frames.reshape(n, 2 * hop))
        upper = spectra[:, self._first :]
        taken = self._gains.find(upper, at[:, :n_evidence], hops, state.gains)
        upper *= 1 - multiply((1 - floor) * taken, self._shares)
        frames = np.fft.irfft(spectra).reshape(n, 2, hop)
        frames *= self._window
        begins, ends = frames[:, 0], frames[:, 1]
        begins[0] += state.overlap
        begins[1:] += ends[:-1]
        state.overlap = ends[-1]
        state.n_made += n
        state.finished = np.concatenate((state.finished, begins.reshape(-1)))

    def _reference(self, parts: Array, at: Array) -> tuple[Array, Array]:
        """Both halves of frames [n, hop] of the reference, without its offset, from [n_mics, n + 1, hop]."""
        if self._n_mics == 1 and not np.count_nonzero(at[:, 1]):
            return parts[0, :-1], parts[0, 1:]
        share, offset = at[:, : self._n_mics], at[:, self._n_mics :]
        constant = np.sum(share * offset, axis=1, keepdims=True)
        begins, ends = (np.einsum("nm,mnh->nh", share, part) - constant for part in (parts[:, :-1], parts[:, 1:]))
        return begins, ends

    def join(self, change: Array, state: UpperState) -> Array:
        """The output: what was shaped, and `change` [n_ready], what the network changes about the band below."""
        n = len(change)
        output = state.finished[:n] + change
        state.finished = state.finished[n:].copy()
        return output
