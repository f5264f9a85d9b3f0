"""Low rank of convolutions: 1 x 1 by SVD, k x k by Tucker-2 or a split into a column and a row."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.compression.factor.svd import svd_low_rank


class FactoredConv(nn.Sequential):
    """Convolutions in a row that stand for one; it states the sizes of the one, which others may read."""

    def __init__(self, conv: Any, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.in_channels, self.out_channels, self.groups = conv.in_channels, conv.out_channels, 1
        self.kernel_size, self.stride = conv.kernel_size, conv.stride
        self.padding, self.dilation = conv.padding, conv.dilation


def _conv_like(conv: Any, weight: Tensor, bias: Tensor | None, **settings: Any) -> Any:
    """A convolution of the same dimension and kind of padding with given weights [n_out, n_in, *kernel]."""
    n_out, n_in, *kernel = weight.shape
    settings = {"bias": bias is not None, "padding_mode": conv.padding_mode, **settings}
    new = type(conv)(n_in, n_out, tuple(kernel), **settings).to(weight.device)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None:
            new.bias.copy_(bias)
    return new


def factor_pointwise(conv: Any, rank: int) -> FactoredConv:
    """A 1 x 1 convolution as two; the first takes stride and padding, the second the bias."""
    b, a = svd_low_rank(conv.weight.flatten(1), rank)
    ones = (1,) * len(conv.kernel_size)
    first = _conv_like(conv, a.view(*a.shape, *ones), None, stride=conv.stride, padding=conv.padding)
    return FactoredConv(conv, first, _conv_like(conv, b.view(*b.shape, *ones), conv.bias))


def tucker2_macs(conv: nn.Conv1d | nn.Conv2d, rank_in: int, rank_out: int) -> int:
    """Multiplications per output position, edges aside: the first layer runs where the stride has not thinned yet."""
    n_out, n_in = conv.weight.shape[:2]
    return math.prod(conv.stride) * rank_in * n_in + rank_in * rank_out * conv.weight[0, 0].numel() + rank_out * n_out


def factor_tucker2(conv: Any, rank_in: int, rank_out: int) -> FactoredConv:
    """1 x 1 down to `rank_in` channels, the small k x k core, 1 x 1 up from `rank_out` (Kim et al. 2016).

    The factors are the leading left singular vectors of the unfoldings along inputs and outputs (HOSVD); the core is
    the kernel projected onto them.
    """
    weight = conv.weight.detach()
    u_in = torch.linalg.svd(weight.transpose(0, 1).flatten(1), full_matrices=False)[0][:, :rank_in]
    u_out = torch.linalg.svd(weight.flatten(1), full_matrices=False)[0][:, :rank_out]
    core = torch.einsum("oi...,or,is->rs...", weight, u_out, u_in)
    ones = (1,) * len(conv.kernel_size)
    return FactoredConv(
        conv,
        _conv_like(conv, u_in.T.reshape(rank_in, -1, *ones), None),
        _conv_like(conv, core, None, stride=conv.stride, padding=conv.padding, dilation=conv.dilation),
        _conv_like(conv, u_out.reshape(-1, rank_out, *ones), conv.bias),
    )


def factor_spatial(conv: nn.Conv2d, rank: int) -> FactoredConv:
    """A k x l convolution as k x 1 into `rank` channels, then 1 x l (Jaderberg et al. 2014; Tai et al. 2016).

    The kernel as a matrix [n_in * k, n_out * l] has the rank of its best such split, by SVD.
    """
    weight = conv.weight.detach()
    n_out, n_in, height, width = weight.shape
    b, a = svd_low_rank(weight.permute(1, 2, 0, 3).reshape(n_in * height, n_out * width), rank)
    column = b.T.reshape(rank, n_in, height, 1)
    row = a.reshape(rank, n_out, 1, width).transpose(0, 1)
    (s0, s1), (p0, p1), (d0, d1) = conv.stride, conv.padding, conv.dilation
    return FactoredConv(
        conv,
        _conv_like(conv, column, None, stride=(s0, 1), padding=(p0, 0), dilation=(d0, 1)),
        _conv_like(conv, row, conv.bias, stride=(1, s1), padding=(0, p1), dilation=(1, d1)),
    )


def factor_conv(conv: nn.Conv1d | nn.Conv2d, ranks: list[int]) -> nn.Module:
    """SVD for 1 x 1. For k x k, whichever of Tucker-2 and the split errs less at no more parameters and MACs."""
    if conv.weight[0, 0].numel() == 1:
        return factor_pointwise(conv, ranks[0])
    tucker = factor_tucker2(conv, ranks[0], ranks[1])
    if not isinstance(conv, nn.Conv2d) or isinstance(conv.padding, str):
        return tucker
    n_out, n_in, height, width = conv.weight.shape
    size = sum(p.numel() for n, p in tucker.named_parameters() if n.endswith("weight"))
    macs = tucker2_macs(conv, ranks[0], ranks[1])
    rank = min(
        size // (n_in * height + n_out * width), macs // (conv.stride[1] * n_in * height + n_out * width),
        n_in * height, n_out * width,
    )  # fmt: skip
    if rank < 1 or min(height, width) == 1:
        return tucker
    split = factor_spatial(conv, rank)
    return split if _error(conv, split) < _error(conv, tucker) else tucker


def _error(conv: nn.Conv2d, factored: FactoredConv) -> float:
    """Squared error of the kernel that a product of convolutions stands for."""
    weights = [layer.weight.detach() for layer in factored]
    if len(weights) == 3:
        kernel = torch.einsum("or,rs...,si->oi...", weights[2].flatten(1), weights[1], weights[0].flatten(1))
    else:
        kernel = torch.einsum("rih,orw->oihw", weights[0].squeeze(3), weights[1].squeeze(2))
    return float((kernel - conv.weight.detach()).square().sum())
