"""Layers that stand where a matrix was replaced by the product of two."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quietmic.compression.structure.rnn import State


class ReducedInputRnn(nn.Module):
    """An ordinary LSTM or GRU behind a matrix: W_x = U V, the MatMul V in front, U as the layer's input weights.

    Every runtime runs it, and its recurrent part stays one fused operator.
    """

    def __init__(self, rnn: nn.LSTM | nn.GRU, rank: int) -> None:
        """Takes over all but the input weights, which the caller fills.

        Args:
            rnn: one layer, one direction; its recurrent weights and biases are taken over.
            rank: columns of U, filled by the caller with `rnn.weight_ih_l0` in mind.
        """
        super().__init__()
        self.reduce = nn.Linear(rnn.input_size, rank, bias=False)
        self.rnn = type(rnn)(rank, rnn.hidden_size, bias=rnn.bias, batch_first=rnn.batch_first)
        with torch.no_grad():
            for name, parameter in self.rnn.named_parameters():
                if name != "weight_ih_l0":
                    parameter.copy_(getattr(rnn, name))

    @property
    def hidden_size(self) -> int:
        return self.rnn.hidden_size

    @property
    def input_size(self) -> int:
        return self.reduce.in_features

    @property
    def batch_first(self) -> bool:
        return self.rnn.batch_first

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self.rnn(self.reduce(x), state)


def _cell(drive: Tensor, down: Tensor, up: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Steps of an LSTM whose recurrent matrices are products: drive [T, 4, B, H], down [4, H, k], up [4, k, H]."""
    outputs: list[Tensor] = []
    for t in range(drive.shape[0]):
        a = drive[t] + torch.matmul(torch.matmul(h.unsqueeze(0), down), up)
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        h = torch.sigmoid(a[3]) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), h, c


def _whole_cell(drive: Tensor, weight: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same with whole recurrent matrices: weight [4, H, H]."""
    outputs: list[Tensor] = []
    for t in range(drive.shape[0]):
        a = drive[t] + torch.matmul(h.unsqueeze(0), weight)
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        h = torch.sigmoid(a[3]) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), h, c


@functools.cache
def _scripted(cell: Callable) -> Callable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is what keeps the loop in a traced ONNX graph
        return torch.jit.script(cell)


class FactoredLstm(nn.Module):
    """An LSTM layer with its cell written out, so that each of its eight matrices can be a product of two.

    c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c'), gates in the order i, f, g, o, each the sum of an
    input part, a recurrent part and a bias. Under a tracing exporter the loop over time stays a loop.
    """

    def __init__(self, inputs: list[nn.Module], recurrent: list[Any], bias: Tensor, batch_first: bool) -> None:
        """Builds the cell from its eight matrices or their factors.

        Args:
            inputs: four maps [.., n_in] -> [.., n_hidden] without bias.
            recurrent: of each gate its matrix [n_hidden, n_hidden], or of each its factors [n_hidden, k] and
                [k, n_hidden]; ranks may differ.
            bias: [4 * n_hidden], the sum of both biases of `nn.LSTM`.
        """
        super().__init__()
        self.inputs = nn.ModuleList(inputs)
        self.is_factored = isinstance(recurrent[0], tuple)
        parts: list[Any] = recurrent if self.is_factored else [(weight,) for weight in recurrent]
        self.ups = nn.ParameterList(nn.Parameter(part[0].detach().clone()) for part in parts)
        self.downs = nn.ParameterList(nn.Parameter(part[1].detach().clone()) for part in parts if len(part) > 1)
        self.bias = nn.Parameter(bias.detach().clone())
        self.batch_first = batch_first
        self.hidden_size = len(bias) // 4

    def own_macs(self, x: Tensor) -> int:
        """Multiply-accumulates of the recurrent matrices over x [T, B, n_in] (the input maps count alone)."""
        return x.shape[0] * x.shape[1] * sum(part.numel() for part in (*self.ups, *self.downs))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [T, B, n_in] (or [B, T, n_in] with batch_first), state ([1, B, H], [1, B, H]) -> as nn.LSTM."""
        if self.batch_first:
            x = x.transpose(0, 1)
        bias = self.bias.view(4, 1, -1)
        drive = torch.stack([layer(x) for layer in self.inputs], 1) + bias  # [T, 4, B, H]
        if state is None:
            h = c = x.new_zeros(x.shape[1], self.hidden_size)
        else:
            h, c = state[0][0], state[1][0]
        exporting = torch.jit.is_tracing()
        if self.is_factored:
            width = max(len(down) for down in self.downs)
            down = torch.stack([F.pad(part.T, (0, width - len(part))) for part in self.downs])
            up = torch.stack([F.pad(part.T, (0, 0, 0, width - part.shape[1])) for part in self.ups])
            y, h, c = (_scripted(_cell) if exporting else _cell)(drive, down, up, h, c)
        else:
            weight = torch.stack([part.T for part in self.ups])
            y, h, c = (_scripted(_whole_cell) if exporting else _whole_cell)(drive, weight, h, c)
        return (y.transpose(0, 1) if self.batch_first else y), (h.unsqueeze(0), c.unsqueeze(0))
