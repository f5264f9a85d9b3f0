"""ONNX files with their weights in half precision and a cast back to float32 in front: half the size, the same samples.

Only tensors that half precision holds to the last bit are stored so; those of `models.export.round_to_half` are.
ONNX Runtime folds the casts away while it loads, so that the graph that runs is the one with float32 weights.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MIN_VALUES = 128  # below, the cast takes more bytes than it saves


def halve(path: Path) -> None:
    """Rewrites an ONNX file with its weights in half precision where they lose nothing by it; the card stays."""
    model = onnx.load(path)
    _halve_model(model)
    onnx.save(model, path)


def halved_bytes(path: Path) -> int:
    """Bytes that an ONNX file takes once it is halved, so that files of any age can be compared."""
    model = onnx.load(path)
    _halve_model(model)
    return int(model.ByteSize())


def _halve_model(model: onnx.ModelProto) -> None:
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_VALUES:
            continue
        half = _to_half(numpy_helper.to_array(tensor))
        if half is not None:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _to_half(weights: NDArray[np.float32]) -> NDArray[np.float16] | None:
    """The same values in half precision, None where it does not hold them all."""
    with np.errstate(over="ignore"):
        half = weights.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), weights) else None
