"""Both networks: one code for files and streams, causal, the other microphones exchangeable, ONNX equal to torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from enhance.config import ModelCard, StftConfig
from enhance.errors import UserError
from enhance.network import OnnxNetwork
from models.export import check, count_macs, count_parameters, export, fold_norms, round_to_half
from models.registry import build, load_network, save_network

SMALL: dict[str, dict[str, Any]] = {
    "tcn": {"encoder": (4, 6, 8), "width": 12, "n_units": 20, "dilations": (1, 2, 4)},
    "tcn-bands": {
        "first": 6,
        "n_bands": 9,
        "width": 10,
        "n_units": 14,
        "kernel": 3,
        "dilations": (1, 2, 4),
        "filter_taps": 3,
    },
    "fullsubnet": {"full_units": 12, "sub_units": 10, "n_neighbours": 2, "n_pair_features": 3},
}
FAMILIES = sorted(SMALL)


def make(family: str) -> nn.Module:
    """A small network in which nothing is zero, norms included, as after training."""
    torch.manual_seed(0)
    network = build(family, **SMALL[family])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return network.eval()


def signals(n_mics: int = 3, n_frames: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, n_mics, 257, n_frames, 2, generator=generator)
    return noisy, noisy.mean(dim=1)


def make_card(name: str) -> ModelCard:
    return ModelCard(name, StftConfig(), 8, 0, None, None, None, 0, 0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_frame_by_frame_equals_one_call(family: str) -> None:
    network = make(family)
    noisy, beam = signals()
    whole = network(noisy, beam, network.initial_state())[0]
    state, parts = network.initial_state(), []
    for t in range(noisy.shape[3]):
        part, _, state = network(noisy[:, :, :, t : t + 1], beam[:, :, t : t + 1], state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_future_does_not_move_the_past(family: str) -> None:
    network = make(family)
    noisy, beam = signals()
    whole = network(noisy, beam, network.initial_state())[0]
    other, other_beam = noisy.clone(), beam.clone()
    other[:, :, :, 7:], other_beam[:, :, 7:] = 5.0, -5.0
    changed = network(other, other_beam, network.initial_state())[0]
    torch.testing.assert_close(changed[:, :, :7], whole[:, :, :7], atol=1e-6, rtol=0)
    assert (changed[:, :, 7:] - whole[:, :, 7:]).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_order_of_the_other_microphones_changes_nothing(family: str) -> None:
    network = make(family)
    noisy, beam = signals(4)
    whole = network(noisy, beam, network.initial_state())[0]
    shuffled = network(noisy[:, [0, 3, 1, 2]], beam, network.initial_state())[0]
    torch.testing.assert_close(shuffled, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_level_does_not_change_the_mask(family: str) -> None:
    network = make(family)
    noisy, beam = signals()
    whole = network(noisy, beam, network.initial_state())[0]
    loud = network(100 * noisy, 100 * beam, network.initial_state())[0]
    torch.testing.assert_close(loud / 100, whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_silence_stays_silent(family: str) -> None:
    network = make(family)
    silence = torch.zeros(1, 2, 257, 5, 2)
    enhanced, presence, _ = network(silence, silence[:, 0], network.initial_state())
    assert enhanced.abs().max() == 0
    assert presence.isfinite().all()


@torch.no_grad()
def test_the_tcn_masks_the_mean_by_what_it_hears_in_more_of_the_beam() -> None:
    network = make("tcn")
    noisy, beam = signals()
    enhanced = torch.view_as_complex(network(noisy, beam, network.initial_state())[0].contiguous())
    heard = 0.3 * noisy[:, 0] + 0.7 * beam
    alone = network(heard[:, None], heard, network.initial_state())[0]
    mask = torch.view_as_complex(alone.contiguous()) / torch.view_as_complex(heard)
    expected = mask * torch.view_as_complex((noisy[:, 0] + beam) / 2)
    torch.testing.assert_close(enhanced, expected, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_one_microphone_has_no_pair_features() -> None:
    noisy, _ = signals(1)
    assert make("fullsubnet").pairs(noisy, torch.linspace(0, 1, 257)).abs().max() == 0


@torch.no_grad()
def test_chosen_bands_equal_those_of_all_bands() -> None:
    network = make("fullsubnet")
    noisy, beam = signals(2)
    whole = network(noisy, beam, network.initial_state())[0]
    bands = torch.tensor([0, 5, 100, 256])
    some = network(noisy, beam, network.initial_state(1, n_bands=4), bands=bands)[0]
    torch.testing.assert_close(some, whole[:, bands], atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_export_holds_and_tells_its_card(family: str, tmp_path: Path) -> None:
    network = make(family)
    path = export(network, make_card(family), tmp_path / "model.onnx")
    errors = check(fold_norms(network), path)
    assert max(errors.values()) < 1e-5
    card = OnnxNetwork(path).card
    assert card.parameters == count_parameters(fold_norms(network))
    assert card.macs_per_second == count_macs(network, StftConfig())


def test_export_refuses_a_graph_that_is_not_the_network(tmp_path: Path) -> None:
    path = export(make("tcn"), make_card("tcn"), tmp_path / "model.onnx")
    other = make("tcn")
    with torch.no_grad():
        other.decoder[0].conv.bias.add_(0.01)
    with pytest.raises(UserError, match="differs"):
        check(fold_norms(other), path)


def test_macs_of_fullsubnet_match_the_arithmetic() -> None:
    network = make("fullsubnet")
    full = 4 * 12 * (257 + 12) + 4 * 12 * (12 + 12) + 12 * 257
    n_in = 5 + 1 + 2 + 2 + 3
    unit = 4 * 10 * (n_in + 10) + 4 * 10 * (10 + 10) + 10 * 4
    pairs = 4 * 3  # the reference with itself
    assert count_macs(network, StftConfig()) == pytest.approx(62.5 * (full + 257 * (unit + pairs)), rel=1e-3)


def test_macs_of_the_band_shared_tcn_match_the_arithmetic() -> None:
    network = make("tcn-bands")
    first, bands, width, units, maps, positions, kernel = 6, 9, 10, 14, 2, 65, 3
    encoder = positions * first * (3 * 9 * 2 + first * 3)
    to_bands = maps * bands * positions * first + bands * maps * first * width
    block = bands * (kernel * width + maps * bands * width + maps * width * units + units * width)
    from_bands = bands * width * first + maps * positions * bands * first + positions * (maps + 1) * first * first
    heads = positions * first * 8 + 33 * first * 16
    wanted = 62.5 * (encoder + to_bands + 3 * block + from_bands + heads)
    assert count_macs(network, StftConfig()) == pytest.approx(wanted, rel=1e-3)


@torch.no_grad()
def test_filter_taps_reach_the_frames_before_at_the_lower_bins() -> None:
    network = make("tcn-bands")
    for head, tap in ((network.head, [0.0, 0.0]), (network.past_head, [0.0, 1.0, 0.0, 0.0])):
        head.weight.zero_()
        head.bias.copy_(torch.tensor(tap).repeat(4))
    noisy, _ = signals(1)
    enhanced, presence, _ = network(noisy, noisy[:, 0], network.initial_state())
    turned = torch.stack([-noisy[:, 0, :, :, 1], noisy[:, 0, :, :, 0]], dim=-1)  # i times
    torch.testing.assert_close(enhanced[:, :130, 2:], turned[:, :130, :-2])
    assert enhanced[:, :130, :2].abs().max() == enhanced[:, 130:].abs().max() == presence[:, 130:].max() == 0


def test_full_size_parameters() -> None:
    assert 5.8e6 < count_parameters(build("tcn")) < 6.6e6
    assert count_parameters(build("tcn-bands")) < 6.3e6
    assert 5.6e6 < count_parameters(build("fullsubnet")) < 6.3e6


def test_half_precision_checkpoint_is_exact_after_rounding(tmp_path: Path) -> None:
    network = round_to_half(make("tcn"))
    save_network(network, tmp_path / "net.pt", {"steps": 3}, half=True)
    again, facts = load_network(tmp_path / "net.pt")
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert facts["steps"] == 3


def test_unknown_network_and_size_are_named() -> None:
    with pytest.raises(UserError, match="tcn"):
        build("transformer")
    with pytest.raises(UserError, match="depth"):
        build("tcn", depth=3)


def test_running_level_is_the_debiased_recursion() -> None:
    from models.blocks import RunningLevel

    power = np.random.default_rng(0).uniform(size=30).astype(np.float32)
    layer, mean, weight, wanted = RunningLevel(), 0.0, 0.0, []
    for value in power:
        mean = layer.decay * mean + (1 - layer.decay) * float(value)
        weight = layer.decay * weight + (1 - layer.decay)
        wanted.append(mean / weight)
    level, state = layer(torch.from_numpy(power[None]), torch.zeros(1, 2))
    np.testing.assert_allclose(level[0].numpy(), wanted, rtol=1e-4)
    np.testing.assert_allclose(state[0].numpy(), [mean, weight], rtol=1e-4)
