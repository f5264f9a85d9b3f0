"""Which unit does each element of an activation belong to? Labels that travel with the data through any network.

A unit is one output channel of a layer. One forward pass runs with a shadow for every tensor: a tensor of the same
shape whose elements are labels. An operation that only moves data (view, slice, stack, pad, ...) is run on the shadow
too; an element-wise operation on two units couples them (a residual sum, a gate); a layer with weights starts new
units and notes which units its columns read (`rules.py`). Nothing of a network is typed in by hand.

Label 0 belongs to no unit (zeros, statistics), label 1 to the outside world (inputs, outputs, operations that nobody
knows): what is coupled with 1 cannot be removed. Couplings are kept as a union-find forest (`forest.py`).
"""

import re
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from quietmic.compression.structure.forest import FIXED, NONE, Forest, bounds, is_none, same, small, thin, varies

# fmt: off
MOVES = {
    "view", "_unsafe_view", "_reshape_alias", "reshape", "permute", "transpose", "t", "slice", "select", "cat", "stack",
    "unsqueeze", "squeeze", "expand", "clone", "alias", "detach", "contiguous", "constant_pad_nd", "reflection_pad1d",
    "reflection_pad2d", "replication_pad1d", "replication_pad2d", "unbind", "split", "split_with_sizes", "chunk",
    "as_strided", "unfold", "im2col", "index", "_unsafe_index", "index_select", "gather", "roll", "flip", "repeat",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "slice_scatter", "select_scatter", "lift_fresh",
}
TURNS = {"transpose", "t", "squeeze", "unsqueeze", "swapaxes", "swapdims"}  # those that are done in place, too
RESHAPES = {"view", "_unsafe_view", "_reshape_alias", "reshape"}
PIECES = {"split", "chunk"}
ELEMENTWISE = {  # beside those that PyTorch itself marks so
    "hardswish", "hardtanh", "leaky_relu", "_prelu_kernel", "native_dropout", "dropout", "fill", "zero", "complex",
    "polar", "log_sigmoid_forward", "floor_divide", "_to_copy", "to", "conj", "_conj", "real", "imag", "bernoulli",
}
REDUCTIONS = {
    "sum", "mean", "amax", "amin", "var", "std", "var_mean", "linalg_vector_norm", "norm", "prod", "max", "min",
    "argmax", "argmin", "any", "all",
}
ALONG = {"_softmax", "_log_softmax", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "topk"}
POOLS = {
    "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d",
}
FRESH = {  # take a shape from a tensor, and nothing else
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "zeros_like", "ones_like", "full_like",
    "empty_like", "rand_like", "randn_like",
}
PACKING = {"_pack_padded_sequence", "_pad_packed_sequence"}  # rows move, columns stay
# fmt: on


def broadcast(tensors: list[Tensor]) -> torch.Size | None:
    """Common shape of tensors that broadcast, else None."""
    if all(t.shape == tensors[0].shape for t in tensors):
        return tensors[0].shape
    try:
        return torch.broadcast_shapes(*(t.shape for t in tensors))
    except RuntimeError:
        return None


class Labels(TorchDispatchMode):
    """Carries labels through a forward pass; run under `torch.inference_mode()` with the hooks of `rules.py`.

    Attributes:
        forest: couplings found so far.
        unknown: operations that froze the units they met, by name.
        tangled: labels of the activations where units lie along several axes.
        parameters: bare parameters and buffers.
        touched: ids of tensors that an operation took, those of parameters among them.
        bind: called with (parameter, labels) when a bare parameter meets units element by element.
        start: called with a bare parameter that is moved about; gives it labels where it can.
    """

    def __init__(self, bind: Callable[[Tensor, Tensor], None], start: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.forest = Forest()
        self.unknown: set[str] = set()
        self.tangled: list[Tensor] = []
        self.bind, self.start = bind, start
        self.parameters: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.touched: set[int] = set()
        self.inside: list[str] = []  # layers with a rule of their own that are running now
        self._labels: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._written: dict[int, tuple[StorageWeakRef, Tensor]] = {}  # memory that was written piece by piece

    def get(self, tensor: Tensor) -> Tensor:
        """Labels of a tensor, roots, its shape."""
        if self._written and (memory := self._memory(tensor)) is not None:
            return self.forest.roots(memory)
        labels = self._labels.get(tensor)
        if labels is None:
            return torch.zeros((), dtype=torch.double).expand(tensor.shape)
        return self.forest.roots(labels)

    def put(self, tensor: Tensor, labels: Tensor) -> None:
        """Gives a new tensor its labels; they broadcast to its shape."""
        labels = small(labels) if labels.dim() > 1 else labels
        if len([n for n in labels.shape if n > 1]) > 1:
            self.tangled.append(labels)
        self._labels[tensor] = labels.expand(tensor.shape)

    def write(self, tensor: Tensor, labels: Tensor) -> None:
        """Labels of a tensor that was changed in place: what shares its memory sees the change."""
        if self._labels.get(tensor) is labels:
            return
        labels = self.forest.roots(labels.expand(tensor.shape))
        if same(self.get(tensor), labels):
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._written:
            memory = torch.zeros(storage.nbytes() // tensor.element_size(), dtype=torch.double)
            for other, known in self._labels.items():
                if other.untyped_storage()._cdata == storage._cdata:
                    memory.as_strided(other.shape, other.stride(), other.storage_offset()).copy_(known)
            self._written[storage._cdata] = StorageWeakRef(storage), memory
        shadow = self._memory(tensor)
        assert shadow is not None
        shadow.copy_(labels)

    def _has_labels(self, tensor: Tensor) -> bool:
        return tensor in self._labels or bool(self._written and self._memory(tensor) is not None)

    def _memory(self, tensor: Tensor) -> Tensor | None:
        """Labels of a tensor whose memory was written piece by piece."""
        found = self._written.get(tensor.untyped_storage()._cdata)
        return found and found[1].as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the compiler is imported, which takes longer than most networks

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if self.inside:
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if name not in PIECES:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self._propagate(func, name, args, kwargs, result)
        return result

    def _propagate(self, func: Any, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        inputs = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        self.touched.update(map(id, inputs))
        outputs = [t for t in tree_flatten(result)[0] if isinstance(t, Tensor)]
        pointwise = torch.Tag.pointwise in func.tags or name.removesuffix("_") in ELEMENTWISE
        if name in MOVES or (pointwise and not any(self._has_labels(t) for t in inputs)):
            self._start_parameters(inputs)
        if name == "copy_":
            self.write(args[0], self.get(args[1]))
        elif name == "as_strided_" and self.get(args[0]).shape == args[0].shape:
            return  # a pooled map is told another memory format
        elif name.removesuffix("_") in TURNS and name.endswith("_"):
            self._turn(func, args, kwargs)
        elif name in FRESH or not any(self._has_labels(t) for t in inputs):
            return
        elif name in MOVES:
            self._move(func, name, args, kwargs, outputs)
        elif name in ("view_as_real", "view_as_complex"):
            self._complex(name, inputs[0], outputs[0])
        elif name in REDUCTIONS or name in ALONG:
            self._reduce(func, name, args, kwargs, outputs)
        elif name in POOLS:
            self._pool(name, inputs[0], outputs)
        elif name == "glu":
            self._glu(args, outputs[0])
        elif name in PACKING:
            column = bounds(thin(self.get(inputs[0])), list(range(inputs[0].dim() - 1)))[1].flatten()
            self.forest.join(self.get(inputs[0]), column)
            self.put(outputs[0], column)
        elif pointwise:
            self._elementwise(name, inputs, outputs)
        else:
            self.freeze(name, inputs, outputs)

    def _start_parameters(self, inputs: list[Tensor]) -> None:
        for value in inputs:
            if value in self.parameters and value not in self._labels:
                labels = self.start(value)
                if labels is not None:
                    self.put(value, labels)

    def _move(self, func: Any, name: str, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        def labels_of(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if name == "as_strided":
                dense = torch.empty_strided(value.shape, value.stride(), dtype=torch.double)
                return dense.copy_(self.get(value))
            return self.get(value)

        def shadow(value: Any) -> Any:
            is_data = isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
            return labels_of(value) if is_data else value  # the others are indices

        given = [tree_map(labels_of, args[0]), *tree_map(shadow, args[1:])]
        if name in RESHAPES:
            moved = [given[0].reshape(outputs[0].shape)]
        elif name == "cat":
            moved = [_cat(given[0], given[1] if len(given) > 1 else kwargs.get("dim", 0))]
        else:
            moved = tree_flatten(func(*given, **tree_map(shadow, kwargs)))[0]
        for output, labels in zip(outputs, moved, strict=True):
            self.put(output, labels)
        if name == "channel_shuffle":  # a table of channels on the way, of which whole rows or columns go
            self.tangled.append(small(given[0].unflatten(1, (given[1], -1))))
        if name in PIECES:  # as wide as each other now, and so after a cut
            whole = [labels for labels in moved if labels.shape == moved[0].shape]
            for labels in whole[1:]:
                self.forest.join(whole[0], labels)

    def _turn(self, func: Any, args: tuple, kwargs: dict) -> None:
        """A tensor that gets another shape itself: its labels had the shape of before."""
        labels = self._labels.get(args[0])
        if labels is not None:
            self._labels[args[0]] = func(labels.view(labels.shape), *args[1:], **kwargs)

    def _complex(self, name: str, value: Tensor, output: Tensor) -> None:
        labels = self.get(value)
        if name == "view_as_real":
            self.put(output, labels.unsqueeze(-1))
        else:
            self.forest.join(labels[..., 0], labels[..., 1])
            self.put(output, labels[..., 0])

    def _glu(self, args: tuple, output: Tensor) -> None:
        a, b = self.get(args[0]).chunk(2, args[1] if len(args) > 1 else -1)
        self.put(output, self._merge(a, b))

    def _reduce(self, func: Any, name: str, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | kwargs
        labels = self.get(args[0])
        axes = given.get("dim")
        axes = list(range(labels.dim())) if axes in (None, []) else [axes] if isinstance(axes, int) else list(axes)
        low, high = bounds(thin(labels), axes)
        if not torch.equal(low, high):
            if not varies(high):
                self.freeze(name, [args[0]], outputs)
                return
            self.forest.join(labels, high)  # a sum over branches: their units go together
            high = self.forest.roots(high)
        shape = [1 if axis in {a % labels.dim() for a in axes} else n for axis, n in enumerate(labels.shape)]
        for output in outputs:
            along = name in ALONG
            self.put(output, high.expand(labels.shape) if along else high.expand(shape).reshape(output.shape))

    def _pool(self, name: str, value: Tensor, outputs: list[Tensor]) -> None:
        n_axes = int(re.findall(r"(\d)d", name)[0])
        low, high = bounds(thin(self.get(value)), list(range(-n_axes, 0)))
        if not torch.equal(low, high):
            self.freeze(name, [value], outputs)
            return
        for output in outputs:
            self.put(output, high)

    def _elementwise(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if any(output.shape != broadcast(inputs) for output in outputs):
            self.freeze(name, inputs, outputs)
            return
        moving = [self.get(value) for value in inputs if value not in self.parameters or value in self._labels]
        merged = reduce(self._merge, moving) if moving else torch.zeros(())
        for value in inputs:
            if value in self.parameters:
                self.bind(value, merged.expand(outputs[0].shape))
        for output in outputs:
            (self.write if any(output is value for value in inputs) else self.put)(output, merged)

    def _merge(self, a: Tensor, b: Tensor) -> Tensor:
        """Labels of an element-wise result; couples what meets along an axis of units.

        A factor of size 1 along an axis of the units (a gain for all channels, one for each branch) couples nothing.
        """
        shape = a.shape if a.shape == b.shape else torch.broadcast_shapes(a.shape, b.shape)
        if is_none(a) or is_none(b):
            return (thin(a) + thin(b)).expand(shape)
        a_axes, b_axes = varies(a), varies(b)
        if a_axes and not b_axes and any(d < -b.dim() or b.shape[d] == 1 for d in a_axes):
            return thin(a).expand(shape)
        if b_axes and not a_axes and any(d < -a.dim() or a.shape[d] == 1 for d in b_axes):
            return thin(b).expand(shape)
        self.forest.join(a, b)
        a, b = thin(a), thin(b)
        return torch.where(a != NONE, a, b).expand(shape)

    def freeze(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Leaves the units that meet an unknown operation alone; what comes out belongs to the outside world."""
        for value in inputs:
            labels = self.get(value)
            if bool((thin(labels) > FIXED).any()):
                self.unknown.add(name)
            self.forest.fix(labels)
        for output in outputs:
            outside = torch.full((1,) * output.dim(), FIXED, dtype=torch.double)
            (self.write if any(output is value for value in inputs) else self.put)(output, outside)


def _cat(parts: list[Tensor], axis: int) -> Tensor:
    """Labels side by side; axes along which none of them varies stay stored once."""
    if any(part.dim() != parts[0].dim() for part in parts):  # an empty one-dimensional tensor may stand among them
        parts = [part for part in parts if part.numel()]
    narrow = [thin(part) for part in parts]
    axis %= parts[0].dim()
    shape = torch.broadcast_shapes(*((*part.shape[:axis], 1, *part.shape[axis + 1 :]) for part in narrow))
    wide = [
        part.expand(*shape[:axis], whole.shape[axis], *shape[axis + 1 :])
        for part, whole in zip(narrow, parts, strict=True)
    ]
    whole_shape = list(parts[0].shape)
    whole_shape[axis] = sum(part.shape[axis] for part in parts)
    return torch.cat(wide, axis).expand(whole_shape)
