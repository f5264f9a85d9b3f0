"""Batch norms of any network folded into the convolutions in front of them, found by what flows where."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from quietmic.models.networks.count import CONVOLUTIONS, TRANSPOSED
from quietmic.models.networks.run import Example, copied, evaluating, example, run

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d)


class _Readers(TorchDispatchMode):
    """Who reads the outputs of convolutions: norms by path, "" for everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[str, Tensor]] = {}  # by id; the tensor is kept, or its id would be used again
        self.readers: defaultdict[str, set[str]] = defaultdict(set)  # of each convolution
        self.sources: defaultdict[str, set[str]] = defaultdict(set)  # of each norm
        self.inside = False  # a norm, whose hook has told already

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the compiler is imported, which takes longer than most networks

    def read(self, values: Any, reader: str) -> None:
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                conv, _ = self.made.get(id(value), ("", value))
                self.readers[conv].add(reader)
                self.sources[reader].add(conv)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if not self.inside:
            self.read((args, kwargs), "")
        return func(*args, **(kwargs or {}))


def norm_pairs(model: nn.Module, inputs: Example) -> dict[str, str]:
    """Convolution -> batch norm that takes its output, by path; neither has to do with anything else."""
    paths = {module: path for path, module in model.named_modules()}
    found = _Readers()

    def output(module: nn.Module, args: tuple, value: Tensor) -> None:
        found.made[id(value)] = paths[module], value

    def taken(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        found.read((args, kwargs), paths[module])
        found.inside = True

    def given(module: nn.Module, args: tuple, value: Tensor) -> None:
        found.inside = False

    handles: list[Any] = []
    for module in model.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
            handles.append(module.register_forward_hook(output))
        elif isinstance(module, BATCH_NORMS) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(taken, with_kwargs=True))
            handles.append(module.register_forward_hook(given))
    with torch.no_grad(), evaluating(model), found:
        found.read(run(model, example(inputs, model)), "")
    for handle in handles:
        handle.remove()
    readers = ((conv, found.readers[conv]) for conv in dict.fromkeys(conv for conv, _ in found.made.values()))
    pairs = {conv: next(iter(norms)) for conv, norms in readers if len(norms) == 1}
    return {conv: norm for conv, norm in pairs.items() if norm and found.sources[norm] == {conv}}


def fold_norms(model: nn.Module, inputs: Example, convolutions: set[str] | None = None) -> nn.Module:
    """A copy with batch norms folded into the convolutions before them; its output in evaluation mode is the same.

    Args:
        model: any network; left as it is.
        inputs: arguments of `model.forward`, in any form of `run.example`.
        convolutions: paths of those into which to fold; None = all.
    """
    model = copied(model)
    for conv, norm in norm_pairs(model, inputs).items():
        if convolutions is None or conv in convolutions:
            module = model.get_submodule(conv)
            training, before = module.training, model.get_submodule(norm).eval()
            fused = fuse_conv_bn_eval(module.eval(), before, transpose=isinstance(module, TRANSPOSED))
            _exchange(model, module, fused.train(training))
            _exchange(model, before, nn.Identity())
    return model


def _exchange(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts a layer in another's place, under every name that it has."""
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            model.set_submodule(path, new)
