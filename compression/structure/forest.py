"""Labels of units, which of them are the same, and which lie so in an activation that they can go alone.

A label tensor has the shape of its activation. Along axes on which labels do not vary it is stored once (stride 0), so
that work grows with the number of units and not with the size of an image.
"""

import torch
from torch import Tensor

NONE, FIXED = 0, 1  # of no unit (zeros, statistics); of the outside world, cannot be removed
NOWHERE = float("inf")


def thin(labels: Tensor) -> Tensor:
    """The same labels with size 1 on every axis along which they are stored once."""
    for axis, stride in enumerate(labels.stride()):
        if stride == 0 and labels.shape[axis] > 1:
            labels = labels.narrow(axis, 0, 1)
    return labels


def small(labels: Tensor) -> Tensor:
    """The same labels with size 1 on every axis along which they do not vary."""
    for axis in range(labels.dim()):
        if labels.shape[axis] > 1:
            first = labels.narrow(axis, 0, 1)
            if labels.stride(axis) == 0 or bool((labels == first).all()):
                labels = first
    return labels


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two label tensors of one shape are equal."""
    if a.stride() == b.stride():
        return torch.equal(thin(a), thin(b))
    a, b = small(a), small(b)
    return a.shape == b.shape and torch.equal(a, b)


def varies(labels: Tensor) -> list[int]:
    """Axes, counted from the end, along which labels differ."""
    return [axis - labels.dim() for axis, n in enumerate(small(labels).shape) if n > 1]


def is_none(labels: Tensor) -> bool:
    """Whether no element belongs to anything."""
    return not bool(thin(labels).any())


def bounds(labels: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    """Least and greatest label over some axes, which keep size 1; NONE beside units counts as them."""
    low = torch.where(labels == NONE, NOWHERE, labels).amin(axes, keepdim=True)
    high = labels.amax(axes, keepdim=True)
    return torch.where(high == NONE, high, low), high


class Forest:
    """Union-find over labels; the smallest label of a set is its root, so that FIXED wins over every unit.

    The forest is kept flat (a parent is a root): finding the roots of many labels is one look-up.
    """

    def __init__(self) -> None:
        self._parent = torch.arange(2)

    def new(self, n: int) -> Tensor:
        """n fresh labels, [n]."""
        labels = torch.arange(n) + len(self._parent)
        self._parent = torch.cat([self._parent, labels])
        return labels.double()

    def roots(self, labels: Tensor) -> Tensor:
        """Root of each label, same shape."""
        return self._parent[thin(labels).long()].double().expand(labels.shape)

    def join(self, a: Tensor, b: Tensor) -> None:
        """Couples a[i] with b[i] wherever both belong to something; shapes broadcast."""
        first, second = torch.broadcast_tensors(self._parent[thin(a).long()], self._parent[thin(b).long()])
        wanted = (first != second) & (first != NONE) & (second != NONE)
        first, second = first[wanted], second[wanted]
        while len(first):
            low, high = torch.minimum(first, second), torch.maximum(first, second)
            pairs = torch.unique(low * len(self._parent) + high)
            low, high = pairs // len(self._parent), pairs % len(self._parent)
            self._parent.scatter_reduce_(0, high, low, "amin")
            while not torch.equal(parent := self._parent[self._parent], self._parent):
                self._parent = parent
            # A root that several others wanted to hang from keeps the least of them: the rest meet again.
            first, second = self._parent[low], self._parent[high]
            apart = first != second
            first, second = first[apart], second[apart]

    def fix(self, labels: Tensor) -> None:
        """Units that cannot be removed."""
        self.join(labels, torch.full((1,) * labels.dim(), FIXED))


def settle(forest: Forest, activations: list[Tensor]) -> None:
    """Couples units that cannot leave an activation alone, because the rest would be no tensor any more.

    What goes must be whole slices along one axis. Where a unit shares its slices with others (channels interleaved by
    a reshape), all of a slice go together; where it shares them with the outside world, it stays.
    """
    waiting = True
    while waiting:
        waiting = False
        for labels in activations:
            labels = small(forest.roots(labels))
            rows = [labels.movedim(axis, 0).flatten(1) for axis, n in enumerate(labels.shape) if n > 1]
            if len(rows) < 2:
                continue  # along a single axis every unit is its own slice
            stuck = torch.stack([_mixed(row, int(labels.max())) for row in rows]).all(0)
            if bool(stuck.any()):
                longest = max(reversed(rows), key=len)
                shared = longest[stuck[longest.long()].any(1)]
                forest.join(shared, bounds(shared, [1])[1])
                waiting = True


def _mixed(rows: Tensor, last: int) -> Tensor:
    """[last + 1] whether each unit lies in a slice of rows [n, m] that holds others too."""
    low, high = bounds(rows, [1])
    result = torch.zeros(last + 1, dtype=torch.bool)
    result[rows[(low != high).flatten()].flatten().long()] = True
    result[: FIXED + 1] = False
    return result
