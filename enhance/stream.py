"""The enhancer as a stream: blocks of any length in, enhanced blocks out, the same sound for every cut."""

from collections.abc import Callable
from copy import deepcopy
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array, Spectra
from quietmic.enhance.beamform import Beamformer
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.fullband import UpperBand
from quietmic.enhance.limit import limit_attenuation
from quietmic.enhance.network import Hop, OnnxNetwork, share_network
from quietmic.enhance.offset import find_onset, initial_offset, remove_offset
from quietmic.enhance.reference import ReferenceState, initial_reference, update_reference
from quietmic.enhance.resample import StreamResampler
from quietmic.enhance.samples import silence_non_finite, to_float32
from quietmic.enhance.served import Band, check_served, check_settings
from quietmic.enhance.stft import Stft
from quietmic.enhance.streamstate import StreamState

_CHUNK_HOPS = 128  # per call of the network: a block of a file is one call, larger ones are hardly faster
_FEW_HOPS = 4  # one after the other in the graph for one, they take less than together in the graph for any number


class Stream:
    """Enhances a signal block by block; what `open_stream` returns.

    All that it remembers is its `state`. It can be copied and pickled: copies share the network, which holds no signal,
    and a pickled stream opens the same file again. Samples that are no numbers count as silence, and `non_finite`
    counts them.

    Attributes:
        n_mics: channels of every block.
        sample_rate: Hz, of input and output.
        delay: samples at sample_rate by which the output lags the input; live, a hop that fills adds up to 16 ms.
        attenuation_limit_db: nothing is attenuated by more than this; None for no limit. May be changed at any time:
            it applies from the next frame on, whose window fades it in over a hop.
        band: see `open_stream`.
        beamformer: of several microphones, where the network uses a beam; else None.
    """

    def __init__(
        self, network: OnnxNetwork, n_mics: int = 1, sample_rate: int = 16000,
        attenuation_limit_db: float | None = None, band: Band = "full",
    ) -> None:  # fmt: skip
        """Sets up a stream at its beginning.

        Args:
            network: may be shared by several streams.
            n_mics: microphones of one scene, 1..8; channel 0 is the reference.
            sample_rate: Hz, 8000..192000; other than the model's, the stream resamples both ways.
            attenuation_limit_db: see the attribute.
            band: see `open_stream`.

        Raises:
            QuietmicError: a number of microphones, a rate, a limit or a band that cannot be served.
        """
        card = network.card
        check_served(network, n_mics, sample_rate, attenuation_limit_db, band)
        self.network = network
        self.n_mics = n_mics
        self.sample_rate = sample_rate = int(sample_rate)
        self.band: Band = band
        self.attenuation_limit_db = attenuation_limit_db
        self._stft = Stft(card.stft)
        self._resamplers = None if sample_rate == card.stft.sample_rate else self._make_resamplers(n_mics)
        ratio = Fraction(sample_rate, card.stft.sample_rate)
        self.delay, self._upper = self._stft.delay, None
        if self._resamplers:
            to_model, from_model = self._resamplers
            self.delay = int((to_model.delay + self._stft.delay) * ratio + from_model.delay)
            if band == "full" and ratio > 1:  # the filters to the model's rate and back are of one length
                self._upper = UpperBand(n_mics, sample_rate, self.delay, 2 * int(to_model.delay), card.stft)
        self._onset = find_onset(self._resamplers[0] if self._resamplers else None, card.stft.hop_length)
        self._spectra = np.zeros((n_mics, card.stft.n_freqs), np.complex64)
        self._hop_at_rate = ceil(card.stft.hop_length * ratio)
        self.beamformer = Beamformer(n_mics, card.stft.n_freqs) if network.uses_beam and n_mics > 1 else None
        self._hop: Hop | None = None
        self.reset()

    def _open_hop(self) -> Hop:
        """Memory for single hops; it comes with the first of them, as blocks of a file do without."""
        if self._hop is None:
            self._hop = self.network.bind(self.n_mics)
        return self._hop

    def warm_up(self) -> None:
        """Opens the graph for single hops and runs it once, so that the first block takes no longer than the others.

        Raises:
            QuietmicError: a file that ONNX Runtime cannot load.
        """
        self._open_hop().run(self.network.initial_state())

    def reset(self) -> None:
        """Back to the state of a fresh stream; the attenuation limit stays."""
        for resampler in self._resamplers or ():
            resampler.reset()
        self._state = StreamState(
            of=f"{self.network.card.name}, {self.n_mics} microphones, {self.sample_rate} Hz, {self.band} band",
            to_model=self._resamplers[0].state if self._resamplers else None,
            from_model=self._resamplers[1].state if self._resamplers else None,
            pending=np.zeros((self.n_mics, 0), np.float32),
            offset=initial_offset(self.n_mics),
            stft=self._stft.initial_state(self.n_mics),
            network=self.network.initial_state(),
            beam=self.beamformer.initial_state() if self.beamformer else None,
            reference=initial_reference(self.n_mics) if self.n_mics > 1 else None,
            upper=self._upper.initial_state() if self._upper else None,
        )

    def _make_resamplers(self, n_mics: int) -> tuple[StreamResampler, StreamResampler]:
        """To the model's rate and back."""
        rate = self._stft.config.sample_rate
        to_model = StreamResampler(n_mics, self.sample_rate, rate)
        lag = (to_model.delay + self._stft.delay) * Fraction(self.sample_rate, rate)
        # The last resampler takes up what the others' delays lack to a whole number of samples.
        return to_model, StreamResampler(1, rate, self.sample_rate, min_delay=-lag % 1)

    @property
    def state(self) -> StreamState:
        """The stream's memory; copy it to come back to it, any number of times. One of another stream is refused."""
        return self._state

    @state.setter
    def state(self, state: StreamState) -> None:
        state.check(self._state.of)
        self._state = state = deepcopy(state)  # what is gone back to stays as it is
        if self._resamplers and state.to_model and state.from_model:
            self._resamplers[0].state, self._resamplers[1].state = state.to_model, state.from_model

    @property
    def attenuation_limit_db(self) -> float | None:
        """Nothing is attenuated by more than this; one that cannot be served is a QuietmicError when it is set."""
        return self._limit_db

    @attenuation_limit_db.setter
    def attenuation_limit_db(self, limit_db: float | None) -> None:
        check_settings(limit_db, self.band)
        self._limit_db = limit_db

    @property
    def non_finite(self) -> int:
        """Samples since the start that were NaN, infinite or absurdly large, and were replaced by zero."""
        return self._state.non_finite

    def process(self, block: NDArray[Any]) -> Array:
        """Enhanced samples that are ready: as many as came in, but for those that wait until a hop of 16 ms is full.

        Args:
            block: floats, full scale 1, [n_mics, n_samples] or, with one microphone, [n_samples]; any n_samples, 0
                included.

        Returns:
            [n_ready] float32.

        Raises:
            ValueError: another number of channels than n_mics, samples that are no floats, or a signal that was ended
                by `flush`.
        """
        if self._state.is_flushed:
            raise ValueError("the stream was flushed: call reset() before the next signal")
        samples = to_float32(np.asarray(block))
        if samples.ndim == 1:
            samples = samples[None]
        if samples.ndim != 2 or len(samples) != self.n_mics:
            raise ValueError(f"block of shape {np.shape(block)}, but this stream has {self.n_mics} microphones")
        self._state.n_in += samples.shape[1]
        good, n_bad = silence_non_finite(samples)
        self._state.non_finite += n_bad
        ready = self._push(good)
        self._state.n_out += len(ready)
        return ready

    def flush(self) -> Array:
        """The tail: what silence would push out, so that samples out = samples in + delay.

        Call `reset` before the next signal.

        Returns:
            [n_owed] float32; nothing the second time.
        """
        n_owed = self._state.n_in + self.delay - self._state.n_out
        silence = np.array(self._state.offset.offset, np.float32)[:, None]  # of a microphone with an offset
        tail = self._push(np.repeat(silence, n_owed + self._hop_at_rate + 1, axis=1))[:n_owed]
        self._state.n_out += n_owed
        self._state.is_flushed = True
        return tail

    def __copy__(self) -> "Stream":
        """A stream of its own at the same point; two that share one memory would disturb each other."""
        return deepcopy(self)

    def __reduce__(self) -> tuple[Callable[..., "Stream"], tuple[Any, ...]]:
        """Copied and pickled as what it was opened with and what it remembers."""
        return _go_on, (self.network, self.n_mics, self.sample_rate, self.attenuation_limit_db, self.band, self._state)

    def _push(self, samples: Array) -> Array:
        state = self._state
        signal = self._resamplers[0].process(samples) if self._resamplers else samples
        if state.pending.shape[1]:
            signal = np.concatenate((state.pending, signal), axis=1)
        hop_length = self._stft.config.hop_length
        n_whole = signal.shape[1] - signal.shape[1] % hop_length
        state.pending = signal[:, n_whole:].copy()
        heard = signal[:, :n_whole]
        whole = remove_offset(heard, self._onset, state.offset)
        if self._upper and state.upper:
            self._upper.take(samples, heard - whole, state.upper)
        enhanced = self._enhance(whole) if n_whole else np.zeros(0, np.float32)
        ready = self._resamplers[1].process(enhanced[None])[0] if self._resamplers else enhanced
        return self._upper.join(ready, state.upper) if self._upper and state.upper else ready

    def _enhance(self, hops: Array) -> Array:
        """[n_mics, T * hop_length] at the model's rate -> [T * hop_length]."""
        n_samples, hop_length = hops.shape[1], self._stft.config.hop_length
        few = _FEW_HOPS if self._hop and self._hop.is_single else 1
        # The beamformer and the choice of the reference go hop by hop, so several microphones do.
        alone = self.n_mics > 1 or n_samples <= few * hop_length
        n_chunk = hop_length if alone else _CHUNK_HOPS * hop_length
        enhance = self._enhance_hop if alone else self._enhance_chunk
        parts = [enhance(hops[:, i : i + n_chunk]) for i in range(0, n_samples, n_chunk)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _enhance_hop(self, samples: Array) -> Array:
        """[n_mics, hop_length] -> [hop_length]."""
        state, hop = self._state, self._open_hop()
        if state.reference:
            self._run_array(hop, samples, state.reference)
        else:
            self._stft.analyse_hop(samples, state.stft, hop.noisy)
            state.network = hop.run(state.network)
        return self._stft.synthesise_hop(self._finish(hop.enhanced, hop.noisy[0]), state.stft)

    def _run_array(self, hop: Hop, samples: Array, reference: ReferenceState) -> None:
        """Analysis and network for one hop [n_mics, hop_length] of several microphones."""
        state, spectra = self._state, self._spectra
        self._stft.analyse_hop(samples, state.stft, spectra)
        index = update_reference(samples, reference)
        hop.noisy[...] = spectra
        if index:
            hop.noisy[0], hop.noisy[index] = spectra[index], spectra[0]
        if self.beamformer and state.beam:
            hop.beam[...] = self.beamformer.apply(spectra, index, state.beam)
        state.network = hop.run(state.network)
        if self.beamformer and state.beam and hop.mask is not None:
            self.beamformer.update(spectra, hop.mask, state.beam)

    def _enhance_chunk(self, hops: Array) -> Array:
        """[1, T * hop_length] of the only microphone -> [T * hop_length]."""
        state = self._state
        spectra = self._stft.analyse(hops, state.stft)
        noisy = _to_real(spectra)[None]
        beam = noisy[:, 0] if self.network.uses_beam else None
        enhanced, _, state.network = self.network.step(noisy, beam, state.network)
        output = np.ascontiguousarray(enhanced[0]).view(np.complex64)[..., 0]
        return self._stft.synthesise(self._finish(output, spectra[0]), state.stft)

    def _finish(self, enhanced: Spectra, reference: Spectra) -> Spectra:
        """What is synthesised: no more attenuated than the limit allows; beside an upper band, only what is changed."""
        limit_db, upper = self.attenuation_limit_db, self._state.upper
        floor = np.float32(0.0 if limit_db is None else 10 ** (-limit_db / 20))
        kept = enhanced if limit_db is None else limit_attenuation(enhanced, reference, floor)
        if self._upper and upper:
            index = self._state.reference.index if self._state.reference else 0
            self._upper.shape(enhanced, reference, index, floor, upper)
            return kept - reference
        return kept


def _to_real(spectra: Spectra) -> Array:
    """[...] complex -> [..., 2] float32, real and imaginary part."""
    return np.ascontiguousarray(spectra).view(np.float32).reshape(*spectra.shape, 2)


def _go_on(
    network: OnnxNetwork, n_mics: int, sample_rate: int, limit_db: float | None, band: Band, state: StreamState
) -> Stream:
    """A stream that goes on from a state."""
    stream = Stream(network, n_mics, sample_rate, limit_db, band)
    stream.state = state
    return stream


def open_stream(
    model: str = "default",
    n_mics: int = 1,
    sample_rate: int = 16000,
    attenuation_limit_db: float | None = None,
    band: Band = "full",
) -> Stream:
    """A stream that takes noise and late echo out of speech while it comes in: blocks in, enhanced blocks out.

    Feed it blocks of any length with `process`, end with `flush`. The samples are the same, but for the rounding of
    float32, however the signal is cut into blocks; they lag the input by `stream.delay` samples.

    Args:
        model: name of the catalogue (`list_models`), "default", or the path of an .onnx file.
        n_mics: microphones of one scene, 1..8; channel 0 is the reference.
        sample_rate: Hz of input and output, 8000..192000; other than the model's, the stream resamples both ways.
        attenuation_limit_db: nothing is attenuated by more than this; None for no limit.
        band: "full" cleans what a signal above 16 kHz holds beyond the model's band, too; "narrow" gives the model's
            band alone, below 7.6 kHz.

    Returns:
        A stream at its beginning. All of a process share the network, which stays open, and nothing else: each may run
        in a thread of its own.

    Raises:
        QuietmicError: unknown model, or a number of microphones, a rate, a limit or a band that cannot be served.

    Example:
        >>> stream = open_stream(n_mics=2, sample_rate=48000)
        >>> block = np.zeros((2, 480), np.float32)  # ten milliseconds
        >>> ready = [stream.process(block) for _ in range(100)]
        >>> sum(map(len, ready)) + len(stream.flush()) == 48000 + stream.delay
        True
    """
    stream = Stream(share_network(find_model(model)), n_mics, sample_rate, attenuation_limit_db, band)
    stream.warm_up()
    return stream
