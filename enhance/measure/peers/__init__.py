"""Other people's enhancers behind one small interface, so that they stand in the same tables as ours.

A peer is a class with a rate, a delay and one method. Named ones come with the extra `peers`; a streaming ONNX file
needs only a TOML (see `streaming_onnx`); anything else is named as `package.module:ClassName`.
"""

import importlib
from abc import ABC, abstractmethod
from inspect import isabstract
from pathlib import Path
from typing import ClassVar

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.rates import at_rate

EXAMPLES = Path(__file__).parent / "examples"
_NAMED = {
    "noisereduce": "quietmic.enhance.measure.peers.packages:NoiseReduce",
    "rnnoise": "quietmic.enhance.measure.peers.packages:RNNoise",
    "webrtc": "quietmic.enhance.measure.peers.packages:WebRTC",
    "speex": "quietmic.enhance.measure.peers.packages:Speex",
    "nsnet2": "quietmic.enhance.measure.peers.packages:NSNet2",
    "deepfilternet3": "quietmic.enhance.measure.peers.packages:DeepFilterNet3",
    "dpdfnet2": "quietmic.enhance.measure.peers.packages:DPDFNet2",
}


class Peer(ABC):
    """One mono enhancer. A subclass states its facts and enhances a whole signal, from a fresh state each time.

    Attributes:
        sample_rate: rate at which `enhance` is called, in hertz; `run_peer` resamples.
        delay: samples at that rate by which the output lags the input; `run_peer` removes it.
        causal: whether it could run live.
        frame_by_frame: whether `enhance` works as live use would, so that its time is the time of live use.
        parameters: numbers stored in its files, None where there is no network or it is not known.
        source: where it comes from. licence: of code and weights.
    """

    sample_rate: int = 16000
    delay: int = 0
    causal: bool = True
    frame_by_frame: bool = True
    parameters: int | None = None
    source: str = ""
    licence: str = ""
    # Version of the package that does the work, part of the cache key; None for files, which are hashed instead.
    package: ClassVar[str | None] = None

    @abstractmethod
    def enhance(self, samples: Array) -> Array:
        """Enhanced signal [n_ready] of `samples` [n_samples]; a missing tail is filled with silence by the caller."""

    def fingerprint(self) -> str:
        """What identifies the enhancer in caches and records: package and version, or a hash of its files."""
        from importlib.metadata import version

        return f"{self.package} {version(self.package)}" if self.package else type(self).__qualname__


def run_peer(peer: Peer, samples: Array, sample_rate: int) -> Array:
    """Output of a peer, at the input's rate and length and aligned with it.

    Args:
        peer: the enhancer.
        samples: [n_samples] at `sample_rate`.
        sample_rate: hertz; the signal is resampled to the peer's own rate and back (soxr, linear phase, no delay).
    """
    inside = at_rate(samples, sample_rate, peer.sample_rate)
    padded = np.concatenate([inside, np.zeros(peer.delay, dtype=np.float32)])
    enhanced = _fit(np.asarray(peer.enhance(padded), dtype=np.float32)[peer.delay :], inside.size)
    return _fit(at_rate(enhanced, peer.sample_rate, sample_rate), samples.size)


def list_peers() -> list[str]:
    """Names that `find_peer` knows without a path, whether their packages or weights are there or not."""
    return [*_NAMED, *sorted(path.stem for path in EXAMPLES.glob("*.toml"))]


def find_peer(name: str, weights: Path | None = None) -> Peer:
    """The peer of a name, ready to run.

    Args:
        name: one of `list_peers()`, a path to a TOML file, or `package.module:ClassName`.
        weights: folder that holds the ONNX files named by a TOML; the TOML's own folder by default.

    Raises:
        QuietmicError: unknown name, package not installed, or weights not found; the message says what to do.
    """
    toml = Path(name) if name.endswith(".toml") else EXAMPLES / f"{name}.toml"
    if toml.is_file():
        from quietmic.enhance.measure.peers.streaming_onnx import StreamingOnnx

        return StreamingOnnx(toml, weights)
    target = _NAMED.get(name, name)
    if ":" not in target:
        raise QuietmicError(
            f"no peer is called {name!r}: use {', '.join(list_peers())}, a TOML file, or package.module:ClassName",
            exit_code=2,
        )
    module_name, _, class_name = target.partition(":")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
        if not isinstance(kind, type) or not issubclass(kind, Peer) or isabstract(kind):
            message = f"peer {name}: {class_name} must be a class that derives from {__name__}.Peer"
            raise QuietmicError(message, exit_code=2)
        return kind()  # which is where a peer imports its package
    except ModuleNotFoundError as error:
        raise QuietmicError(f"peer {name} needs {error.name}: pip install 'quietmic[peers]'") from error
    except (AttributeError, ValueError) as error:
        raise QuietmicError(f"peer {name}: {module_name} has no {class_name}", exit_code=2) from error


def _fit(samples: Array, n_samples: int) -> Array:
    return np.pad(samples, (0, max(0, n_samples - samples.size)))[:n_samples]
