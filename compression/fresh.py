"""A cut network with fresh weights: the control that tells what the parent's weights were worth."""

from collections.abc import Callable, Sequence

from torch import nn

from quietmic.compression.criteria.blocks import without_block
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.plain import plain_weights
from quietmic.compression.structure.rnn import split_layers
from quietmic.compression.structure.surgery import Kept, cut
from quietmic.models.networks.run import Example


def drawn_anew(
    model: nn.Module, build: Callable[[], nn.Module] | None, gone: Sequence[str], kept: Sequence[Kept],
    example_inputs: Example,
) -> nn.Module:  # fmt: skip
    """The network with the weights that a new one of its widths starts from.

    Args:
        model: the cut network; without `build` its layers draw their own defaults, in place.
        build: makes the parent with the weights that its training started from.
        gone: residual blocks that were taken out of it.
        kept: its cuts, in their order.
    """
    if build is None:
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return model
    fresh = split_layers(plain_weights(build()))
    for path in gone:
        fresh = without_block(fresh, path, example_inputs)
    for units in kept:
        fresh = cut(fresh, find_groups(fresh, example_inputs), units)
    return fresh
