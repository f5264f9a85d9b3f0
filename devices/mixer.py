"""Enhanced, bypassed or muted: every change is a cross-fade between signals of the same delay, so nothing jumps."""

import numpy as np

from quietmic.devices.engine import AlignedEngine, Engine
from quietmic.enhance.arrays import Array

_FADE_S = 0.02
_SETTLE_S = 0.25  # a restarted stream first finds its normalisation


class Fader:
    """A gain that moves to its target in a straight line.

    Attributes:
        gain: at the end of the last ramp.
    """

    def __init__(self, gain: float, fade_length: int) -> None:
        self.gain = gain
        self._step = 1.0 / fade_length

    def ramp(self, target: float, n_samples: int) -> Array:
        """Gains of the next samples, [n_samples]."""
        distance = target - self.gain
        gains = self.gain + np.sign(distance) * np.minimum(abs(distance), self._step * np.arange(1, n_samples + 1))
        self.gain = float(gains[-1])
        return gains.astype(np.float32)


class DelayLine:
    """Delays one channel by a fixed number of samples."""

    def __init__(self, delay: int) -> None:
        self._history: Array = np.zeros(delay, np.float32)

    def process(self, block: Array) -> Array:
        """The samples [n_samples] that came in `delay` samples before these [n_samples]."""
        signal = np.concatenate((self._history, block))
        self._history = signal[len(block) :]
        return signal[: len(block)]


class Mixer:
    """Runs the engine and mixes its output with the reference microphone, delayed alike.

    Attributes:
        bypass: what the person wants; the engine keeps running, so that the way back is immediate.
        muted: silence for the listener, as the person wants it.
        silenced: silence because a stream of ours is not where it belongs, see Watch.
        forced_bypass: the engine is not run at all (it is too slow, or being replaced).
        latency: samples between input and output.
        n_replaced: samples for which the engine gave NaN or infinity and the microphone was taken.
    """

    def __init__(self, engine: Engine, n_held: int = 0) -> None:
        """Takes over a fresh engine.

        Args:
            engine: the stream.
            n_held: samples it holds back beyond its delay.
        """
        self.bypass = self.muted = self.silenced = self.forced_bypass = False
        self.n_replaced = 0
        fade_length = round(_FADE_S * engine.sample_rate)
        self._wet = Fader(1.0, fade_length)
        self._loudness = Fader(1.0, fade_length)
        self._idle = False
        self._limit_db: float | None = None
        self._use(AlignedEngine(engine, n_held))

    def _use(self, aligned: AlignedEngine) -> None:
        self._aligned = aligned
        self.latency = aligned.latency
        self._dry_line = DelayLine(aligned.latency)
        self._n_unsettled = 0

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self._aligned.engine

    @property
    def is_dry(self) -> bool:
        """Whether nothing of the engine is heard."""
        return self._wet.gain == 0.0

    def limit_attenuation(self, limit_db: float | None) -> None:
        """Limits what the engine in use, and each one that replaces it, may attenuate: dB, None for no limit."""
        # Kept before it is applied, as `replace` swaps before it applies: whoever comes last, the new engine gets it.
        self._limit_db = limit_db
        self.engine.set_attenuation_limit(limit_db)

    def restart(self) -> None:
        """Resets the engine before the next hop; it fades in again once it has settled."""
        self._idle = True

    def replace(self, engine: Engine, n_held: int = 0) -> None:
        """Swaps in another engine; it fades in once it has settled. Call it while `is_dry`."""
        latency = self.latency
        aligned = AlignedEngine(engine, n_held)
        aligned.reset()
        dry_line = self._dry_line
        self._use(aligned)
        if aligned.latency == latency:
            self._dry_line = dry_line
        engine.set_attenuation_limit(self._limit_db)
        self._idle = True

    def _run_engine(self, noisy: Array, dry: Array) -> Array:
        """The enhanced hop, or `dry` where the engine failed."""
        if self._idle:
            self._aligned.reset()
            self._idle = False
            self._n_unsettled = self.latency + round(_SETTLE_S * self.engine.sample_rate)
        wet = self._aligned.process(noisy)
        self._n_unsettled = max(0, self._n_unsettled - noisy.shape[1])
        if not np.isfinite(wet).all():
            self.n_replaced += len(wet)
            self._aligned.reset()
            return dry
        return wet

    def silence(self, is_silent: bool) -> None:
        """Begins or ends a silence that is not the person's."""
        self.silenced = is_silent

    def process(self, noisy: Array) -> tuple[Array, Array, Array]:
        """Enhances one hop and mixes it with the delayed microphone, as the switches say.

        Args:
            noisy: [n_mics, hop_length]; microphone 0 is the reference.

        Returns:
            (output, enhanced, reference), each [hop_length]: what is heard, what the engine gave (the reference
            while it does not run) and the reference microphone, all with the same delay.
        """
        n = noisy.shape[1]
        dry = self._dry_line.process(noisy[0])
        if self.forced_bypass and self.is_dry:
            self._idle = True
            enhanced = dry
        else:
            enhanced = self._run_engine(noisy, dry)
        wants_dry = self.bypass or self.forced_bypass or self._idle or self._n_unsettled > 0
        wet = self._wet.ramp(0.0 if wants_dry else 1.0, n)
        # Written so that the enhanced samples pass bit for bit at a gain of one.
        output = enhanced if wet.min() == 1.0 else dry + wet * (enhanced - dry)
        loudness = self._loudness.ramp(0.0 if self.muted or self.silenced else 1.0, n)
        return output * loudness, enhanced, dry
