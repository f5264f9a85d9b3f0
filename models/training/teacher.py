"""Other projects' streaming networks as teachers: their one-frame, one-stream ONNX graphs made to take a whole batch.

Works on graphs of the GTCRN family (GTCRN, UL-UNAS: input `mix` [1, 257, 1, 2], caches in and out). Their frame axis
is already where causal convolutions and recurrent layers want it, so the surgery is small: 1 becomes B in reshapes,
every cache becomes a state of its own, the last frame becomes all frames. Many times faster than frame by frame.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper

from quietmic.enhance.errors import QuietmicError

N_FFT, HOP, N_FREQS = 512, 256, 257
CHUNK_FRAMES = 32
GROUP = 8  # streams per call: more do not fit the cache
END = 2**62


class Teacher:
    """A published streaming enhancer, run on batches of audio."""

    def __init__(self, path: Path) -> None:
        """path: the peer's ONNX file. UL-UNAS analyses with a Hann window, GTCRN with its square root."""
        self.path = path
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
        self.window = (hann if "ulunas" in path.name else np.sqrt(hann)).astype(np.float32)
        self._sessions: dict[int, tuple[onnxruntime.InferenceSession, dict[str, list[int]]]] = {}

    def enhance(self, waves: np.ndarray) -> np.ndarray:
        """[B, n_samples] at 16 kHz -> the same, aligned."""
        groups = [waves[i : i + GROUP] for i in range(0, len(waves), GROUP)]
        return np.concatenate([self._synthesis(self._run(self._analysis(g)), waves.shape[1]) for g in groups])

    def _analysis(self, waves: np.ndarray) -> np.ndarray:
        """[B, n_freqs, T, 2]; frame t is centred on sample HOP * t."""
        n_frames = -(-waves.shape[1] // HOP) + 1
        padded = np.zeros((len(waves), (n_frames + 1) * HOP), np.float32)
        padded[:, HOP : HOP + waves.shape[1]] = waves
        frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=1)[:, ::HOP] * self.window
        spectra = np.fft.rfft(frames).transpose(0, 2, 1)
        return np.stack([spectra.real, spectra.imag], axis=-1).astype(np.float32)

    def _synthesis(self, spectra: np.ndarray, n_samples: int) -> np.ndarray:
        frames = np.fft.irfft((spectra[..., 0] + 1j * spectra[..., 1]).transpose(0, 2, 1)) * self.window
        waves = np.zeros((len(frames), frames.shape[1] + 1, HOP))
        waves[:, :-1] += frames[:, :, :HOP]
        waves[:, 1:] += frames[:, :, HOP:]
        waves /= self.window[:HOP] ** 2 + self.window[HOP:] ** 2
        return waves.reshape(len(frames), -1)[:, HOP : HOP + n_samples].astype(np.float32)

    def _run(self, spectra: np.ndarray) -> np.ndarray:
        batch = len(spectra)
        if batch not in self._sessions:
            model, states = batch_graph(self.path, batch)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
            self._sessions[batch] = session, states
        session, shapes = self._sessions[batch]
        state = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        parts = []
        for t in range(0, spectra.shape[2], CHUNK_FRAMES):
            chunk = np.ascontiguousarray(spectra[:, :, t : t + CHUNK_FRAMES])
            part, *new = session.run(None, {"mix": chunk, **state})
            parts.append(part)
            state = dict(zip(state, new, strict=True))
        return np.concatenate(parts, axis=2)


class _Surgery:
    """One pass over a graph's nodes; collects the new nodes, constants and states."""

    def __init__(self, model: onnx.ModelProto, batch: int) -> None:
        graph, self.batch = model.graph, batch
        self.constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        values = [*graph.value_info, *graph.input, *graph.output]
        self.shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        self.maker = {name: node for node in graph.node for name in node.output}
        self.states: dict[str, tuple[list[int], str]] = {}  # name -> shape, tensor that holds the next value
        self.cache_frames: dict[str, int] = {}
        self.nodes: list[NodeProto] = []
        for node in graph.node:
            rewrite = getattr(self, f"_{node.op_type.lower()}", None)
            self.nodes.extend(rewrite(node) if rewrite else [node])

    def _constant(self, value: list[int]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.array(value, np.int64)
        return name

    def _state(self, shape: list[int], next_value: str) -> str:
        name = f"state_{len(self.states)}"
        self.states[name] = shape, next_value
        return name

    def _reshape(self, node: NodeProto) -> list[NodeProto]:
        """Shapes with one stream and one frame -> B streams and any number of frames."""
        shape = self.constants[node.input[1]].tolist() if node.input[1] in self.constants else None
        match shape:
            case [33, -1, 16]:
                shape = [self.batch * 33, -1, 16]
            case [1, -1, 1, 33]:
                shape = [self.batch, 16, -1, 33]
            case [1, channels, 1, width]:
                shape = [self.batch, channels, -1, width]
            case [1, a, b, c]:
                shape = [self.batch, a, b, c]
            case [1, 1, width]:
                shape = [self.batch, -1, width]
            case [1, a, b]:
                shape = [-1, a, b]
        if shape:
            node.input[1] = self._constant(shape)
        return [node]

    def _gather(self, node: NodeProto) -> list[NodeProto]:
        """The unfold's index of the only frame -> all frames."""
        index = self.constants.get(node.input[1])
        if index is not None and index.shape == (1, 1) and _attribute(node, "axis") == 2:
            return [helper.make_node("Unsqueeze", node.input[:1], node.output, axes=[2])]
        return [node]

    def _concat(self, node: NodeProto) -> list[NodeProto]:
        """[cache, frames] along time: the cache becomes a state, whose next value is the end of the concatenation."""
        name = node.output[0]
        if _attribute(node, "axis") != 2 or len(self.shapes[name]) != 4:
            return [node]
        shape = self.shapes[node.input[0]]
        self.cache_frames[name] = shape[2]
        node.input[0] = self._state([self.batch, *shape[1:]], f"{name}_next")
        bounds = [self._constant([value]) for value in (-shape[2], END, 2, 1)]
        return [node, helper.make_node("Slice", [name, *bounds], [f"{name}_next"])]

    def _slice(self, node: NodeProto) -> list[NodeProto]:
        """The one frame that a transposed convolution completes -> all of them."""
        before = self.maker.get(node.input[0])
        if before is not None and before.op_type == "ConvTranspose":
            padded = self.maker[before.input[0]].input[0]
            node.input[1] = self._constant([self.cache_frames[padded]])
        return [node]

    def _gru(self, node: NodeProto) -> list[NodeProto]:
        """Recurrent states over time become states of the graph; those over frequency start from zero."""
        if node.input[5] in self.constants:
            del node.input[5]
        else:
            rows, width = self.shapes[node.input[5]][1:]
            node.input[5] = self._state([1, self.batch * rows, width], node.output[1])
        return [node]


def _attribute(node: NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def batch_graph(path: Path, batch: int) -> tuple[onnx.ModelProto, dict[str, list[int]]]:
    """The graph for `batch` streams and any number of frames, and the shapes of its states.

    Raises:
        QuietmicError: not a graph of the family that this surgery knows.
    """
    source = onnx.shape_inference.infer_shapes(onnx.load(path))
    if [i.name for i in source.graph.input][:1] != ["mix"]:
        raise QuietmicError(f"{path}: not a streaming network of the GTCRN family, so it cannot teach.", exit_code=2)
    done = _Surgery(source, batch)
    outputs = ["enh", *(value for _, value in done.states.values())]
    live: list[NodeProto] = []
    wanted = set(outputs)
    for node in reversed(done.nodes):
        if wanted & set(node.output):
            live.insert(0, node)
            wanted |= set(node.input)
    kind = onnx.TensorProto.FLOAT
    states = {name: shape for name, (shape, _) in done.states.items()}
    inputs = [helper.make_tensor_value_info("mix", kind, [batch, N_FREQS, None, 2])]
    inputs += [helper.make_tensor_value_info(name, kind, shape) for name, shape in states.items()]
    graph = helper.make_graph(
        live,
        "teacher",
        inputs,
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(v, k) for k, v in done.constants.items() if k in wanted],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), states
