"""Which unit does each element of an activation belong to? Labels that travel with the data through any network.

A unit is one output channel of a layer. One forward pass runs with a shadow for every tensor: a tensor of the same
shape whose elements are labels. An operation that only moves data (view, slice, stack, pad, ...) is run on the shadow
too; an element-wise operation on two units couples them (a residual sum, a gate); a layer with weights starts new
units and notes which units its columns read (`rules.py`). Nothing of a network is typed in by hand.

Label 0 belongs to no unit (zeros, statistics), label 1 to the outside world (inputs, outputs, operations that nobody
knows): what is coupled with 1 cannot be removed. Couplings are kept as a union-find forest.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.weak import WeakIdKeyDictionary

NONE, FIXED = 0, 1

# fmt: off
MOVES = {
    "view", "_unsafe_view", "_reshape_alias", "reshape", "permute", "transpose", "t", "slice", "select", "cat", "stack",
    "unsqueeze", "squeeze", "expand", "clone", "alias", "detach", "contiguous", "constant_pad_nd", "reflection_pad1d",
    "reflection_pad2d", "replication_pad1d", "replication_pad2d", "unbind", "split", "split_with_sizes", "chunk",
    "as_strided", "unfold", "im2col", "index", "index_select", "gather", "roll", "flip", "repeat", "pixel_shuffle",
    "slice_scatter", "select_scatter", "lift_fresh",
}
REDUCTIONS = {
    "sum", "mean", "amax", "amin", "var", "std", "var_mean", "linalg_vector_norm", "norm", "prod", "max", "min",
    "argmax", "argmin", "any", "all",
}
ALONG = {"_softmax", "_log_softmax", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "topk"}
POOLS = {
    "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d",
}
# fmt: on


class Forest:
    """Union-find over labels; the smaller label is the root, so that FIXED wins over every unit."""

    def __init__(self) -> None:
        self._parent = torch.arange(2)

    def new(self, n: int) -> Tensor:
        """n labels [n] that nothing bears yet."""
        labels = torch.arange(n) + len(self._parent)
        self._parent = torch.cat([self._parent, labels])
        return labels.double()

    def roots(self, labels: Tensor) -> Tensor:
        """Root of each label, same shape."""
        return self._parent[labels.long()].double()

    def join(self, a: Tensor, b: Tensor) -> None:
        """Couples a[i] with b[i] wherever both belong to something; shapes are equal."""
        pairs = torch.stack([self.roots(a).flatten(), self.roots(b).flatten()], 1)
        pairs = pairs[(pairs != NONE).all(1) & (pairs[:, 0] != pairs[:, 1])]
        for first, second in torch.unique(pairs, dim=0).long().tolist():
            low, high = sorted((int(self._parent[first]), int(self._parent[second])))
            if low != high:
                self._parent[self._parent == high] = low


def broadcast(tensors: list[Tensor]) -> torch.Size | None:
    """Common shape of tensors that broadcast, else None."""
    try:
        return torch.broadcast_shapes(*(t.shape for t in tensors))
    except RuntimeError:
        return None


def varies(labels: Tensor) -> list[int]:
    """Axes, counted from the end, along which labels differ."""
    return [d - labels.dim() for d in range(labels.dim()) if bool((labels != labels.narrow(d, 0, 1)).any())]


class Labels(TorchDispatchMode):
    """Carries labels through a forward pass; run under `torch.inference_mode()` with the hooks of `rules.py`.

    Attributes:
        forest: couplings found so far.
        unknown: operations that froze the units they met, by name.
        bind: called with (parameter, labels) when a bare parameter meets units element by element.
    """

    def __init__(self, bind: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.forest = Forest()
        self.unknown: set[str] = set()
        self.bind = bind
        self.parameters: WeakIdKeyDictionary = WeakIdKeyDictionary()  # bare parameters and buffers
        self.inside: list[str] = []  # layers with a rule of their own that are running now
        self._labels: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def get(self, tensor: Tensor) -> Tensor:
        """Labels of a tensor, roots, its shape."""
        labels = self._labels.get(tensor)
        return torch.zeros(tensor.shape, dtype=torch.double) if labels is None else self.forest.roots(labels)

    def put(self, tensor: Tensor, labels: Tensor) -> None:
        """Gives a tensor its labels; a tensor changed in place keeps its shadow, so that views of it see the change."""
        known = self._labels.get(tensor)
        if known is not None and known.shape == labels.shape:
            known.copy_(labels)
        else:
            self._labels[tensor] = labels

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if self.inside:
            return func(*args, **kwargs)
        with self:
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        self._propagate(func, args, kwargs, result)
        return result

    def _propagate(self, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
        outputs = [t for t in tree_flatten(result)[0] if isinstance(t, Tensor)]
        inputs = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        name = func._schema.name.removeprefix("aten::")
        if name == "copy_":
            self.put(args[0], self.get(args[1]).expand(args[0].shape).clone())
        elif not any(bool(self.get(t).any()) for t in inputs):
            for output in outputs:
                if not any(output is t for t in inputs):
                    self._labels[output] = torch.zeros(output.shape, dtype=torch.double)
        elif name in MOVES:
            self._move(func, args, kwargs, outputs)
        elif name in ("view_as_real", "view_as_complex"):
            self._complex(name, inputs[0], outputs[0])
        elif name in REDUCTIONS or name in ALONG:
            self._reduce(func, name, args, kwargs, outputs)
        elif name in POOLS:
            self._pool(name, inputs[0], outputs)
        elif all(o.shape == broadcast(inputs) for o in outputs):
            self._elementwise(inputs, outputs)
        else:
            self.freeze(name, inputs, outputs)

    def _move(self, func: Any, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        def shadow(value: Any) -> Any:
            if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
                return value  # integer tensors are indices
            if value not in self._labels:
                self._labels[value] = torch.zeros(value.shape, dtype=torch.double)
            return self._labels[value]

        with torch.no_grad():
            moved = tree_flatten(func(*tree_map(shadow, args), **tree_map(shadow, kwargs)))[0]
        for output, labels in zip(outputs, moved, strict=True):
            self._labels[output] = labels

    def _complex(self, name: str, value: Tensor, output: Tensor) -> None:
        labels = self.get(value)
        if name == "view_as_real":
            self.put(output, labels.unsqueeze(-1).expand(output.shape).clone())
        else:
            self.forest.join(labels[..., 0], labels[..., 1])
            self.put(output, labels[..., 0].clone())

    def _reduce(self, func: Any, name: str, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | kwargs
        labels = self.get(args[0])
        axes = given.get("dim")
        axes = list(range(labels.dim())) if axes in (None, []) else [axes] if isinstance(axes, int) else list(axes)
        low, high = labels.amin(axes, keepdim=True), labels.amax(axes, keepdim=True)
        low = torch.where(low == NONE, high, low)  # zeros beside units change nothing
        if not torch.equal(low, high) or bool(((labels != high) & (labels != NONE)).any()):
            self.freeze(name, [args[0]], outputs)
            return
        for output in outputs:
            expanded = high.expand(labels.shape) if name in ALONG else high
            self.put(output, expanded.reshape(output.shape).clone())

    def _pool(self, name: str, value: Tensor, outputs: list[Tensor]) -> None:
        labels = self.get(value).flatten(2)
        if not torch.equal(labels.amin(2), labels.amax(2)):
            self.freeze(name, [value], outputs)
            return
        for output in outputs:
            shape = labels.shape[:2] + (1,) * (output.dim() - 2)
            self.put(output, labels.amax(2).view(shape).expand(output.shape).clone())

    def _elementwise(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        merged = torch.zeros(())
        for value in inputs:
            if value not in self.parameters:
                merged = self._merge(merged, self.get(value))
        for value in inputs:
            if value in self.parameters:
                self.bind(value, merged.expand(outputs[0].shape))
        for output in outputs:
            self.put(output, merged.expand(output.shape).clone())

    def _merge(self, a: Tensor, b: Tensor) -> Tensor:
        """Labels of an element-wise result; couples what meets along an axis of units.

        A factor of size 1 along the axis of the units (a gain for all channels) couples nothing.
        """
        if not a.any() or not b.any():
            return a + b
        a_axes, b_axes = varies(a), varies(b)
        if a_axes and not b_axes and all(d < -b.dim() or b.shape[d] == 1 for d in a_axes):
            return torch.where(a != NONE, a, NONE).expand(torch.broadcast_shapes(a.shape, b.shape))
        if b_axes and not a_axes and all(d < -a.dim() or a.shape[d] == 1 for d in b_axes):
            return self._merge(b, a)
        a, b = torch.broadcast_tensors(a, b)
        self.forest.join(a, b)
        return torch.where(a != NONE, a, b)

    def freeze(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Leaves the units that meet an unknown operation alone; what comes out belongs to the outside world."""
        for value in inputs:
            labels = self.get(value)
            if bool((labels > FIXED).any()):
                self.unknown.add(name)
            self.forest.join(labels, torch.full_like(labels, FIXED))
        for output in outputs:
            self.put(output, torch.full(output.shape, FIXED, dtype=torch.double))
