"""Plain recurrent modules that compression puts in place of `nn.LSTM`, `nn.GRU` and `nn.RNN`."""

from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quietmic.compression.structure.swap import owners
from quietmic.models.networks.count import RNNS

State: TypeAlias = Tensor | tuple[Tensor, ...]


class StackedRnn(nn.Module):
    """Several recurrent layers with widths of their own behind the interface of one `nn.LSTM`, `nn.GRU` or `nn.RNN`.

    The state keeps the shape [n_layers, B, hidden_size] of the module it replaces; hidden_size is the widest layer's,
    narrower layers use the first entries and leave zeros in the rest.
    """

    def __init__(self, layers: list[Any]) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList(layers)
        self.batch_first = layers[0].batch_first
        self.bidirectional = False

    @property
    def num_layers(self) -> int:
        """Number of layers, as `nn.LSTM` tells it."""
        return len(self.layers)

    @property
    def input_size(self) -> int:
        """Features that the first layer reads."""
        return self.layers[0].input_size

    @property
    def hidden_size(self) -> int:
        """Width of the state: that of the widest layer."""
        return max(layer.hidden_size for layer in self.layers)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x [B, T, n_in] (batch_first) or [T, B, n_in] -> outputs of the last layer, state."""
        width = self.hidden_size
        ends: list[tuple[Tensor, ...]] = []
        for index, layer in enumerate(self.layers):
            given = None
            if state is not None:
                parts = state if isinstance(state, tuple) else (state,)
                mine = tuple(part[index : index + 1, :, : layer.hidden_size].contiguous() for part in parts)
                given = mine if len(mine) == 2 else mine[0]
            x, end = layer(x, given)
            ends.append(end if isinstance(end, tuple) else (end,))
        merged = tuple(
            torch.cat([F.pad(end[k], (0, width - end[k].shape[-1])) for end in ends]) for k in range(len(ends[0]))
        )
        return x, merged if len(merged) == 2 else merged[0]


def replace(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Puts a module at a path of a network; returns the network (the module itself for the path "")."""
    if not path:
        return module
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
    return model


def split_layers(model: nn.Module) -> nn.Module:
    """Turns each `nn.LSTM`, `nn.GRU` or `nn.RNN` of several layers into a stack of single ones, in place.

    Layers of one module share one width; split, each can be cut to its own. Bidirectional modules, projections,
    dropout between layers and weights shared with other modules are left as they are.
    """
    shared = {id(module) for holders in owners(model).values() if len(holders) > 1 for module, _ in holders}
    for path, module in list(model.named_modules()):
        if not isinstance(module, RNNS) or module.num_layers == 1:
            continue
        if module.bidirectional or module.proj_size or module.dropout or id(module) in shared:
            continue
        layers: list[nn.Module] = []
        for index in range(module.num_layers):
            n_in = module.input_size if index == 0 else module.hidden_size
            settings = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
            layer = type(module)(n_in, module.hidden_size, bias=module.bias, batch_first=module.batch_first, **settings)
            layer = layer.to(module.weight_ih_l0)
            with torch.no_grad():
                for name, parameter in layer.named_parameters():
                    given = getattr(module, name.replace("_l0", f"_l{index}"))
                    parameter.copy_(given).requires_grad_(given.requires_grad)
            layers.append(layer)
        model = replace(model, path, StackedRnn(layers).train(module.training))
    return model
