"""One enhancement network as an ONNX Runtime session: spectra and state in, spectra and state out.

`OnnxNetwork.step` takes any number of frames; `Hop` takes one at a time and neither copies nor allocates.
"""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_once
from quietmic.enhance.onnxfile import choose_card, read_metadata, read_signature

State = dict[str, Array]

PAIR_KEY = "quietmic_pair"
"""Metadata key whose value the two graphs of one network share."""

_STATE_PREFIX = "state_"


class OnnxNetwork:
    """A network read from an ONNX file; holds no signal state, so that streams can share it.

    Attributes:
        path: the file it came from.
        card: the model's card.
        uses_beam: the graph takes a beamformer's output beside the microphones.
        gives_mask: the graph returns a speech-presence mask.
    """

    def __init__(self, path: str | Path, threads: int = 1, spin: bool = False) -> None:
        """Reads what a model is; ONNX Runtime opens its graphs when they are first run.

        Args:
            path: ONNX file with a card in its metadata; a graph for one frame beside it (`hop_path`) serves streams.
            threads: of one operator; one hop is too little work for more than one.
            spin: threads wait busily; only worth it with more than one and a whole machine to itself.

        Raises:
            QuietmicError: missing, no ONNX file, without a card, or of another kind.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise QuietmicError(f"no model file at {self.path}", exit_code=2)
        self._threads, self._spin = threads, spin
        signature = read_signature(self.path)
        self.card = choose_card(self.path, signature.metadata)
        if (hop := hop_path(self.path)).is_file() and read_metadata(hop).get(PAIR_KEY) != signature.metadata.get(
            PAIR_KEY
        ):
            raise QuietmicError(f"{hop} is not of the network in {self.path.name}: remove it or export both again")
        inputs, outputs = signature.inputs, signature.outputs
        if "noisy" not in inputs or "enhanced" not in outputs:
            raise QuietmicError(f"{self.path} lacks the input `noisy` or the output `enhanced`: export the model again")
        shape = inputs["noisy"]
        if len(shape) == 5 and isinstance(shape[2], int) and shape[2] != self.card.stft.n_freqs:
            raise QuietmicError(
                f"{self.path}: the graph takes {shape[2]} frequencies, its card says {self.card.stft.n_freqs}: export "
                "the model again"
            )
        self.uses_beam, self.gives_mask = "beam" in inputs, "speech_mask" in outputs
        self._state_shapes = {
            name: tuple(int(n) for n in sizes) for name, sizes in inputs.items() if name.startswith(_STATE_PREFIX)
        }
        self._signal_outputs = ["enhanced", "speech_mask"] if self.gives_mask else ["enhanced"]
        self._output_names = self._signal_outputs + [f"{name}_out" for name in self._state_shapes]

    @cached_property
    def _session(self) -> ort.InferenceSession:
        """The graph for any number of frames, opened when a file needs it."""
        return _open(self.path, self._threads, self._spin)

    @cached_property
    def _hop_session(self) -> ort.InferenceSession:
        """The graph for one frame, opened when a stream needs it."""
        return _open(hop_path(self.path), self._threads, self._spin)

    def __deepcopy__(self, memo: object) -> "OnnxNetwork":
        """Itself: it holds nothing that changes."""
        return self

    def __reduce__(self) -> tuple[type["OnnxNetwork"], tuple[Path, int, bool]]:
        """Pickled by the name of its file, which is opened again."""
        return OnnxNetwork, (self.path.absolute(), self._threads, self._spin)

    def initial_state(self) -> State:
        """Zeros of the shapes that the graph declares."""
        return {name: np.zeros(shape, np.float32) for name, shape in self._state_shapes.items()}

    def step(self, noisy: Array, beam: Array | None, state: State) -> tuple[Array, Array | None, State]:
        """Enhanced spectra of the next T frames.

        Args:
            noisy: [1, n_mics, n_freqs, T, 2], microphone 0 is the reference.
            beam: [1, n_freqs, T, 2]; None where the graph takes none.
            state: of the frame before; left as it is.

        Returns:
            (enhanced [1, n_freqs, T, 2], speech mask [1, n_freqs, T] or None, state after the last frame).
        """
        feed = {"noisy": noisy, **state}
        if self.uses_beam:
            if beam is None:
                raise ValueError("this network needs the beamformer's output")
            feed["beam"] = beam
        outputs = self._session.run(self._output_names, feed)
        n_signals = len(self._signal_outputs)
        mask = outputs[1] if self.gives_mask else None
        return outputs[0], mask, dict(zip(self._state_shapes, outputs[n_signals:], strict=True))

    def bind(self, n_mics: int) -> "Hop":
        """Memory of its own for one stream, in which it runs frame by frame; opens the graph that it runs.

        Raises:
            QuietmicError: a file that ONNX Runtime cannot load.
        """
        single = self._has_hop(n_mics)
        return Hop(self, self._hop_session if single else self._session, n_mics, single)

    def _has_hop(self, n_mics: int) -> bool:
        """Whether there is a graph for one frame of so many microphones; some are for one alone."""
        path = hop_path(self.path)
        return path.is_file() and (n_mics == 1 or bool(read_signature(path).inputs.keys() & {"noisy", "beam"}))


class Hop:
    """One frame at a time in fixed memory: write `noisy` and `beam`, call `run`, read `enhanced` and `mask`.

    The states lie in two sets of buffers that take turns as input and output of the graph, so that nothing is copied.
    For one stream and one thread at a time; the session below is shared.

    Attributes:
        noisy: [n_mics, n_freqs], microphone 0 is the reference.
        beam: [n_freqs]; with one microphone the reference itself.
        enhanced: [n_freqs].
        mask: [n_freqs] speech presence; None where the graph gives none.
        is_single: the graph is one for single frames, which costs less than that for any number.
    """

    def __init__(self, network: OnnxNetwork, session: ort.InferenceSession, n_mics: int, is_single: bool) -> None:
        n_freqs = network.card.stft.n_freqs
        self.noisy = np.zeros((n_mics, n_freqs), np.complex64)
        self.beam = self.noisy[0] if n_mics == 1 else np.zeros(n_freqs, np.complex64)
        self.enhanced = np.zeros(n_freqs, np.complex64)
        gives_mask = any(node.name == "speech_mask" for node in session.get_outputs())
        self.mask = np.zeros(n_freqs, np.float32) if gives_mask else None
        self._session, self.is_single = session, is_single
        self._sets = (network.initial_state(), network.initial_state())
        self._there, self._back = (self._bind(session, *sets) for sets in (self._sets, self._sets[::-1]))

    def run(self, state: State) -> State:
        """Advances by the frame in `noisy` and `beam`.

        Args:
            state: what the run before returned, or any other that is to be gone on from, which is copied.

        Returns:
            The state behind the frame; the run after the next one overwrites it.
        """
        first, second = self._sets
        if state is second:
            self._session.run_with_iobinding(self._back)
            return first
        if state is not first:
            for name, value in first.items():
                value[...] = state[name]
        self._session.run_with_iobinding(self._there)
        return second

    def _bind(self, session: ort.InferenceSession, before: State, after: State) -> ort.IOBinding:
        buffers: dict[str, NDArray[Any]] = {"noisy": self.noisy, "reference": self.noisy[0], "beam": self.beam}
        buffers |= before | {"enhanced": self.enhanced} | {f"{name}_out": value for name, value in after.items()}
        if self.mask is not None:
            buffers["speech_mask"] = self.mask
        binding = session.io_binding()
        for node in session.get_inputs():
            buffer = buffers[node.name]
            binding.bind_input(node.name, "cpu", 0, np.float32, self._shape(node, buffer), buffer.ctypes.data)
        for node in session.get_outputs():
            buffer = buffers[node.name]
            binding.bind_output(node.name, "cpu", 0, np.float32, self._shape(node, buffer), buffer.ctypes.data)
        return binding

    def _shape(self, node: ort.NodeArg, buffer: NDArray[Any]) -> list[int]:
        """The shape of an input or output for one frame."""
        if node.name.startswith(_STATE_PREFIX):
            return list(buffer.shape)
        if all(isinstance(size, int) or size == "n_mics" for size in node.shape):
            return [len(self.noisy) if size == "n_mics" else size for size in node.shape]
        n_mics, n_freqs = self.noisy.shape  # an exporter may leave any size open: those of one frame, by rank
        return {5: [1, n_mics, n_freqs, 1, 2], 4: [1, n_freqs, 1, 2], 3: [1, n_freqs, 1]}[len(node.shape)]


def hop_path(path: Path) -> Path:
    """Where the graph for one frame at a time lies, if there is one: NAME.hop.onnx beside NAME.onnx."""
    return path.with_suffix(".hop.onnx")


@lru_cache(maxsize=8)
def load_network(path: Path, sha256: str = "") -> OnnxNetwork:
    """A network that this process keeps open, however many signals it enhances.

    Args:
        path: ONNX file.
        sha256: of the file, so that another one at the same place is another network.

    Raises:
        QuietmicError: missing, unreadable or without a card.
    """
    return OnnxNetwork(path)


def share_network(path: Path) -> OnnxNetwork:
    """The same for a file as it is now: all that this process enhances by one model shares its network.

    Raises:
        QuietmicError: as `load_network`.
    """
    return load_network(path, hash_once(path))


def _open(path: Path, threads: int, spin: bool) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(path), _session_options(threads, spin), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise QuietmicError(f"{path} is no model that ONNX Runtime can load: {error}") from error


def _session_options(threads: int, spin: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # warnings of the optimiser are of no use to a user
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    spinning = "1" if spin else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    options.add_session_config_entry("session.inter_op.allow_spinning", spinning)
    return options
