"""Low rank: matrices replaced by the product of two thin ones, only where that saves multiplications."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.factor.factored import FactoredLstm, ReducedInputRnn
from quietmic.compression.factor.lowrank_conv import factor_conv, tucker2_macs
from quietmic.compression.factor.svd import rank_by_threshold, saves, svd_low_rank
from quietmic.compression.structure.rnn import replace
from quietmic.compression.structure.swap import owners
from quietmic.models.networks.run import Example, copied, evaluating, example, run

KINDS = (nn.Linear, nn.LSTM, nn.GRU, nn.Conv1d, nn.Conv2d)  # what can be factored


@dataclass(frozen=True)
class Factored:
    """What became of one layer."""

    name: str  # path of the layer
    method: str  # "svd", "input svd", "gates svd", "tucker-2", "spatial split"
    full_rank: int
    ranks: tuple[int, ...]  # one per factorised matrix; the full rank where it stays whole
    parameters: tuple[int, int]  # before, after


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def factor_linear(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Two linear layers, the bias on the second."""
    b, a = svd_low_rank(layer.weight, rank)
    return nn.Sequential(_linear(a, None), _linear(b, layer.bias))


def factor_rnn_input(rnn: nn.LSTM | nn.GRU, rank: int) -> ReducedInputRnn:
    """All gates' input weights as one matrix, its right factor in front of an ordinary layer."""
    b, a = svd_low_rank(rnn.weight_ih_l0, rank)
    result = ReducedInputRnn(rnn, rank)
    with torch.no_grad():
        result.reduce.weight.copy_(a)
        result.rnn.weight_ih_l0.copy_(b)
    return result


def gate_matrices(rnn: nn.LSTM) -> list[Tensor]:
    """The eight matrices of an LSTM layer: W_x of i, f, g, o, then W_h of i, f, g, o."""
    return [*rnn.weight_ih_l0.detach().chunk(4), *rnn.weight_hh_l0.detach().chunk(4)]


def factor_gates(rnn: nn.LSTM, ranks: list[int]) -> FactoredLstm:
    """Each of the eight matrices by itself, where its rank saves; the cell is written out (recipe `lstm-masks-svd`)."""

    def part(weight: Tensor, rank: int) -> nn.Module:
        if not saves(weight, rank):
            return _linear(weight, None)
        b, a = svd_low_rank(weight, rank)
        return nn.Sequential(_linear(a, None), _linear(b, None))

    matrices = gate_matrices(rnn)
    inputs = [part(weight, rank) for weight, rank in zip(matrices[:4], ranks[:4], strict=True)]
    recurrent: list[Any] = matrices[4:]
    if saves(matrices[4], max(ranks[4:])):  # one product of all gates a step: the widest rank decides
        recurrent = [svd_low_rank(weight, rank) for weight, rank in zip(matrices[4:], ranks[4:], strict=True)]
    bias = rnn.bias_ih_l0 + rnn.bias_hh_l0 if rnn.bias else torch.zeros(4 * rnn.hidden_size)
    return FactoredLstm(inputs, recurrent, bias, rnn.batch_first)


Ranks = dict[str, list[int]]  # layer -> ranks; what rebuilds a factored network


def choose_ranks(model: nn.Module, thresh: float, gates: bool = False, whole: Collection[str] = ()) -> Ranks:
    """Ranks of all layers where singular values below `thresh` times the largest are dropped, and that saves.

    Layers that share weights stay whole, and those of a class of their own that computes otherwise.

    Args:
        thresh: relative to the largest singular value of each matrix, 0..1.
        gates: LSTMs gate by gate, with the cell written out, in place of the input weights alone.
        whole: further layers that stay so, as `uncalled_layers`.
    """
    ranks: Ranks = {}
    shared = shared_layers(model)
    for path, module in model.named_modules():
        if path in shared or path in whole:  # two factors beside a matrix that somebody else still needs
            continue
        if not multiplies(module):
            continue
        if isinstance(module, nn.Linear):
            rank = rank_by_threshold(module.weight, thresh)
            if saves(module.weight, rank):
                ranks[path] = [rank]
        elif isinstance(module, nn.LSTM) and gates and _single(module):
            found = [rank_by_threshold(weight, thresh) for weight in gate_matrices(module)]
            if any(saves(w, r) for w, r in zip(gate_matrices(module), found, strict=True)):
                ranks[path] = found
        elif isinstance(module, (nn.LSTM, nn.GRU)) and _single(module):
            rank = rank_by_threshold(module.weight_ih_l0, thresh)
            if saves(module.weight_ih_l0, rank):
                ranks[path] = [rank]
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.groups == 1:
            conv_ranks = conv_ranks_by_threshold(module, thresh)
            if conv_ranks:
                ranks[path] = conv_ranks
    return ranks


def multiplies(module: nn.Module) -> bool:
    """Whether a layer does with its weights what PyTorch's own of its kind does: a subclass may standardise them first,
    or do anything else that two factors would not."""
    own: Any = type(module)
    return any(
        own.forward is kind.forward and getattr(own, "_conv_forward", None) is getattr(kind, "_conv_forward", None)
        for kind in KINDS if isinstance(module, kind)
    )  # fmt: skip


def uncalled_layers(model: nn.Module, inputs: Example) -> set[str]:
    """Layers that a forward pass does not call, by path: whoever reads their weights wants one matrix."""
    called: set[nn.Module] = set()
    handles = [module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in model.modules()]
    with torch.no_grad(), evaluating(model):
        run(model, example(inputs, model))
    for handle in handles:
        handle.remove()
    return {path for path, module in model.named_modules() if module not in called}


def shared_layers(model: nn.Module) -> set[str]:
    """Layers that share a parameter with another one, by path."""
    paths = {module: path for path, module in model.named_modules()}
    return {paths[module] for holders in owners(model).values() if len(holders) > 1 for module, _ in holders}


def conv_ranks_by_threshold(conv: nn.Conv1d | nn.Conv2d, thresh: float) -> list[int]:
    """Ranks of a convolution: [r] for 1 x 1, [r_in, r_out] for Tucker-2; empty where nothing is saved."""
    weight = conv.weight.detach()
    if weight[0, 0].numel() == 1:
        rank = rank_by_threshold(weight.flatten(1), thresh)
        return [rank] if saves(weight.flatten(1), rank) else []
    r_in = rank_by_threshold(weight.transpose(0, 1).flatten(1), thresh)
    r_out = rank_by_threshold(weight.flatten(1), thresh)
    return [r_in, r_out] if tucker2_macs(conv, r_in, r_out) < weight.numel() else []


def _single(rnn: nn.LSTM | nn.GRU) -> bool:
    return rnn.num_layers == 1 and not rnn.bidirectional and not getattr(rnn, "proj_size", 0)


def factor(model: nn.Module, ranks: Ranks) -> tuple[nn.Module, tuple[Factored, ...]]:
    """A copy of the network with layers factored at given ranks, and what became of each."""
    model = copied(model)
    rows = []
    for path, chosen in ranks.items():
        module = model.get_submodule(path)
        build, method, full = _plan(module, chosen)
        new = build()
        before = sum(p.numel() for p in module.parameters())
        rows.append(Factored(path, method, full, tuple(chosen), (before, sum(p.numel() for p in new.parameters()))))
        model = replace(model, path, new.train(module.training))
    return model, tuple(rows)


def _plan(module: nn.Module, ranks: list[int]) -> tuple[Callable[[], nn.Module], str, int]:
    """How a layer is factored: builder, name of the method, full rank."""
    if isinstance(module, nn.Linear):
        return lambda: factor_linear(module, ranks[0]), "svd", min(module.weight.shape)
    if isinstance(module, nn.LSTM) and len(ranks) == 8:
        return lambda: factor_gates(module, ranks), "gates svd", module.hidden_size
    if isinstance(module, (nn.LSTM, nn.GRU)):
        return lambda: factor_rnn_input(module, ranks[0]), "input svd", min(module.weight_ih_l0.shape)
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        full = min(module.weight.shape[:2])
        return lambda: factor_conv(module, ranks), "svd" if len(ranks) == 1 else "tucker-2", full
    raise ValueError(f"a layer of kind {type(module).__name__} has no matrix to factor")


def ranks_for_budget(
    model: nn.Module, cost: Callable[[nn.Module], float], budget: float, gates: bool = False,
    whole: Collection[str] = (), steps: int = 10,
) -> Ranks:  # fmt: skip
    """Ranks of the least common threshold at which the network costs at most `budget`, by bisection.

    Where even a threshold of 1 (rank one) costs more, the ranks of that are returned.
    """
    if cost(model) <= budget:
        return {}
    low, high = 0.0, 1.0
    for _ in range(steps):
        middle = (low + high) / 2
        ranks = choose_ranks(model, middle, gates, whole)
        low, high = (low, middle) if cost(factor(model, ranks)[0]) <= budget else (middle, high)
    return choose_ranks(model, high, gates, whole)
