"""PyTorch to ONNX: a graph with explicit states and a dynamic time axis, its card inside. Written only if it holds.

A network that has a form for one frame at a time (`for_hops`) gets a second graph beside the first, NAME.hop.onnx, of
the same weights and with the same states, so that a stream may go from one to the other at any frame.
Before a file gets its name the exported graphs must give the network's own output, frame by frame, live and in one
call, and its past must not move when the future changes.
"""

import copy
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quietmic.enhance.card import CARD_KEY, ModelCard, StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.network import PAIR_KEY, OnnxNetwork, hop_path
from quietmic.models.half import halve
from quietmic.models.networks.count import count
from quietmic.models.networks.fold import fold_norms
from quietmic.models.networks.inputs import EXAMPLE_FRAMES, example_inputs

TOLERANCE = 1e-5  # of the largest output
OPSET = 17
N_CHECK_FRAMES = 40


class _Flat(nn.Module):
    """The network with its state as plain inputs and outputs, as ONNX wants them; `hop` arranges what it remembers."""

    def __init__(self, network: nn.Module, hop: nn.Module | None, names: list[str]) -> None:
        super().__init__()
        self.network, self.hop, self.names = network, hop, names

    def forward(self, noisy: Tensor, beam: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(self.names, states, strict=True))
        enhanced, presence, new = self.network(noisy, beam, self.hop.unpack(state) if self.hop else state)
        new = self.hop.pack(new) if self.hop else new
        return (enhanced, presence, *(new[name] for name in self.names))


class _FlatHop(nn.Module):
    """The same for what takes one frame at a time."""

    def __init__(self, hop: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.hop, self.names = hop, names

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        n_signals = len(self.hop.inputs)
        enhanced, presence, new = self.hop(*given[:n_signals], dict(zip(self.names, given[n_signals:], strict=True)))
        return (enhanced, *([] if presence is None else [presence]), *(new[name] for name in self.names))


def count_macs(network: nn.Module, stft: StftConfig) -> int:
    """Multiply-accumulates of the matrix products for one second of audio of one microphone."""
    macs = count(network, example_inputs(network, stft)).macs
    return round(macs / EXAMPLE_FRAMES * stft.sample_rate / stft.hop_length)


def export(network: nn.Module, card: ModelCard, path: Path) -> Path:
    """Write a network as ONNX with its card.

    Args:
        network: as from quietmic.models.networks.registry; left as it is.
        card: parameters and macs_per_second are filled in here.
        path: the .onnx file; it and the one beside it are replaced only by files that passed every check.

    Raises:
        QuietmicError: the graph does not reproduce the network to 1e-5 of its largest output, or is not causal.
    """
    network = fold_norms(network, example_inputs(network, card.stft)).eval()
    hop = network.for_hops().eval() if hasattr(network, "for_hops") else None
    n_parameters = sum(p.numel() for p in network.parameters())
    card = replace(card, parameters=n_parameters, macs_per_second=count_macs(network, card.stft))
    temporary = path.with_suffix(".checking.onnx")
    try:
        _write_graph(network, hop, card.stft, temporary)
        if hop:
            _write_hop(network, hop, hop_path(temporary))
        pair = {PAIR_KEY: hash_file(temporary)} if hop else {}
        for written in (temporary, hop_path(temporary)) if hop else (temporary,):
            halve(written)
            write_card(written, card, pair)
        check(network, temporary)
        if hop:
            hop_path(temporary).replace(hop_path(path))
        else:
            hop_path(path).unlink(missing_ok=True)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        hop_path(temporary).unlink(missing_ok=True)
    return path


def _write_graph(network: nn.Module, hop: nn.Module | None, stft: StftConfig, path: Path) -> None:
    """For any number of frames."""
    noisy, beam, state = example_inputs(network, stft, n_mics=3)
    state = hop.pack(state) if hop else state
    axes = {"noisy": {1: "n_mics", 3: "T"}, "beam": {2: "T"}, "enhanced": {2: "T"}, "speech_mask": {2: "T"}}
    _trace(_Flat(network, hop, list(state)), {"noisy": noisy, "beam": beam}, state, axes, path)


def _write_hop(network: nn.Module, hop: nn.Module, path: Path) -> None:
    """The graph of one frame at a time."""
    state = hop.pack(network.initial_state())
    inputs, axes = {}, {}
    for name, shape in hop.inputs.items():
        inputs[name] = torch.randn([size if isinstance(size, int) else 3 for size in shape])
        axes[name] = {axis: size for axis, size in enumerate(shape) if isinstance(size, str)}
    _trace(_FlatHop(hop, list(state)), inputs, state, axes, path)


def _trace(
    flat: nn.Module, inputs: dict[str, Tensor], state: dict[str, Tensor], axes: dict[str, dict[int, str]], path: Path
) -> None:
    with torch.no_grad():
        n_signals = len(flat(*inputs.values(), *state.values())) - len(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape it reads
        torch.onnx.export(
            flat,
            (*inputs.values(), *state.values()),
            str(path),
            opset_version=OPSET,
            dynamo=False,
            input_names=[*inputs, *(f"state_{n}" for n in state)],
            output_names=[*("enhanced", "speech_mask")[:n_signals], *(f"state_{n}_out" for n in state)],
            dynamic_axes=axes,
        )


def check(network: nn.Module, path: Path) -> dict[str, float]:
    """Largest errors of an exported file, relative to the largest output.

    Returns:
        one_call, frame_by_frame, live (ONNX against torch) and future (what the future changes in the past).

    Raises:
        QuietmicError: one of them exceeds TOLERANCE.
    """
    onnx_network = OnnxNetwork(path)
    stft = onnx_network.card.stft
    rng = np.random.default_rng(0)
    errors = dict.fromkeys(("one_call", "frame_by_frame", "live", "future"), 0.0)
    for n_mics in (1, 3):
        noisy = rng.normal(size=(1, n_mics, stft.n_freqs, N_CHECK_FRAMES, 2)).astype(np.float32)
        noisy *= 10 ** rng.uniform(-2, 0, size=(1, 1, stft.n_freqs, N_CHECK_FRAMES, 1)).astype(np.float32)
        beam = noisy.mean(axis=1)
        with torch.no_grad():
            wanted = network(torch.from_numpy(noisy), torch.from_numpy(beam), network.initial_state())[0].numpy()
        scale = np.abs(wanted).max()
        whole = _run(onnx_network, noisy, beam, N_CHECK_FRAMES)
        single = _run(onnx_network, noisy, beam, 1)
        live = _run_live(onnx_network, noisy[0], beam[0])
        half = N_CHECK_FRAMES // 2
        other = noisy.copy()
        other[:, :, :, half:] *= -3.0
        changed = _run(onnx_network, other, other.mean(axis=1), N_CHECK_FRAMES)
        found = {
            "one_call": np.abs(whole - wanted).max() / scale,
            "frame_by_frame": np.abs(single - wanted).max() / scale,
            "live": np.abs(live - wanted[0]).max() / scale,
            "future": np.abs(changed - whole)[:, :, :half].max() / scale,
        }
        errors = {name: max(value, float(found[name])) for name, value in errors.items()}
    wrong = {name: value for name, value in errors.items() if not value <= TOLERANCE}
    if wrong:
        raise QuietmicError(f"{path.name} is not written: it differs from the network ({wrong}, allowed {TOLERANCE}).")
    return errors


def _run(network: OnnxNetwork, noisy: np.ndarray, beam: np.ndarray, chunk: int) -> np.ndarray:
    state, parts = network.initial_state(), []
    for t in range(0, noisy.shape[3], chunk):
        part = np.ascontiguousarray(noisy[:, :, :, t : t + chunk])
        enhanced, _, state = network.step(part, np.ascontiguousarray(beam[:, :, t : t + chunk]), state)
        parts.append(enhanced)
    return np.concatenate(parts, axis=2)


def _run_live(network: OnnxNetwork, noisy: np.ndarray, beam: np.ndarray) -> np.ndarray:
    """What a stream gets: [n_mics, F, T, 2], [F, T, 2] -> [F, T, 2]."""
    hop = network.bind(len(noisy))
    state, parts = network.initial_state(), []
    for t in range(noisy.shape[2]):
        hop.noisy.view(np.float32)[...] = noisy[:, :, t].reshape(len(noisy), -1)
        if len(noisy) > 1:
            hop.beam.view(np.float32)[...] = beam[:, t].reshape(-1)
        state = hop.run(state)
        parts.append(hop.enhanced.view(np.float32).reshape(-1, 2).copy())
    return np.stack(parts, axis=1)


def write_card(path: Path, card: ModelCard, more: dict[str, str] | None = None) -> None:
    """Puts a card into an ONNX file, in place of the one that it has, and more metadata; the file is never half."""
    import onnx

    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props} | (more or {})
    onnx.helper.set_model_props(model, metadata | {CARD_KEY: json.dumps(json.loads(card.to_json()))})
    part = path.with_suffix(".part.onnx")
    try:
        onnx.save(model, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def round_to_half(network: nn.Module) -> nn.Module:
    """A copy whose weights are half-precision numbers, so that a half-precision checkpoint holds it exactly."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network


def add_to_index(path: Path, name: str) -> None:
    """List a file in the index.json beside it, or replace its entry where that stands, among the parents too."""
    index_path = path.parent / "index.json"
    index: dict[str, Any] = {"default": name, "models": []}
    if index_path.exists():
        index = json.loads(index_path.read_text())
    entry = {"name": name, "file": path.name, "sha256": hash_file(path)}
    hop = hop_path(path)
    if hop.exists():
        entry |= {"hop_file": hop.name, "hop_sha256": hash_file(hop)}
    part = "parents" if any(model["name"] == name for model in index.get("parents", [])) else "models"
    listed = {model["name"]: model for model in index[part]} | {name: entry}
    index[part] = list(listed.values())
    index_path.write_text(json.dumps(index, indent=2) + "\n")
