"""PyTorch to ONNX: one graph with explicit states and a dynamic time axis, its card inside. Written only if it holds.

Before a file gets its name the exported graph must give the network's own output, frame by frame and in one call, and
its past must not move when the future changes.
"""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from enhance.config import CARD_KEY, ModelCard, StftConfig
from enhance.errors import UserError
from enhance.network import OnnxNetwork
from enhance.records import hash_file
from models.bandlayers import TimeTaps

TOLERANCE = 1e-5  # of the largest output
OPSET = 17
N_CHECK_FRAMES = 40


class _Flat(nn.Module):
    """The network with its state as plain inputs and outputs, as ONNX wants them."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, noisy: Tensor, beam: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        enhanced, presence, new = self.network(noisy, beam, dict(zip(self.names, states, strict=True)))
        return (enhanced, presence, *(new[name] for name in self.names))


def fold_norms(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch norms are folded into the layers before them."""
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        norm = getattr(block, "norm", None)
        for name in ("conv", "depthwise", "linear"):
            layer = getattr(block, name, None)
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and layer is not None:
                setattr(block, name, _with_norm(layer, norm))
                block.norm = nn.Identity()
    return network


def _with_norm(layer: Any, norm: Any) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose2d))


def count_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, stft: StftConfig) -> int:
    """Multiply-accumulates of the matrix products for one second of audio of one microphone."""
    from torch.utils.flop_counter import FlopCounterMode

    unseen = 0  # the counter sees an LSTM as one opaque operator, and no sums of shifted products

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        nonlocal unseen
        rows = inputs[0].numel() // inputs[0].shape[-1]  # steps times sequences, or times bands
        unseen += rows * sum(p.numel() for n, p in layer.named_parameters() if n.startswith("weight"))

    kinds = (nn.LSTM, nn.GRU, TimeTaps)
    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, kinds)]
    n_frames = 10
    noisy = torch.zeros(1, 1, stft.n_freqs, n_frames, 2)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(noisy, noisy[:, 0], network.initial_state())
    for hook in hooks:
        hook.remove()
    macs = counter.get_total_flops() / 2 + unseen
    return round(macs / n_frames * stft.sample_rate / stft.hop_length)


def export(network: nn.Module, card: ModelCard, path: Path) -> Path:
    """Write a network as ONNX with its card.

    Args:
        network: as from models.registry; left as it is.
        card: parameters and macs_per_second are filled in here.
        path: the .onnx file; replaced only by a file that passed every check.

    Raises:
        UserError: the graph does not reproduce the network to 1e-5 of its largest output, or is not causal.
    """
    network = fold_norms(network)
    temporary = path.with_suffix(".checking.onnx")
    _write_graph(network, card.stft, temporary)
    n_parameters, n_macs = count_parameters(network), count_macs(network, card.stft)
    write_card(temporary, replace(card, parameters=n_parameters, macs_per_second=n_macs))
    try:
        check(network, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _write_graph(network: nn.Module, stft: StftConfig, path: Path) -> None:
    state = network.initial_state()
    names = list(state)
    noisy = torch.randn(1, 3, stft.n_freqs, 5, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape it reads
        torch.onnx.export(
            _Flat(network, names),
            (noisy, noisy[:, 0].clone(), *state.values()),
            str(path),
            opset_version=OPSET,
            dynamo=False,
            input_names=["noisy", "beam", *(f"state_{n}" for n in names)],
            output_names=["enhanced", "speech_mask", *(f"state_{n}_out" for n in names)],
            dynamic_axes={
                "noisy": {1: "n_mics", 3: "T"},
                "beam": {2: "T"},
                "enhanced": {2: "T"},
                "speech_mask": {2: "T"},
            },
        )


def check(network: nn.Module, path: Path) -> dict[str, float]:
    """Largest errors of an exported file, relative to the largest output.

    Returns:
        one_call, frame_by_frame (ONNX against torch) and future (what the future changes in the past).

    Raises:
        UserError: one of them exceeds TOLERANCE.
    """
    onnx_network = OnnxNetwork(path)
    stft = onnx_network.card.stft
    rng = np.random.default_rng(0)
    errors = {"one_call": 0.0, "frame_by_frame": 0.0, "future": 0.0}
    for n_mics in (1, 3):
        noisy = rng.normal(size=(1, n_mics, stft.n_freqs, N_CHECK_FRAMES, 2)).astype(np.float32)
        noisy *= 10 ** rng.uniform(-2, 0, size=(1, 1, stft.n_freqs, N_CHECK_FRAMES, 1)).astype(np.float32)
        beam = noisy.mean(axis=1)
        with torch.no_grad():
            wanted = network(torch.from_numpy(noisy), torch.from_numpy(beam), network.initial_state())[0].numpy()
        scale = np.abs(wanted).max()
        whole = _run(onnx_network, noisy, beam, N_CHECK_FRAMES)
        single = _run(onnx_network, noisy, beam, 1)
        half = N_CHECK_FRAMES // 2
        other = noisy.copy()
        other[:, :, :, half:] *= -3.0
        changed = _run(onnx_network, other, other.mean(axis=1), N_CHECK_FRAMES)
        found = {
            "one_call": np.abs(whole - wanted).max() / scale,
            "frame_by_frame": np.abs(single - wanted).max() / scale,
            "future": np.abs(changed - whole)[:, :, :half].max() / scale,
        }
        errors = {name: max(value, float(found[name])) for name, value in errors.items()}
    wrong = {name: value for name, value in errors.items() if not value <= TOLERANCE}
    if wrong:
        raise UserError(f"{path.name} is not written: it differs from the network ({wrong}, allowed {TOLERANCE}).")
    return errors


def _run(network: OnnxNetwork, noisy: np.ndarray, beam: np.ndarray, chunk: int) -> np.ndarray:
    state, parts = network.initial_state(), []
    for t in range(0, noisy.shape[3], chunk):
        part = np.ascontiguousarray(noisy[:, :, :, t : t + chunk])
        enhanced, _, state = network.step(part, np.ascontiguousarray(beam[:, :, t : t + chunk]), state)
        parts.append(enhanced)
    return np.concatenate(parts, axis=2)


def write_card(path: Path, card: ModelCard) -> None:
    """Puts a card into an ONNX file, in place of the one that it has; the graph stays."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {CARD_KEY: json.dumps(json.loads(card.to_json()))})
    onnx.save(model, path)


def round_to_half(network: nn.Module) -> nn.Module:
    """A copy whose weights are half-precision numbers, so that a half-precision checkpoint holds it exactly."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network


def add_to_index(path: Path, name: str) -> None:
    """List a file in the index.json beside it, or replace its entry."""
    index_path = path.parent / "index.json"
    index: dict[str, Any] = {"default": name, "models": []}
    if index_path.exists():
        index = json.loads(index_path.read_text())
    entry = {"name": name, "file": path.name, "sha256": hash_file(path)}
    index["models"] = [m for m in index["models"] if m["name"] != name] + [entry]
    index_path.write_text(json.dumps(index, indent=2) + "\n")
