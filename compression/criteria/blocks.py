"""Whole residual blocks as units: the one whose removal costs least may go."""

from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.rnn import replace
from quietmic.compression.task import Task
from quietmic.models.networks.run import Example, copied, evaluating, example, run


class Skip(nn.Module):
    """What is left of a residual block: its input, and its state untouched."""

    def __init__(self, returns_state: bool) -> None:
        super().__init__()
        self.returns_state = returns_state

    def initial_state(self, batch: int = 1, *sizes: int) -> Tensor:
        """A state of one number, for networks that gather the states of their blocks."""
        return torch.zeros(batch, 1, 1)

    def forward(self, x: Tensor, *rest: Any) -> Any:
        return (x, *rest[:1]) if self.returns_state else x


def without_block(model: nn.Module, path: str, inputs: Example) -> nn.Module:
    """A copy of the network with one residual block skipped."""
    returned: list[bool] = []
    block = model.get_submodule(path)
    handle = block.register_forward_hook(lambda module, args, output: returned.append(isinstance(output, tuple)))
    with torch.no_grad(), evaluating(model):
        run(model, example(inputs, model))
    handle.remove()
    return replace(copied(model), path, Skip(returned[0]))


def remove_blocks(
    model: nn.Module, example_inputs: Example, task: Task, n_blocks: int
) -> tuple[nn.Module, tuple[str, ...]]:
    """Takes out residual blocks one by one, each time the one that raises the loss least per parameter it frees.

    Returns:
        The smaller network and the paths of what went; fewer than asked for where fewer can go.
    """
    gone: list[str] = []
    for _ in range(n_blocks):
        candidates = find_groups(model, example_inputs).residual_blocks
        start = task.mean_loss(model)
        best: tuple[float, str, nn.Module] | None = None
        for path in candidates:
            smaller = without_block(model, path, example_inputs)
            freed = sum(p.numel() for p in model.get_submodule(path).parameters())
            price = (task.mean_loss(smaller) - start) / freed
            if best is None or price < best[0]:
                best = price, path, smaller
        if best is None:
            break
        gone.append(best[1])
        model = best[2]
    return model, tuple(gone)
