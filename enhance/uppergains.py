"""Gains of the bands above the network's, from what the network made of what it hears and from their own levels.

In every frame a small head (`upperhead.py`) weighs what speaks for speech in each band: how much the network left in
the bands below (a sibilant goes on above 8 kHz, and so does hiss), how strong the speech is there, how far the band
stands over its own noise, and how it stands to the speech just below. Where the network takes next to nothing away
there, nothing is taken away here.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array, Spectra, multiply
from quietmic.enhance.card import StftConfig
from quietmic.enhance.upperhead import N_BEFORE, run_head


@dataclass(frozen=True)
class UpperSettings:
    """How the gains are found; the head is trained with these by `tools/train_upper_band.py`.

    Attributes:
        bands_hz: lower end of the lowest band and upper end of the highest, whose gain holds above, too.
        n_bands: evenly on the ERB scale (Glasberg and Moore, 1990) between the ends.
        heard_hz: ends of the bands in which the network's work is looked at.
        near_hz: the band that speaks for what lies above it; its speech is what levels are compared with.
        rise: share of the distance that a noise floor goes up in a hop of the network without speech.
        fall: share that it goes down in any.
        faint: share that the network takes away near the band; what is taken here falls in proportion below it.
    """

    bands_hz: tuple[float, float] = (7200.0, 20000.0)
    n_bands: int = 10
    heard_hz: tuple[float, ...] = (200.0, 1000.0, 2000.0, 3000.0, 4000.0, 5500.0, 7200.0)
    near_hz: tuple[float, float] = (4000.0, 7200.0)
    rise: float = 0.06
    fall: float = 0.27
    faint: float = 0.003


@dataclass
class GainState:
    """What the next frame needs of those before.

    Attributes:
        clues: [N_BEFORE, n_clues] of the last frames.
        floors: [n_bands] natural logarithms of the noise's power; None before the first sound.
        n_noise: hops that taught them, each as far as it was noise.
    """

    clues: Array
    floors: Array | None = None
    n_noise: float = 0.0


_LARGEST_CLUE = 12.0  # a natural logarithm; further off tells no more
_TINY = 1e-20  # power that tells no more than nothing
_NOTHING = 1e-30  # far below it, as what the network leaves of the faintest sound is still told
_SURE = 1e-7  # share of noise that is as good as none
_LEAST = 0.003  # share of speech, -50 dB: what a network leaves of steady noise below it flickers, and tells nothing
_SILENCE = -30.0  # logarithm of the power of the loudest band, -130 dBFS, below which nothing teaches


class UpperGains:
    """The gains of one stream; holds no signal state.

    Attributes:
        shapes: [n_bands, n_freqs] weight of each band at each frequency; they sum to one inside the bands and above.
        n_evidence: numbers that `hear` gives for a frame.
        n_clues: numbers that the head hears of a frame.
    """

    def __init__(
        self, freqs_hz: NDArray[Any], n_fft: int, lower: StftConfig, settings: UpperSettings | None = None
    ) -> None:
        """Lays the bands over frequencies.

        Args:
            freqs_hz: [n_freqs] of the spectra to shape, rising.
            n_fft: of the transform they come from, under a root of a Hann window.
            lower: the network's analysis.
            settings: those that the head was trained with by default.
        """
        self.settings = s = settings or UpperSettings()
        low, high = _erbs(np.array(s.bands_hz))
        inside = freqs_hz >= s.bands_hz[0]
        self.shapes = inside * _triangles(_erbs(freqs_hz), np.linspace(low, high, s.n_bands))
        # To the mean square of the sound, for real and imaginary parts in turn; n_fft * sum(window^2) / 2 is one.
        self._means = np.repeat(self.shapes.T / (n_fft * n_fft / 4), 2, axis=0).astype(np.float32)
        hertz = np.repeat(np.arange(lower.n_freqs) * lower.sample_rate / lower.n_fft, 2)  # real and imaginary parts
        ranges = [*pairwise(s.heard_hz), s.near_hz]
        heard = np.stack([(hertz >= begin) & (hertz < end) for begin, end in ranges], axis=1)
        self._heard = (heard / (lower.n_fft * lower.win_length / 4)).astype(np.float32)
        self._n_heard = len(ranges)
        self.n_evidence = 2 * len(ranges)
        self.n_clues = self.n_evidence - 1 + 2 * s.n_bands

    def initial_state(self) -> GainState:
        """State before the first frame."""
        return GainState(np.zeros((N_BEFORE, self.n_clues), np.float32))

    def hear(self, enhanced: Spectra, noisy: Spectra) -> Array:
        """What frames of the network tell of the band above.

        Args:
            enhanced: [n_freqs] or [n_freqs, T].
            noisy: of the same shape.

        Returns:
            [T, n_evidence]: odds of speech in each of the bands that are looked at, the one near the band last, and
            the power of the speech in each, natural logarithms.
        """
        given = _parts(noisy)
        n, n_heard = len(given), self._n_heard
        powers = multiply(np.concatenate((_parts(enhanced) * given, given * given)), self._heard)
        left, given = np.maximum(powers[:n], _NOTHING), powers[n:]
        share = np.minimum(np.maximum(left / (given + 2 * _NOTHING), _LEAST), 1 - _SURE)
        evidence = np.empty((n, self.n_evidence), np.float32)
        np.divide(share, 1 - share, out=evidence[:, :n_heard])
        np.maximum(share * share * given, _TINY, out=evidence[:, n_heard:])
        return np.log(evidence, out=evidence)

    def find(self, spectra: NDArray[Any], evidence: Array, hops: list[int], state: GainState) -> Array:
        """What is to be taken away from frames.

        Args:
            spectra: [n, n_freqs] complex64, each frame contiguous.
            evidence: [n, n_evidence] as `hear` gives it, at the times of the frames.
            hops: where the frames of each hop of the network begin and the last one ends, [n_hops + 1].
            state: advanced.

        Returns:
            [n, n_bands], 0..1: one minus the gain.
        """
        clues, noise = self.weigh(self.levels(spectra), evidence, hops, state)
        heard = np.maximum(noise - 2 * _SURE, 0)  # nothing where the network takes nothing
        return heard / (heard + self.settings.faint) / (1 + np.exp(run_head(clues)))

    def weigh(self, levels: Array, evidence: Array, hops: list[int], state: GainState) -> tuple[Array, NDArray[Any]]:
        """What the head hears.

        Args:
            levels: [n, n_bands] as `levels` gives them.
            evidence: as for `find`.
            hops: as for `find`.
            state: advanced.

        Returns:
            (Clues [N_BEFORE + n, n_clues], which begin with those of the last frames before; share of noise near the
            band [n, 1]).
        """
        n_heard, n_bands = self._n_heard, self.settings.n_bands
        noise = 1 / (1 + np.exp(evidence[:, n_heard - 1 : n_heard]))
        speech = evidence[:, -1:]
        clues = np.empty((N_BEFORE + len(levels), self.n_clues), np.float32)
        clues[:N_BEFORE], new = state.clues, clues[N_BEFORE:]
        new[:, :n_heard] = evidence[:, :n_heard]
        np.subtract(evidence[:, n_heard:-1], speech, out=new[:, n_heard : -2 * n_bands])
        self._over_floors(levels, noise, hops, state, new[:, -2 * n_bands : -n_bands])
        np.subtract(speech, levels, out=new[:, -n_bands:])
        np.minimum(np.maximum(new, -_LARGEST_CLUE, out=new), _LARGEST_CLUE, out=new)
        state.clues = clues[-N_BEFORE:].copy()
        return clues, noise

    def levels(self, spectra: NDArray[Any]) -> Array:
        """[n, n_bands] natural logarithms of the power of spectra [n, n_freqs], complex64, each frame contiguous."""
        parts = spectra.view(np.float32)
        return np.log(multiply(parts * parts, self._means) + _TINY)

    def _over_floors(
        self, levels: Array, noise: NDArray[Any], hops: list[int], state: GainState, over: Array
    ) -> None:  # fmt: skip
        """Writes to `over` how far levels stand over the noise floors, which learn as far as `noise` [n, 1] tells."""
        rise, fall = self.settings.rise, self.settings.fall
        for begin, end in pairwise(hops):
            level = levels[begin:end]
            mean = np.add.reduce(level, axis=0) / (end - begin)
            if np.maximum.reduce(mean) < _SILENCE:
                over[begin:end] = 0
                continue
            if state.floors is None:
                state.floors = mean
            np.subtract(level, state.floors, out=over[begin:end])
            share = float(noise[end - 1, 0])
            up = share * max(rise, 1 / (1 + state.n_noise))
            distance = mean - state.floors
            state.floors = state.floors + np.minimum(up * distance, max(up, fall) * distance)
            state.n_noise += share


def _parts(spectra: Spectra) -> Array:
    """[n_freqs] or [n_freqs, T] complex -> [T, 2 * n_freqs], real and imaginary parts in turn."""
    return np.ascontiguousarray(spectra.reshape(len(spectra), -1).T).view(np.float32)


def _erbs(hertz: NDArray[Any]) -> NDArray[Any]:
    """Place on the ERB-number scale (Glasberg and Moore, 1990)."""
    return 21.4 * np.log10(1 + 0.00437 * hertz)


def _triangles(places: NDArray[Any], centres: NDArray[Any]) -> NDArray[Any]:
    """[n_bands, n_places] how much of each band is at each place, a straight line from one centre to the next."""
    return np.stack([np.interp(places, centres, row) for row in np.eye(len(centres))])
