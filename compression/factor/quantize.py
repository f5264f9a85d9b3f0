"""Eight-bit networks by ONNX Runtime, and weight sharing as a form of storage.

ONNX Runtime quantises LSTM nodes dynamically only (DynamicQuantizeLSTM: weights int8, activations measured as they
come); there is no static form. Convolutions and matrix products take both: dynamic ones measure each input anew,
static ones use ranges from calibration. GRU nodes and transposed convolutions stay as they are. Small layers stay
float too: on the TCN, static int8 of every convolution left 9 to 26 dB between the outputs of int8 and float32; without
those that hold less than one percent of the weights each, 47 dB, and the file is 1% larger.

Weights take 7 of the 8 bits (`reduce_range`): x86 processors with AVX2 but without VNNI add pairs of 8-bit products in
16 bits, where full-range weights overflow; one LSTM was off by a sixth of its output there.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.run import copied

SMALL_SHARE = 0.01  # layers with less of all weights stay float in static mode: they save nothing and cost the most
STATIC_OPERATORS = ("Conv", "MatMul", "Gemm")
DYNAMIC_OPERATORS = ("MatMul", "Gemm", "LSTM")
WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU")  # their weights are the second input


@dataclass(frozen=True)
class Quantized:
    """What quantisation did to a file."""

    mode: str
    bytes_before: int
    bytes_after: int
    operators: dict[str, int]  # kinds of the new graph's int8 operators, and how many
    left: dict[str, int]  # kinds with weights that stayed float


class _Feeds:
    """Calibration inputs, one run of the network each, in the form that ONNX Runtime asks for."""

    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize_onnx(
    source: Path,
    target: Path,
    mode: str,
    feeds: Iterable[dict[str, np.ndarray]] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Quantized:
    """Writes an int8 form of an ONNX file; inputs, outputs and metadata stay as they are.

    Args:
        source: float32 network.
        target: written whole or not at all.
        mode: "dynamic", or "static" (ranges from `feeds`, per channel; LSTMs dynamic all the same).
        feeds: inputs by name, real frames with the states that belong to them; for "static".
        ranges: least and largest value of activations by name in place of those that the feeds show; what lies
            outside is clipped.

    Raises:
        QuietmicError: static without feeds.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if mode == "static" and feeds is None:
        raise QuietmicError("static quantisation needs calibration frames", exit_code=2)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        ready, middle, final = (Path(folder) / f"{name}.onnx" for name in ("ready", "middle", "final"))
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        dynamic = list(DYNAMIC_OPERATORS)
        if mode == "static":
            quantize_static(
                str(ready), str(middle), _Feeds(feeds or ()), quant_format=QuantFormat.QDQ, per_channel=True,
                op_types_to_quantize=list(STATIC_OPERATORS), activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8, reduce_range=True, nodes_to_exclude=_small_nodes(onnx.load(str(ready))),
                extra_options={"TensorQuantOverrides": _overrides(ranges or {})},
            )  # fmt: skip
            ready, dynamic = middle, ["LSTM"]
        quantize_dynamic(
            str(ready), str(final), op_types_to_quantize=dynamic, per_channel=True, weight_type=QuantType.QInt8,
            reduce_range=True,
        )  # fmt: skip
        model = onnx.load(str(final))
        del model.metadata_props[:]
        model.metadata_props.extend(onnx.load(str(source)).metadata_props)
        onnx.save(model, str(final))
        final.replace(target)
    kinds = Counter(node.op_type for node in model.graph.node)
    int8 = {k: n for k, n in kinds.items() if "Integer" in k or "quantize" in k.lower()}
    return Quantized(mode, source.stat().st_size, target.stat().st_size, int8, _left_float(model))


def _overrides(ranges: Mapping[str, tuple[float, float]]) -> dict[str, list[dict[str, Any]]]:
    """Ranges in the form in which ONNX Runtime takes them."""
    return {name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in ranges.items()}


def _left_float(model: Any) -> dict[str, int]:
    """Kinds of the nodes whose weights are float, and how many; a static int8 node is one that reads int8 weights."""
    int8: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" or (node.op_type == "Transpose" and node.input[0] in int8):
            int8.update(node.output)
    return Counter(node.op_type for node in model.graph.node if node.op_type in WEIGHTED and node.input[1] not in int8)


def _small_nodes(model: Any) -> list[str]:
    """Names of the nodes whose weights are a small share of the graph's."""
    size = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    least = SMALL_SHARE * sum(size.values())
    return [
        node.name for node in model.graph.node
        if node.op_type in STATIC_OPERATORS and max((size.get(name, 0) for name in node.input[1:]), default=0) < least
    ]  # fmt: skip


def kmeans(values: Tensor, n_centres: int, steps: int = 20) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm in one dimension, started at quantiles of the values.

    (Han et al. 2016 start evenly over the range, where a few outliers leave most centres without a value.) A centre
    without values moves to where the error is: to the farthest value of a centre with the largest.

    Returns:
        Centres [n_centres] and the index of the nearest one for each value.
    """
    flat = values.flatten()
    ranks = ((torch.arange(n_centres) + 0.5) / n_centres * len(flat)).long()
    centres = flat.sort().values[ranks]
    for _ in range(steps):
        index = torch.bucketize(flat, (centres[1:] + centres[:-1]) / 2)
        count = torch.bincount(index, minlength=n_centres)
        total = torch.zeros_like(centres).index_add(0, index, flat)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
        error = torch.zeros_like(centres).index_add(0, index, (flat - centres[index]).square())
        empty = (count == 0).nonzero().flatten()
        for lost, rich in zip(empty, error.argsort(descending=True), strict=False):
            mine = flat[index == rich]
            centres[lost] = mine[(mine - centres[rich]).abs().argmax()] if error[rich] > 0 else centres[lost]
        centres = centres.sort().values
    return centres, torch.bucketize(flat, (centres[1:] + centres[:-1]) / 2).view(values.shape)


def share_weights(model: nn.Module, bits: int = 4) -> tuple[nn.Module, dict[str, Any]]:
    """A copy whose matrices hold 2^bits different values each, for storage as a table and an index per weight.

    Time does not change (Han et al. 2016, trained quantisation, without its training).

    Returns:
        The copy, and bytes: "dense" (float32), "values" (tables, and what is not shared), "index", and the "ratio".
    """
    if not 1 <= bits <= 8:
        raise QuietmicError(f"weight sharing with {bits} bits: choose 1 to 8", exit_code=2)
    result = copied(model)
    values = index_bits = dense = 0
    with torch.no_grad():
        for parameter in result.parameters():
            dense += 4 * parameter.numel()
            if parameter.dim() < 2 or parameter.numel() <= 2**bits:
                values += 4 * parameter.numel()
                continue
            centres, index = kmeans(parameter.float(), 2**bits)
            parameter.copy_(centres[index])
            values += 4 * len(centres)
            index_bits += bits * parameter.numel()
    n_index = -(-index_bits // 8)
    return result, {"dense": dense, "values": values, "index": n_index, "ratio": (values + n_index) / dense}


def sparse_bytes(parameters: Iterable[tuple[str, Tensor]], masks: dict[str, Tensor]) -> dict[str, Any]:
    """Storage of a network with single weights at zero: float32 values, and what their places take.

    Rows are stored compressed: 16-bit column numbers (32-bit in long rows) and one 32-bit offset per row.

    Returns:
        Bytes: "dense" (float32), "values", "index", "index_of_all" (with no weight left out), and the "ratio" of the
        sparse form to the dense one.
    """
    values = index = of_all = dense = 0
    for name, parameter in parameters:
        dense += 4 * parameter.numel()
        if name not in masks:
            values += 4 * parameter.numel()
            continue
        kept, rows = int(masks[name].sum()), 4 * (len(parameter) + 1)
        column = 2 if parameter[0].numel() < 2**16 else 4
        values += 4 * kept
        index += kept * column + rows
        of_all += parameter.numel() * column + rows
    ratio = (values + index) / dense
    return {"dense": dense, "values": values, "index": index, "index_of_all": of_all, "ratio": ratio}
