"""What each kind of layer does to units: which it makes, which it reads, which it passes on.

A rule names slots: the axes of a layer's parameters along which units lie. Roles: `out` where the unit is made (rows),
`in` where it is read (columns; a gate on a unit is a factor on these), `pass` where it only goes through (a norm's
scale, a depthwise kernel).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from quietmic.compression.structure.forest import FIXED, NONE, bounds, thin
from quietmic.compression.structure.labels import Labels
from quietmic.models.networks.count import CONVOLUTIONS, RNNS, TRANSPOSED
from quietmic.models.networks.fold import BATCH_NORMS

AddSlot = Callable[[nn.Module, str, int, str, Tensor], Tensor]  # module, parameter, axis, role, labels -> labels
OVER_UNITS = (nn.LayerNorm, nn.RMSNorm)  # norms of one axis, that of the units
NORMS = (*BATCH_NORMS, *OVER_UNITS, nn.GroupNorm, nn.PReLU)
TABLES = (nn.Embedding, nn.EmbeddingBag)
CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
GATES = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3, nn.RNN: 1, nn.RNNCell: 1}
LEAVES = (*CONVOLUTIONS, *TRANSPOSED, *NORMS, *TABLES, *RNNS, *CELLS, nn.Linear)


def column(labels: Labels, tensor: Tensor, axis: int) -> Tensor:
    """One label per index of an axis, [n]; different units at the same index are coupled (bands that share a layer)."""
    given = thin(labels.get(tensor))
    rows = given.movedim(axis, 0).reshape(given.shape[axis], -1)
    result = bounds(rows, [1])[1]
    labels.forest.join(rows, result)
    return labels.forest.roots(result.flatten().expand(tensor.shape[axis]))


def spread(tensor: Tensor, axis: int, values: Tensor) -> Tensor:
    """Labels [n] along one axis of `tensor`, the same everywhere else."""
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return values.view(shape)


def same_in_each(labels: Labels, values: Tensor, groups: int) -> Tensor:
    """Labels [n / groups] of channels in groups: the same ones go in each, so that all stay equally wide."""
    rows = values.view(groups, -1)
    labels.forest.join(rows, rows[:1])
    return labels.forest.roots(rows[0])


def convolution(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    """Ordinary, transposed, grouped and depthwise convolutions."""
    axis = -1 - len(module.kernel_size)
    read = column(labels, inputs[0], axis)
    transposed = isinstance(module, TRANSPOSED)
    groups = module.groups
    if groups == 1:
        add(module, "weight", 0 if transposed else 1, "in", read)
        made = add(module, "weight", 1 if transposed else 0, "out", labels.forest.new(module.out_channels))
    elif groups == module.in_channels:  # depthwise
        read = torch.where(read == NONE, FIXED, read)
        per = module.out_channels // groups
        made = add(module, "weight", 0, "pass", read if transposed else read.repeat_interleave(per))
        made = made.repeat_interleave(per) if transposed else made
    else:
        read = same_in_each(labels, read, groups)
        new = labels.forest.new(module.out_channels // groups)
        if transposed:
            add(module, "weight", 0, "in", read.repeat(groups))
            made = add(module, "weight", 1, "out", new).repeat(groups)
        else:
            add(module, "weight", 1, "in", read)
            made = add(module, "weight", 0, "out", new.repeat(groups))
    if module.bias is not None:
        add(module, "bias", 0, "pass" if groups == module.in_channels > 1 else "out", made)
    labels.put(output, spread(output, axis, made))


def linear(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    """A linear layer reads its inputs as columns and makes new units as rows."""
    add(module, "weight", 1, "in", column(labels, inputs[0], -1))
    made = add(module, "weight", 0, "out", labels.forest.new(module.out_features))
    if module.bias is not None:
        add(module, "bias", 0, "out", made)
    labels.put(output, spread(output, -1, made))


def embedding(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    """An embedding makes units and reads none."""
    made = add(module, "weight", 1, "out", labels.forest.new(module.embedding_dim))
    labels.put(output, spread(output, -1, made))


def norm(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Tensor) -> None:
    """Norms and PReLU: one scale per channel, passed through."""
    axis: int | None = norm_axis(module, inputs[0], output) if isinstance(module, OVER_UNITS) else 1
    if isinstance(module, (nn.PReLU, nn.InstanceNorm1d, nn.InstanceNorm2d)):  # they take one sample without its axis
        axis = 0 if inputs[0].dim() == getattr(module, "_get_no_batch_dim", lambda: 1)() else 1
    if axis is None:
        labels.freeze(f"{type(module).__name__} of several axes", [inputs[0]], [output])
        return
    if isinstance(module, (*OVER_UNITS, nn.GroupNorm)) and module.weight is None:
        labels.freeze(f"{type(module).__name__} without weights", [inputs[0]], [output])
        return
    passed = column(labels, inputs[0], axis)
    groups = getattr(module, "num_groups", 1)
    if 1 < groups < len(passed):
        passed = same_in_each(labels, passed, groups).repeat(groups)
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(module, name, None)
        if values is not None and len(values) == len(passed):
            passed = add(module, name, 0, "pass", passed)
    labels.put(output, spread(output, axis, passed))


def norm_axis(module: Any, x: Tensor, y: Tensor) -> int | None:
    """The axis that a layer norm works along: the last, or 1 in subclasses for images; None for several axes."""
    if len(module.normalized_shape) > 1:
        return None
    if type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        return -1
    for axis in (-1, 1):  # what a subclass does shows in its output
        if x.shape[axis] == module.normalized_shape[0]:
            scaled = nn.functional.layer_norm(
                x.movedim(axis, -1), module.normalized_shape, module.weight, module.bias, module.eps
            )
            if torch.allclose(scaled.movedim(-1, axis), y, rtol=1e-2, atol=1e-2):
                return axis
    return None


def recurrent(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Any) -> None:
    """LSTM, GRU and RNN: a hidden unit owns its row in every gate and its column in the recurrent weights.

    Layers of one module share one width, and so do both directions: their units are tied one to one. (Layers that
    shall have widths of their own are split beforehand, `rnn.split_layers`.) A state that is given has that width, too.
    """
    outputs, state = output
    states = state if isinstance(state, tuple) else (state,)
    given = inputs[0].data if isinstance(inputs[0], PackedSequence) else inputs[0]
    outputs = outputs.data if isinstance(outputs, PackedSequence) else outputs
    if getattr(module, "proj_size", 0):
        labels.freeze("LSTM with projection", [given], [outputs, *states])
        return
    read = column(labels, given, -1)
    hidden = labels.forest.new(module.hidden_size)
    gates = gates_of(module)
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
    join_states(labels, inputs[1:], hidden)


def cell(labels: Labels, add: AddSlot, module: Any, inputs: tuple, output: Any) -> None:
    """One step of an LSTM, GRU or RNN that the network calls in a loop of its own."""
    add(module, "weight_ih", 1, "in", column(labels, inputs[0], -1))
    hidden = labels.forest.new(module.hidden_size)
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if module.bias else 2]:
        add(module, part, 0, "out", hidden.repeat(gates_of(module)))
    hidden = add(module, "weight_hh", 1, "in", hidden)
    for value in output if isinstance(output, tuple) else (output,):
        labels.put(value, spread(value, -1, hidden))
    join_states(labels, inputs[1:], hidden)


def gates_of(module: nn.Module) -> int:
    """Blocks of rows in the matrices of a recurrent layer."""
    return next(n for kind, n in GATES.items() if isinstance(module, kind))


def join_states(labels: Labels, given: tuple, hidden: Tensor) -> None:
    """States that are given lie in the units of the layer (a decoder that begins where an encoder ended)."""
    states = given[0] if given and isinstance(given[0], tuple) else given
    for state in states:
        if isinstance(state, Tensor):
            labels.forest.join(labels.get(state), hidden)


def rule(module: nn.Module) -> Callable[..., None]:
    """The rule of a layer of a known kind."""
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        return convolution
    if isinstance(module, nn.Linear):
        return linear
    if isinstance(module, TABLES):
        return embedding
    if isinstance(module, RNNS):
        return recurrent
    if isinstance(module, CELLS):
        return cell
    return norm
