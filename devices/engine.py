"""What the live path knows of an enhancer: a callable and a few facts. It never sees the network."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quietmic.enhance.arrays import Array


def _ignore_limit(limit_db: float | None) -> None:
    """For engines whose attenuation cannot be limited."""


def _no_count() -> int:
    """For engines that count nothing."""
    return 0


@dataclass(frozen=True)
class Engine:
    """A stream that enhances, handed over by the application.

    Attributes:
        name: of the model.
        process: block [n_mics, n_samples] float32 -> [n_ready] float32.
        reset: back to the state of a fresh stream.
        sample_rate: Hz.
        hop_length: samples per step; blocks come in this length.
        delay: of the output, in samples.
        n_mics: microphones of each block.
        set_attenuation_limit: takes dB or None for no limit, at any time.
        count_non_finite: samples replaced so far because they were NaN or infinite.
    """

    name: str
    process: Callable[[Array], Array]
    reset: Callable[[], None]
    sample_rate: int = 16000
    hop_length: int = 256
    delay: int = 0
    n_mics: int = 1
    set_attenuation_limit: Callable[[float | None], None] = _ignore_limit
    count_non_finite: Callable[[], int] = _no_count

    @property
    def hop_s(self) -> float:
        """Seconds of sound in a hop."""
        return self.hop_length / self.sample_rate


@dataclass(frozen=True)
class Candidate:
    """A model that may be opened, described by the application.

    Attributes:
        name: of the model.
        sha256: of its file.
        max_mics: microphones it accepts.
        macs_per_second: multiply-accumulates per second of audio.
        sample_rate: Hz.
        hop_length: samples.
        open: (microphones, threads) -> a fresh engine.
        narrow: the same model at its own rate, where the band above it may be done without.
    """

    name: str
    sha256: str
    max_mics: int
    macs_per_second: int
    sample_rate: int
    hop_length: int
    open: Callable[[int, int], Engine]
    narrow: "Candidate | None" = None


@dataclass(frozen=True)
class EngineTiming:
    """How an engine ran on this machine, measured.

    Attributes:
        p50_s: median time of a hop, seconds.
        p99_s: 99th percentile.
        n_held: samples that the engine holds back beyond its delay.
    """

    p50_s: float
    p99_s: float
    n_held: int


def measure_engine(engine: Engine, seconds: float) -> EngineTiming:
    """Runs an engine over faint noise for a while, which also warms it up, and resets it.

    Args:
        engine: fresh or used; what it heard before is forgotten.
        seconds: of this machine's time; 16 hops are run at least.
    """
    noise = 1e-3 * np.random.default_rng(0).standard_normal((engine.n_mics, engine.hop_length)).astype(np.float32)
    engine.reset()
    times: list[float] = []
    n_out = 0
    end = time.perf_counter() + seconds
    while len(times) < 16 or time.perf_counter() < end:
        begin = time.perf_counter()
        n_out += len(engine.process(noise))
        times.append(time.perf_counter() - begin)
    engine.reset()
    p50_s, p99_s = np.percentile(times[4:], [50, 99])  # the first hops allocate
    return EngineTiming(float(p50_s), float(p99_s), len(times) * engine.hop_length - n_out)


class AlignedEngine:
    """An engine that gives one hop for each hop, all delay stated.

    Attributes:
        engine: the one inside.
        latency: samples between a sample's way in and its way out, at the model's rate.
    """

    def __init__(self, engine: Engine, n_held: int) -> None:
        """Puts a buffer behind an engine, so that each hop in gives one hop out.

        Args:
            engine: fresh or reset.
            n_held: samples it holds back beyond its delay, as measured.
        """
        self.engine = engine
        self._n_held = n_held
        self.latency = engine.delay + n_held
        self._ready: Array = np.zeros(n_held, np.float32)

    def reset(self) -> None:
        """Back to the state before the first sample."""
        self.engine.reset()
        self._ready = np.zeros(self._n_held, np.float32)

    def process(self, hop: Array) -> Array:
        """[n_mics, hop_length] -> [hop_length]; zeros where the engine gives less than it should."""
        ready = np.concatenate((self._ready, self.engine.process(hop)))
        n = hop.shape[1]
        if len(ready) < n:
            ready = np.concatenate((np.zeros(n - len(ready), np.float32), ready))
        self._ready = ready[n:]
        return ready[:n]
