"""Low-rank factors: exact at full rank, best at lower ones, only where they save."""

import pytest
import torch
from nets.lm import LanguageModel
from nets.odd import Chain
from nets.vgg import Vgg
from torch import nn

from quietmic.compression.factor.factored import FactoredLstm, ReducedInputRnn
from quietmic.compression.factor.lowrank import (
    choose_ranks,
    conv_ranks_by_threshold,
    factor,
    factor_gates,
    factor_linear,
    factor_rnn_input,
    ranks_for_budget,
    uncalled_layers,
)
from quietmic.compression.factor.lowrank_conv import factor_conv, factor_pointwise, factor_spatial, factor_tucker2
from quietmic.compression.factor.svd import rank_by_threshold, saves, svd_low_rank
from quietmic.compression.structure.rnn import split_layers
from quietmic.models.networks.count import count


def test_svd_error_is_that_of_eckart_and_young():
    weight = torch.randn(9, 7, generator=torch.Generator().manual_seed(0)).double()
    b, a = svd_low_rank(weight, 3)
    assert b.shape == (9, 3)
    assert a.shape == (3, 7)
    dropped = torch.linalg.svdvals(weight)[3:].square().sum()
    assert torch.allclose((weight - b @ a).square().sum(), dropped)
    with pytest.raises(ValueError, match=r"rank 8 outside 1 \.\. 7"):
        svd_low_rank(weight, 8)


def test_threshold_is_relative_to_the_largest_singular_value():
    weight = torch.diag(torch.tensor([10.0, 5.0, 1.0, 0.1]))
    assert [rank_by_threshold(weight, t) for t in (0.6, 0.5, 0.1, 0.001)] == [1, 2, 3, 4]
    assert saves(torch.zeros(10, 10), 4)
    assert not saves(torch.zeros(10, 10), 5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_input_at_full_rank_changes_nothing(kind):
    torch.manual_seed(0)
    rnn, x = kind(6, 8), torch.randn(5, 2, 6)
    assert torch.allclose(factor_rnn_input(rnn, 6)(x)[0], rnn(x)[0], atol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
def test_written_out_lstm_at_full_rank_changes_nothing(batch_first):
    torch.manual_seed(0)
    rnn, x = nn.LSTM(6, 8, batch_first=batch_first), torch.randn(5, 5, 6)
    state = (torch.randn(1, 5, 8), torch.randn(1, 5, 8))
    for given in (None, state):
        expected, (h, c) = rnn(x, given)
        actual, (h2, c2) = factor_gates(rnn, [6] * 4 + [8] * 4)(x, given)
        assert torch.allclose(actual, expected, atol=1e-6)
        assert torch.allclose(h2, h, atol=1e-6)
        assert torch.allclose(c2, c, atol=1e-6)


def test_convolutions_at_full_rank_change_nothing():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 9)
    conv = nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2))
    assert torch.allclose(factor_tucker2(conv, 4, 6)(x), conv(x), atol=1e-5)
    assert torch.allclose(factor_spatial(conv, 12)(x), conv(x), atol=1e-5)
    point = nn.Conv1d(4, 6, 1, stride=2)
    assert torch.allclose(factor_pointwise(point, 4)(x[..., 0]), point(x[..., 0]), atol=1e-5)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_padding_keeps_its_kind(mode):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 6, 3, padding=1, padding_mode=mode), torch.randn(2, 4, 9, 9)
    for factored in (factor_tucker2(conv, 4, 6), factor_spatial(conv, 12)):
        assert torch.allclose(factored(x), conv(x), atol=1e-5)


def test_a_stride_makes_the_first_factor_dear():
    """Fewer parameters, but the first 1 x 1 layer runs at all positions, four times as many as the stride leaves."""
    torch.manual_seed(0)
    plain, strided = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, 2, padding=1)
    strided.load_state_dict(plain.state_dict())
    x = torch.randn(1, 16, 16, 16)
    thresh = next(t / 100 for t in range(100) if conv_ranks_by_threshold(plain, t / 100))
    assert conv_ranks_by_threshold(strided, thresh) == []
    for conv in (plain, strided):
        ranks = conv_ranks_by_threshold(conv, 0.95)
        assert count(factor_conv(conv, ranks), (x,)).macs < count(conv, (x,)).macs


def test_a_separable_kernel_is_split_in_space():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, padding=1)
    column, row = torch.randn(2, 8, 3), torch.randn(8, 2, 3)
    conv.weight.data = torch.einsum("rih,orw->oihw", column, row)
    factored = factor_conv(conv, [3, 3])
    assert len(factored) == 2
    x = torch.randn(1, 8, 6, 6)
    assert torch.allclose(factored(x), conv(x), atol=1e-4)


def low_rank_lm():
    """A language model whose matrices have rank 4."""
    torch.manual_seed(0)
    model = split_layers(LanguageModel(40, 32, 48))
    for parameter in model.parameters():
        if parameter.dim() == 2:
            b, a = svd_low_rank(parameter, 4)
            parameter.data = b @ a
    return model


@pytest.mark.parametrize("gates", [False, True])
def test_factoring_what_is_of_low_rank_changes_nothing(gates):
    model, symbols = low_rank_lm(), torch.arange(12).view(2, 6)
    ranks = choose_ranks(model, 1e-3, gates)
    smaller, rows = factor(model, ranks)
    assert {row.name for row in rows} == {"rnn.layers.0", "rnn.layers.1", "decoder"}
    assert isinstance(smaller.rnn.layers[0], FactoredLstm if gates else ReducedInputRnn)
    assert torch.allclose(smaller(symbols)[0], model(symbols)[0], atol=1e-5)
    assert count(smaller, (symbols,)).macs < (0.5 if gates else 0.75) * count(model, (symbols,)).macs
    assert all(row.parameters[1] < row.parameters[0] for row in rows)


def test_budget_of_ranks_is_met():
    torch.manual_seed(0)
    model = Vgg((16, "M", 32, "M", 32, "M", "M", "M"))

    def cost(network):
        return sum(p.numel() for p in network.parameters())

    smaller, _ = factor(model, ranks_for_budget(model, cost, 0.6 * cost(model)))
    assert 0.4 * cost(model) < cost(smaller) <= 0.6 * cost(model)
    assert smaller(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    assert ranks_for_budget(model, cost, cost(model)) == {}


def test_linear_layer_keeps_its_bias():
    layer = nn.Linear(5, 7)
    factored = factor_linear(layer, 5)
    x = torch.randn(3, 5)
    assert factored[0].bias is None
    assert torch.allclose(factored(x), layer(x), atol=1e-6)


class Standardised(nn.Conv1d):
    """A convolution that works on its weights first."""

    def forward(self, x):
        return nn.functional.conv1d(x, self.weight / self.weight.std((1, 2), keepdim=True), self.bias)


def test_only_layers_that_multiply_by_their_weights_are_factored():
    """A standardised convolution became two, each standardised by itself: other outputs, without a word. Attention and
    prototypes that are compared with features read the matrix of a layer, which was gone."""
    model = nn.Sequential(Standardised(16, 16, 1), nn.Conv1d(16, 16, 1))
    assert choose_ranks(model, 0.9).keys() == {"1"}
    x = torch.randn(2, 5, 16)
    prototypes = Chain(
        lambda net, x: nn.functional.linear(net.a(x), nn.functional.normalize(net.p.weight)),
        a=nn.Linear(16, 16), p=nn.Linear(16, 16),
    )  # fmt: skip
    assert choose_ranks(prototypes, 0.9, whole=uncalled_layers(prototypes, x)).keys() == {"a"}
    attention = Chain(lambda net, x: net.a(*[net.q(x)] * 3)[0], a=nn.MultiheadAttention(16, 2), q=nn.Linear(16, 16))
    assert choose_ranks(attention, 0.9, whole=uncalled_layers(attention, x)).keys() == {"q"}
