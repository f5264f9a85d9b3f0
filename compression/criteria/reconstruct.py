"""Channels that reconstruct the next layer best: ThiNet (greedy) and channel-lasso, both from one Gram matrix.

The output of a layer is a sum over the units it reads, y = b + sum_c x_c. Over m outputs, the error of a subset S with
weights w is ||X 1 - X_S w_S||^2, which needs X only through A = X' X. For a matrix product y_o = sum_j W_oj p_j of
inputs (or patches) p, summed over outputs o and samples, A is the element-wise product (P' P) * (W' W), summed over the
elements that belong to each unit: no sample of X is ever stored. A group's A is the sum over all layers that read it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quietmic.compression.criteria.allocate import Scores, best
from quietmic.compression.criteria.calibration import as_maps, observe
from quietmic.compression.criteria.context import Context, Decision
from quietmic.compression.criteria.data_scores import influence_static
from quietmic.compression.structure.groups import Group, Slot
from quietmic.compression.structure.surgery import Gates, Kept
from quietmic.models.networks.count import CONVOLUTIONS, TRANSPOSED

N_POSITIONS = 512  # rows that a layer reads, per batch and reader; enough for a Gram matrix


def gram_matrices(context: Context) -> dict[str, Tensor]:
    """A of each group over the calibration batches: group -> [n_units, n_units], double."""
    grams = {g.name: torch.zeros(g.n_units, g.n_units, dtype=torch.double) for g in context.structure.groups}
    model, drawn = context.model, torch.Generator().manual_seed(context.seed)
    raw: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(slot.module).register_forward_pre_hook(
            lambda module, inputs, key=slot.module: raw.__setitem__(key, inputs[0])
        )
        for group in context.structure.groups
        for slot in group.reads()
    ]

    def seen(group: Group, slot: Slot, maps: Tensor) -> None:
        module = model.get_submodule(slot.module)
        inputs = maps if slot.parameter.startswith("weight_hh") else as_maps(module, raw[slot.module])
        element = _gram(module, model.get_parameter(slot.name).detach(), slot, inputs, raw[slot.module], drawn)
        per = element.shape[0] // len(slot.units)
        grams[group.name] += _per_unit(element, group.position(slot).repeat_interleave(per), group.n_units)

    try:
        observe(model, context.structure, context.task, seen)
    finally:
        for handle in handles:
            handle.remove()
    return grams


def _per_unit(element: Tensor, position: Tensor, n_units: int) -> Tensor:
    """Sums rows and columns that belong to the same unit."""
    mine = position >= 0
    element, position = element[mine][:, mine], position[mine]
    rows = torch.zeros(n_units, element.shape[1], dtype=element.dtype).index_add(0, position, element)
    return torch.zeros(n_units, n_units, dtype=element.dtype).index_add(1, position, rows)


def _gram(module: nn.Module, weight: Tensor, slot: Slot, maps: Tensor, raw: Tensor, drawn: torch.Generator) -> Tensor:
    """(P' P) * (W' W) over the elements of the patches of a layer, channel by channel.

    A transposed convolution is taken without the overlap of neighbouring windows (exact for stride >= kernel).
    """
    if isinstance(module, CONVOLUTIONS):
        total: Tensor | float = 0.0
        for part, kernels in zip(_patches(module, raw, drawn), weight.chunk(module.groups), strict=True):
            flat = _double(kernels.flatten(1))
            total = total + ((part.mH @ part) * (flat.mH @ flat)).real
        return total if isinstance(total, Tensor) else torch.zeros(0, 0)
    samples = _drawn(maps.transpose(1, 2).flatten(0, 1), drawn)  # [n, size]
    flat = _double(weight.movedim(slot.axis, 0).flatten(1) if isinstance(module, TRANSPOSED) else weight.T)
    return ((samples.mH @ samples) * (flat.conj() @ flat.T)).real


def _drawn(rows: Tensor, generator: torch.Generator) -> Tensor:
    """At most N_POSITIONS of the rows [n, size], drawn by seed.

    At a fixed stride they would alias with the width of a map: one column of it, at worst a padded one, stood for all.
    """
    if len(rows) > N_POSITIONS:
        rows = rows[torch.randperm(len(rows), generator=generator)[:N_POSITIONS].to(rows.device)]
    return _double(rows)


def _double(values: Tensor) -> Tensor:
    return values.to(torch.cdouble if values.is_complex() else torch.double)


def _patches(module: Any, raw: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Windows that a convolution reads, padded as it pads, one [n, n_channels * kernel] per group."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    raw = raw if raw.dim() == len(module.kernel_size) + 2 else raw.unsqueeze(0)
    windows = F.pad(raw, module._reversed_padding_repeated_twice, mode=mode)
    for axis, (size, step, stride) in enumerate(zip(module.kernel_size, module.dilation, module.stride, strict=True)):
        windows = windows.unfold(2 + axis, step * (size - 1) + 1, stride)[..., ::step]  # [B, C, positions, kernel]
    rows = windows.movedim(1, 1 + len(module.kernel_size))  # [B, positions, C, kernel]
    n_rows = len(module.kernel_size) + 1
    return list(_drawn(rows.flatten(n_rows).flatten(0, n_rows - 1), generator).chunk(module.groups, 1))


def least_squares(gram: Tensor, kept: Tensor) -> Tensor:
    """Weights of the kept units that reconstruct the whole sum best, [n_kept] (normal equations, slightly damped)."""
    index = kept.nonzero().flatten()
    damping = 1e-6 * gram.diagonal().mean() + 1e-30
    inner = gram[index][:, index] + damping * torch.eye(len(index), dtype=gram.dtype)
    return torch.linalg.solve(inner, gram[index].sum(1))


def greedy_order(gram: Tensor) -> Tensor:
    """Scores [n_units] of backward elimination: the unit that goes last has the highest.

    With weights refitted at each step, taking unit j out of S raises the error by w_j^2 / (A_SS^-1)_jj; the inverse
    without j follows by one rank-one step.
    """
    n = len(gram)
    damping = 1e-6 * gram.diagonal().mean() + 1e-30
    inverse = torch.linalg.inv(gram + damping * torch.eye(n, dtype=gram.dtype))
    weights = torch.ones(n, dtype=gram.dtype)
    alive = torch.ones(n, dtype=torch.bool)
    scores = torch.zeros(n)
    for step in range(n):
        rise = torch.where(alive, weights.square() / inverse.diagonal().clamp(min=1e-30), torch.inf)
        j = int(rise.argmin())
        column = inverse[:, j] / inverse[j, j]
        weights = weights - column * weights[j]
        inverse = inverse - torch.outer(column, inverse[j])
        alive[j] = False
        weights[j] = 0
        scores[j] = step
    return scores


def lasso_path(gram: Tensor, steps: int = 60, sweeps: int = 20) -> Tensor:
    """Scores [n_units]: the largest L1 weight at which each unit is still in use (He et al. 2017).

    min over w of w'Aw / 2 - (A1)'w + lambda |w|_1 by coordinate descent, lambda growing until nothing is left.
    """
    target, diagonal = gram.sum(1), gram.diagonal().clamp(min=1e-30)
    weights = torch.ones(len(gram), dtype=gram.dtype)
    scores = torch.zeros(len(gram))
    top = float(target.abs().max())
    for step in range(steps):
        strength = top * 10 ** (-4 * (1 - (step + 1) / steps))
        for _ in range(sweeps):
            before = weights.clone()
            for j in weights.nonzero().flatten().tolist():
                rest = target[j] - gram[j] @ weights + gram[j, j] * weights[j]
                weights[j] = torch.sign(rest) * torch.clamp(rest.abs() - strength, min=0) / diagonal[j]
            if bool((weights - before).abs().max() < 1e-4):
                break
        scores = torch.where(weights != 0, step + 1 + weights.abs().float() / (1 + weights.abs().max().float()), scores)
        if not weights.any():
            break
    return scores


def _kept(context: Context, scores: Scores) -> Kept:
    """Units that stay: the best of each group, as many as influence per unit of cost gives it.

    The scores order the units of one group and say nothing between groups.
    """
    if context.ratios in ("auto", "global"):
        widths = context.allocate(influence_static(context)[0])
        return {name: best(score, int(widths[name].sum())) for name, score in scores.items()}
    return context.allocate({name: (1 + score) / (1 + score).max() for name, score in scores.items()})


def _decide(context: Context, order: str) -> Decision:
    grams = gram_matrices(context)
    scores = {name: greedy_order(a) if order == "greedy" else lasso_path(a) for name, a in grams.items()}
    kept = _kept(context, scores)
    gates: Gates = {}
    for name, gram in grams.items():
        gates[name] = torch.zeros(len(gram))
        gates[name][kept[name]] = least_squares(gram, kept[name]).float()
    return Decision(kept, gates)


def thinet(context: Context) -> Decision:
    """Input channels that minimise the error of the next layer's output (Luo et al. 2017), weights refitted."""
    return _decide(context, "greedy")


def channel_lasso(context: Context) -> Decision:
    """The same error with an L1 term on the weights (channel pruning, He et al. 2017), then refitted."""
    return _decide(context, "lasso")
