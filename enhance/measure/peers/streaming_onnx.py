"""Peers that are streaming ONNX files: a TOML says how their frames are cut and which tensor is which.

name = "gtcrn"
source = "https://..."           # also: licence, parameters
sample_rate = 16000
n_fft = 512                      # block length in samples
hop_length = 256
window = "sqrt_hann"             # analysis; sqrt_hann, hann or none, periodic
synthesis_window = "sqrt_hann"
normalise = true                 # divide by the overlapping windows' sum (false: the blocks add up by themselves)
delay = 0                        # further samples of lag inside the network
[[stage]]                        # run in this order for every block
file = "gtcrn.onnx"
kind = "complex"                 # complex: spectrum -> spectrum; mask: magnitude -> factor; samples: block -> block
input = "mix"
output = "enh"
[stage.states]                   # state input -> state output; zeros at the start
conv_cache = "conv_cache_out"
"""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.peers import Peer


@dataclass(frozen=True)
class Stage:
    """One network of the chain: its session, what it eats, and its tensors' names and shapes."""

    session: Any
    kind: str
    input: str
    output: str
    states: dict[str, str]
    shapes: dict[str, tuple[int, ...]]

    def initial_state(self) -> dict[str, Array]:
        """Zeros in the shapes that the graph states."""
        return {name: np.zeros(self.shapes[name], dtype=np.float32) for name in self.states}

    def step(self, block: NDArray[np.float64], state: dict[str, Array]) -> NDArray[np.float64]:
        """Next block [n_fft] from `block` [n_fft]; `state` is moved on in place."""
        spectrum = np.fft.rfft(block) if self.kind != "samples" else None
        if spectrum is None:
            features = block
        elif self.kind == "complex":
            features = np.stack([spectrum.real, spectrum.imag], axis=-1)
        else:
            features = np.abs(spectrum)
        feeds = {self.input: features.astype(np.float32).reshape(self.shapes[self.input]), **state}
        names = [self.output, *self.states.values()]
        enhanced, *new_states = self.session.run(names, feeds)
        state.update(zip(self.states, new_states, strict=True))
        if spectrum is None:
            return enhanced.reshape(-1)
        if self.kind == "mask":
            return np.fft.irfft(spectrum * enhanced.reshape(-1), block.size)
        parts = enhanced.reshape(-1, 2)
        return np.fft.irfft(parts[:, 0] + 1j * parts[:, 1], block.size)


class StreamingOnnx(Peer):
    """A chain of streaming networks described by a TOML file, run frame by frame as its authors run it."""

    def __init__(self, path: Path, weights: Path | None = None) -> None:
        """Reads the TOML and opens the networks, one thread each.

        Args:
            path: the TOML.
            weights: folder of the ONNX files; the TOML's own folder by default.

        Raises:
            QuietmicError: a key is missing or wrong, or a file is not there.
        """
        try:
            facts = tomllib.loads(path.read_text(encoding="utf-8"))
            self.name: str = facts["name"]
            self.sample_rate = int(facts["sample_rate"])
            self.n_fft, self.hop_length = int(facts["n_fft"]), int(facts["hop_length"])
            self.delay = int(facts.get("delay", 0))
            self._analysis = _window(facts["window"], self.n_fft)
            self._synthesis = _window(facts["synthesis_window"], self.n_fft)
            self._normalise = bool(facts["normalise"])
            folder = weights or path.parent
            self.files = [folder / stage["file"] for stage in facts["stage"]]
            self.stages = [_open_stage(file, stage) for file, stage in zip(self.files, facts["stage"], strict=True)]
        except (KeyError, ValueError, tomllib.TOMLDecodeError) as error:
            raise QuietmicError(f"peer {path}: {error}") from error
        self.parameters = facts.get("parameters")
        self.source, self.licence = facts.get("source", ""), facts.get("licence", "")

    def enhance(self, samples: Array) -> Array:
        lead = self.n_fft - self.hop_length
        n_blocks = -(-(samples.size + lead) // self.hop_length)
        padded = np.pad(samples, (lead, n_blocks * self.hop_length - samples.size))
        enhanced, weight = np.zeros(padded.size), np.zeros(padded.size)
        overlap = self._analysis * self._synthesis
        states = [stage.initial_state() for stage in self.stages]
        for start in range(0, n_blocks * self.hop_length, self.hop_length):
            block = padded[start : start + self.n_fft] * self._analysis
            for stage, state in zip(self.stages, states, strict=True):
                block = stage.step(block, state)
            enhanced[start : start + self.n_fft] += block * self._synthesis
            weight[start : start + self.n_fft] += overlap
        if self._normalise:
            enhanced /= np.maximum(weight, 1e-8)
        return enhanced[lead : lead + samples.size].astype(np.float32)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(file.read_bytes())
        return f"{self.name} {digest.hexdigest()}"


def _open_stage(file: Path, facts: dict[str, Any]) -> Stage:
    import onnxruntime

    if not file.is_file():
        raise QuietmicError(f"{file} is missing: name the folder that holds it", argument="weights")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    if facts["kind"] not in ("complex", "mask", "samples"):
        raise ValueError(f"kind {facts['kind']!r} is none of complex, mask, samples")
    shapes = {node.name: tuple(node.shape) for node in session.get_inputs()}
    states = dict(facts["states"])
    unfed = set(shapes) - set(states) - {facts["input"]}
    if unfed:
        raise ValueError(f"{file.name} has inputs that the file does not name: {', '.join(sorted(unfed))}")
    return Stage(session, facts["kind"], facts["input"], facts["output"], states, shapes)


def _window(name: str, length: int) -> NDArray[np.float64]:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    windows = {"hann": hann, "sqrt_hann": np.sqrt(hann), "none": np.ones(length)}
    if name not in windows:
        raise ValueError(f"window {name!r} is none of {', '.join(windows)}")
    return windows[name]
