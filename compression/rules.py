"""What each kind of layer does to units: which it makes, which it reads, which it passes on.

A rule names slots: the axes of a layer's parameters along which units lie. Roles: `out` where the unit is made (rows),
`in` where it is read (columns; a gate on a unit is a factor on these), `pass` where it only goes through (a norm's
scale, a depthwise kernel).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compression.count import CONVOLUTIONS, TRANSPOSED
from compression.labels import FIXED, NONE, Labels
from models.bandlayers import BandMix, TimeTaps

AddSlot = Callable[[nn.Module, str, int, str, Tensor], Tensor]  # module, parameter, axis, role, labels -> labels
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d)
NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.PReLU)
SHARED = (BandMix, TimeTaps)
LEAVES = (*CONVOLUTIONS, *TRANSPOSED, *NORMS, *SHARED, nn.Linear, nn.Embedding, nn.LSTM, nn.GRU)


def column(labels: Labels, tensor: Tensor, axis: int) -> Tensor:
    """One label per index of an axis, [n]; different units at the same index are coupled (bands that share a layer)."""
    rows = labels.get(tensor).movedim(axis, 0).flatten(1)
    result = rows.amax(1)
    labels.forest.join(rows, result.unsqueeze(1).expand_as(rows))
    return labels.forest.roots(result)


def spread(tensor: Tensor, axis: int, values: Tensor) -> Tensor:
    """Labels [n] along one axis, the same everywhere else, in the shape of `tensor`."""
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return values.view(shape).expand(tensor.shape).clone()


def convolution(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    """Ordinary, transposed, grouped and depthwise convolutions."""
    axis = -1 - len(module.kernel_size)
    read = column(labels, inputs[0], axis)
    transposed = isinstance(module, TRANSPOSED)
    in_axis, out_axis = (0, 1) if transposed else (1, 0)
    groups = module.groups
    if groups == 1:
        add(module, "weight", in_axis, "in", read)
        made = add(module, "weight", out_axis, "out", labels.forest.new(module.out_channels))
    elif groups == module.in_channels and not transposed:
        read = torch.where(read == NONE, FIXED, read)
        made = add(module, "weight", 0, "pass", read.repeat_interleave(module.out_channels // groups))
    elif not transposed:  # the same channels in every group, so that groups stay equally wide
        read = read.view(groups, -1)
        labels.forest.join(read[:1].expand_as(read), read)
        add(module, "weight", 1, "in", labels.forest.roots(read[0]))
        tied = labels.forest.new(module.out_channels // groups).repeat(groups)
        made = add(module, "weight", 0, "out", tied)
    else:
        labels.freeze("grouped transposed convolution", [inputs[0]], [output])
        return
    if module.bias is not None:
        add(module, "bias", 0, "out" if groups == 1 else "pass", made)
    labels.put(output, spread(output, axis, made))


def linear(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    add(module, "weight", 1, "in", column(labels, inputs[0], -1))
    made = add(module, "weight", 0, "out", labels.forest.new(module.out_features))
    if module.bias is not None:
        add(module, "bias", 0, "out", made)
    labels.put(output, spread(output, -1, made))


def embedding(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    made = add(module, "weight", 1, "out", labels.forest.new(module.embedding_dim))
    labels.put(output, spread(output, -1, made))


def norm(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    """Norms and PReLU: one scale per channel, passed through."""
    layer = isinstance(module, nn.LayerNorm)
    groups = getattr(module, "num_groups", 1)
    if (layer and len(module.normalized_shape) > 1) or groups not in (1, getattr(module, "num_channels", 1)):
        labels.freeze(f"{type(module).__name__} of several groups or axes", [inputs[0]], [output])
        return
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm)) and module.weight is None:
        labels.freeze(f"{type(module).__name__} without weights", [inputs[0]], [output])
        return
    axis = -1 if layer else 1
    passed = column(labels, inputs[0], axis)
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(module, name, None)
        if values is not None and len(values) == len(passed):
            passed = add(module, name, 0, "pass", passed)
    labels.put(output, spread(output, axis, passed))


def recurrent(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Any) -> None:
    """LSTM and GRU: a hidden unit owns its row in every gate and its column in the recurrent weights.

    Layers of one module share one width, and so do both directions: their units are tied one to one. (Layers that
    shall have widths of their own are split beforehand, `rnn.split_layers`.)
    """
    outputs, state = output
    states = state if isinstance(state, tuple) else (state,)
    given = inputs[0]
    if getattr(module, "proj_size", 0):
        labels.freeze("LSTM with projection", [given], [outputs, *states])
        return
    read = column(labels, given, -1)
    hidden = labels.forest.new(module.hidden_size)
    gates = 4 if isinstance(module, nn.LSTM) else 3
    directions = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        for direction in ("", "_reverse")[:directions]:
            suffix = f"l{layer}{direction}"
            add(module, f"weight_ih_{suffix}", 1, "in", read)
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if module.bias else 2]:
                add(module, f"{part}_{suffix}", 0, "out", hidden.repeat(gates))
            hidden = add(module, f"weight_hh_{suffix}", 1, "in", hidden)
        read = hidden.repeat(directions)
    labels.put(outputs, spread(outputs, -1, read))
    for value in states:
        labels.put(value, spread(value, -1, hidden))


def band_mix(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    """Maps over bands: every channel goes through them on its own and comes out once for each map."""
    labels.put(output, spread(output, -1, column(labels, inputs[0], -1).repeat(module.n_maps)))


def time_taps(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Any) -> None:
    """Depthwise taps over time, whose state has the channels of what comes in."""
    outputs, state = output
    read = column(labels, inputs[0], -1)
    passed = add(module, "weight", 1, "pass", torch.where(read == NONE, FIXED, read))
    labels.put(outputs, spread(outputs, -1, passed))
    labels.put(state, spread(state, -1, passed))


def rule(module: nn.Module) -> Callable[..., None]:
    """The rule of a layer of a known kind."""
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        return convolution
    if isinstance(module, nn.Linear):
        return linear
    if isinstance(module, nn.Embedding):
        return embedding
    if isinstance(module, BandMix):
        return band_mix
    if isinstance(module, TimeTaps):
        return time_taps
    if isinstance(module, (nn.LSTM, nn.GRU)):
        return recurrent
    return norm
