"""Both networks: one code for files and streams, causal, the other microphones exchangeable, ONNX equal to torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from quietmic.enhance.card import ModelCard, StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.network import OnnxNetwork
from quietmic.models.export import check, count_macs, export, round_to_half
from quietmic.models.networks.fold import fold_norms
from quietmic.models.networks.inputs import example_inputs
from quietmic.models.networks.registry import build, load_network, save_network

SMALL: dict[str, dict[str, Any]] = {
    "tcn": {"encoder": (4, 6, 8), "width": 12, "n_units": 20, "dilations": (1, 2, 4)},
    "tcn, with memories": {
        "encoder": (4, 6, 8), "width": 12, "n_units": 20, "dilations": (1, 2, 4),
        "encoder_memories": (0, 8), "decoder_memories": (4, 0, 8),
    },
    "fullsubnet": {"full_units": 12, "sub_units": 10, "n_neighbours": 2, "n_pair_features": 3},
    "fullsubnet, a unit a frequency": {
        "full_units": 12, "sub_units": 10, "n_neighbours": 2, "n_pair_features": 3,
        "groups": ((1, 257),), "taps": (1,), "attention": False, "heard": 0.0, "masked": 0.0,
    },
}  # fmt: skip
FAMILIES = sorted(SMALL)


def make(family: str) -> nn.Module:
    """A small network in which nothing is zero, norms included, as after training."""
    torch.manual_seed(0)
    network = build(family.split(",")[0], **SMALL[family])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
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
    """Whatever weights read them: a change of what reads the array's features changes nothing."""
    noisy, _ = signals(1)
    network = make("fullsubnet")
    before = network(noisy, noisy[:, 0], network.initial_state())[0]
    for band in network.bands:
        band.sub[0].weight_ih_l0[:, -band.array.n_out :] += 1.0
    torch.testing.assert_close(network(noisy, noisy[:, 0], network.initial_state())[0], before, atol=1e-6, rtol=0)
    noisy, beam = signals(3)
    before = network(noisy, beam, network.initial_state())[0]
    for band in network.bands:
        band.sub[0].weight_ih_l0[:, -band.array.n_out :] += 1.0
    assert (network(noisy, beam, network.initial_state())[0] - before).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("family", [f for f in FAMILIES if f.startswith("fullsubnet")])
def test_chosen_units_equal_those_of_all(family: str) -> None:
    network = make(family)
    noisy, beam = signals(2)
    whole, presence, _ = network(noisy, beam, network.initial_state())
    units = network.draw_units(1 / 3, torch.Generator().manual_seed(0))
    assert [len(chosen) for chosen in units] == [round(number / 3) for _, number in network.config.groups]
    some, some_presence, _ = network(noisy, beam, network.initial_state(1, units), units)
    freqs = network.frequencies(units)
    torch.testing.assert_close(some, whole[:, freqs], atol=1e-6, rtol=0)
    torch.testing.assert_close(some_presence, presence[:, freqs], atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_unit_filters_frames_of_its_own_past() -> None:
    """Deep filtering by hand: with the weights of a filter zero, its bias alone says what each frame adds."""
    network = build("fullsubnet", **SMALL["fullsubnet"]).eval()
    for band in network.bands:
        band.out.weight.zero_()
        band.out.bias.zero_()
        newest_and_before = band.out.bias.view(band.taps + 1, 2, band.width)
        newest_and_before[0, 0], newest_and_before[-1, 0] = 0.5, 1.0  # of the reference, and of the beam's change
        if band.taps == 3:
            newest_and_before[2, 1] = 0.25  # times i, two frames back
    noisy, beam = signals(2)
    enhanced = torch.view_as_complex(network(noisy, beam, network.initial_state())[0].contiguous())
    reference, beam = (torch.view_as_complex(x.contiguous()) for x in (noisy[:, 0], beam))
    mean = (reference + beam) / 2
    expected = 0.5 * mean + beam - reference
    expected[:, :128, 2:] += 0.25j * mean[:, :128, :-2]
    expected[:, 256] = 0  # beyond the last unit
    torch.testing.assert_close(enhanced, expected, atol=1e-5, rtol=0)


def test_an_older_checkpoint_is_a_unit_a_frequency(tmp_path: Path) -> None:
    """FullSubNet was stored with other names before its units had widths."""
    network = make("fullsubnet, a unit a frequency")
    save_network(network, tmp_path / "network.pt")
    content = torch.load(tmp_path / "network.pt", weights_only=True)
    names = {"bands.0.sub.": "sub.", "bands.0.out": "sub_out", "bands.0.array.": "pairs."}
    for new, old in names.items():
        content["weights"] = {k.replace(new, old): v for k, v in content["weights"].items()}
    for later in ("groups", "taps", "attention", "heard", "masked"):
        del content["sizes"][later]
    torch.save(content, tmp_path / "older.pt")
    again, _ = load_network(tmp_path / "older.pt")
    noisy, beam = signals()
    with torch.no_grad():
        outputs = [n(noisy, beam, n.initial_state())[0] for n in (network, again)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_export_holds_and_tells_its_card(family: str, tmp_path: Path) -> None:
    network = make(family)
    path = export(network, make_card(family), tmp_path / "model.onnx")
    folded = fold_norms(network, example_inputs(network))
    errors = check(folded, path)
    assert max(errors.values()) < 1e-5
    card = OnnxNetwork(path).card
    assert card.parameters == sum(p.numel() for p in folded.parameters())
    assert card.macs_per_second == count_macs(network, StftConfig())


def test_export_refuses_a_graph_that_is_not_the_network(tmp_path: Path) -> None:
    path = export(make("tcn"), make_card("tcn"), tmp_path / "model.onnx")
    other = make("tcn")
    with torch.no_grad():
        other.decoder[0].conv.bias.add_(0.01)
    with pytest.raises(QuietmicError, match="differs"):
        check(fold_norms(other, example_inputs(other)), path)


def test_macs_of_fullsubnet_match_the_arithmetic() -> None:
    full = 4 * 12 * (257 + 12) + 4 * 12 * (12 + 12) + 12 * 257
    macs = full
    for width, number, taps in ((1, 32, 3), (4, 24, 3), (8, 16, 1)):
        n_mono = width + 2 * 2 + 3 * width  # magnitudes around, full-band output, complex spectra
        n_in = n_mono + 2 * width + 2 * 3  # the beam's change, the array twice
        unit = 4 * 10 * (n_in + 10) + 4 * 10 * (10 + 10) + 10 * 2 * (taps + 1) * width
        array = (3 * width + 1) * 3 + n_mono * 3  # the reference with itself, and the query
        macs += number * (unit + array)
    assert count_macs(make("fullsubnet"), StftConfig()) == pytest.approx(62.5 * macs, rel=1e-3)


def test_macs_of_a_unit_a_frequency_match_the_arithmetic() -> None:
    full = 4 * 12 * (257 + 12) + 4 * 12 * (12 + 12) + 12 * 257
    n_in = 5 + 1 + 2 + 2 + 3
    unit = 4 * 10 * (n_in + 10) + 4 * 10 * (10 + 10) + 10 * 4
    pairs = 4 * 3  # the reference with itself
    network = make("fullsubnet, a unit a frequency")
    assert count_macs(network, StftConfig()) == pytest.approx(62.5 * (full + 257 * (unit + pairs)), rel=1e-3)


def test_full_size_parameters() -> None:
    assert 5.8e6 < sum(p.numel() for p in build("tcn").parameters()) < 6.6e6
    assert 5.2e6 < sum(p.numel() for p in build("fullsubnet").parameters()) < 6.3e6


def test_half_precision_checkpoint_is_exact_after_rounding(tmp_path: Path) -> None:
    network = round_to_half(make("tcn"))
    save_network(network, tmp_path / "net.pt", {"steps": 3}, half=True)
    again, facts = load_network(tmp_path / "net.pt")
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert facts["steps"] == 3


def test_unknown_network_and_size_are_named() -> None:
    with pytest.raises(QuietmicError, match="tcn"):
        build("transformer")
    with pytest.raises(QuietmicError, match="depth"):
        build("tcn", depth=3)


def test_running_level_is_the_debiased_recursion() -> None:
    from quietmic.models.networks.blocks import RunningLevel

    power = np.random.default_rng(0).uniform(size=30).astype(np.float32)
    layer, mean, weight, wanted = RunningLevel(), 0.0, 0.0, []
    for value in power:
        mean = layer.decay * mean + (1 - layer.decay) * float(value)
        weight = layer.decay * weight + (1 - layer.decay)
        wanted.append(mean / weight)
    level, state = layer(torch.from_numpy(power[None]), torch.zeros(1, 2))
    np.testing.assert_allclose(level[0].numpy(), wanted, rtol=1e-4)
    np.testing.assert_allclose(state[0].numpy(), [mean, weight], rtol=1e-4)
