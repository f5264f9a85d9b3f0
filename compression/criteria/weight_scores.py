"""Scores that are read off the weights alone."""

import torch
from torch import Tensor, nn

from quietmic.compression.criteria.allocate import Scores
from quietmic.compression.criteria.context import Context, Decision
from quietmic.compression.criteria.influence import sum_units
from quietmic.compression.finetune import finetune
from quietmic.compression.structure.groups import Group, Slot, Structure
from quietmic.compression.structure.rules import NORMS
from quietmic.models.networks.fold import fold_norms
from quietmic.models.networks.run import Example

SPARSE_L1 = 1e-5  # weight of the L1 norm of scales in sparse training (Liu and Lei 2022)
Result = tuple[Scores, tuple[str, ...]]


def weights_of(model: nn.Module, slots: list[Slot]) -> dict[str, Tensor]:
    """Weights that lie in some slots, by full name."""
    return {slot.name: model.get_parameter(slot.name).detach() for slot in slots}


def l1_of(group: Group, model: nn.Module) -> Tensor:
    """Sum of absolute weights that make each unit, [n_units]."""
    slots = group.makes()
    return sum_units(group, {name: w.abs() for name, w in weights_of(model, slots).items()}, slots)


def l1_scores(model: nn.Module, structure: Structure, inputs: Example) -> Scores:
    """Weight sums of all groups, batch norms folded first: what stands behind a filter scales it as its weights do."""
    folded = fold_norms(model, inputs)
    return {group.name: l1_of(group, folded) for group in structure.groups}


def l1(context: Context) -> Result:
    """Weight sum (Li et al. 2017): filters of small weights go."""
    return l1_scores(context.model, context.structure, context.costs.inputs), ()


def unit_vectors(group: Group, model: nn.Module) -> Tensor:
    """All weights that make a unit in one row, [n_units, n_weights]; a filter, or the four gates of an LSTM unit."""
    parts = []
    for slot in group.makes():
        rows = model.get_parameter(slot.name).detach().movedim(slot.axis, 0).flatten(1)
        position = group.position(slot)
        order = torch.argsort(position, stable=True)[int((position < 0).sum()) :]
        parts.append(rows[order].reshape(group.n_units, -1))
    return torch.cat(parts, 1)


def fpgm(context: Context) -> Result:
    """Distance of a filter to all others of its layer: the one nearest to the geometric median is most redundant
    (He et al. 2019)."""
    vectors = {group.name: unit_vectors(group, context.model) for group in context.structure.groups}
    return {name: torch.cdist(v, v).sum(1) for name, v in vectors.items()}, ()


def norm_scales(group: Group, model: nn.Module) -> list[Slot]:
    """Slots of the scales of norms that a group passes through."""
    return [
        slot for slot in group.slots
        if slot.role == "pass" and slot.parameter == "weight" and isinstance(model.get_submodule(slot.module), NORMS)
        and not isinstance(model.get_submodule(slot.module), nn.PReLU)
    ]  # fmt: skip


def sparse_training(context: Context) -> None:
    """Trains with an L1 norm on the scales of all norms, so that the scales of redundant units shrink (Liu 2017)."""
    groups, model = context.structure.groups, context.model
    names = {slot.name for group in groups for slot in norm_scales(group, model)}
    if not names:
        return
    finetune(
        model, context.task, context.steps, context.lr, "sparse training", context.progress,
        penalty=lambda m: SPARSE_L1 * torch.stack([m.get_parameter(name).abs().sum() for name in sorted(names)]).sum(),
    )  # fmt: skip


def sparsity_of(group: Group, model: nn.Module) -> Tensor:
    """S(n): share of a unit's weights whose magnitude is not below the layer's mean magnitude, [n_units]."""
    slots = group.makes()
    weights = weights_of(model, slots)
    large = {name: (w.abs() >= w.abs().mean()).float() for name, w in weights.items()}
    return sum_units(group, large, slots) / sum_units(group, {n: torch.ones_like(w) for n, w in weights.items()}, slots)


def _scale_of(group: Group, model: nn.Module) -> Tensor | None:
    slots = norm_scales(group, model)
    return sum_units(group, {n: w.abs() for n, w in weights_of(model, slots).items()}, slots) if slots else None


def gamma(context: Context) -> Result:
    """Scale of the norm after sparse training (network slimming, Liu et al. 2017)."""
    sparse_training(context)
    return _with_scales(context.structure, context.model, sparse=False)


def slimming_sparsity(context: Context) -> Result:
    """Scale of the norm times S(n) after sparse training (Liu and Lei 2022)."""
    sparse_training(context)
    return _with_scales(context.structure, context.model, sparse=True)


def _with_scales(structure: Structure, model: nn.Module, sparse: bool) -> Result:
    scores, without = {}, []
    for group in structure.groups:
        scale = _scale_of(group, model)
        if scale is None:
            without.append(group.name)
            vectors = l1_of(group, model)
            scores[group.name] = sparsity_of(group, model) * vectors / vectors.mean()
        else:
            scores[group.name] = scale * (sparsity_of(group, model) if sparse else 1.0)
    notes = (f"no norm, so S(n) times l1 (mean 1) instead: {', '.join(without)}",) if without else ()
    return scores, notes


def sparsity(context: Context) -> Result:
    """S(n) alone; ties, which are many in small filters, go by l1."""
    groups, model = context.structure.groups, context.model
    return {g.name: sparsity_of(g, model) + 1e-6 * l1_of(g, model) / l1_of(g, model).max() for g in groups}, ()


def random(context: Context) -> Result:
    """Scores drawn by the seed: what any criterion must beat."""
    generator = torch.Generator().manual_seed(context.seed)
    return {g.name: torch.rand(g.n_units, generator=generator) for g in context.structure.groups}, ()


def scratch(context: Context) -> Decision:
    """The widths that l1 would give, from fresh weights: the control that every paper on pruning needs."""
    scores, _ = l1(context)
    return Decision(context.allocate(scores), fresh=True)


def unstructured(context: Context) -> Decision:
    """Largest single weights of each tensor (Han et al. 2015): counts in storage, not in time.

    The same share of every tensor: one threshold for all would empty the layers whose weights are small.
    """
    model = context.model
    names = sorted({slot.name for group in context.structure.groups for slot in (*group.makes(), *group.reads())})
    weights = {name: model.get_parameter(name).detach() for name in names}
    whole = sum(p.numel() for p in model.parameters())
    everything, budget = context.costs.everything(), context.budget
    part = budget.value if budget.kind == "units" else 1 / context.costs.spent(budget, everything)
    n_free = sum(w.numel() for w in weights.values())
    share = (part * whole - (whole - n_free)) / n_free
    masks = {name: _largest(w.abs(), share) for name, w in weights.items()}
    notes = ("single weights are zero: smaller as a sparse file, not faster; the network keeps its widths",)
    return Decision(everything, notes=notes, masks=masks)


def _largest(magnitudes: Tensor, share: float) -> Tensor:
    """Ones where the largest are, a share of all of them and at least one; zeros elsewhere."""
    n_kept = min(max(int(share * magnitudes.numel()), 1), magnitudes.numel())
    threshold = magnitudes.flatten().kthvalue(magnitudes.numel() - n_kept + 1).values
    return (magnitudes >= threshold).float()
