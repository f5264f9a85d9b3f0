"""What bands hold of their past: the means, memories given to a trained network, and what compression makes of them."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import make_data, make_source
from test_networks import make, make_card, signals

from quietmic.compression import Budget, Recipe, compress
from quietmic.compression.criteria.blocks import without_block
from quietmic.compression.recipe import FineTune, LowRank, Prune
from quietmic.enhance.errors import QuietmicError
from quietmic.models.export import export
from quietmic.models.mixtures.mixing import stack_scenes
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.networks.blocks import BandMemory
from quietmic.models.networks.count import count
from quietmic.models.networks.inputs import example_inputs
from quietmic.models.networks.registry import build, load_network, save_network
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.train import open_start
from quietmic.models.training.trainer import Trainer

BEFORE: dict[str, Any] = {"encoder": (4, 6, 8), "width": 12, "n_units": 20, "dilations": (1, 2, 4)}
CONFIG = TrainConfig(
    sizes=BEFORE | {"encoder_memories": (0, 8), "decoder_memories": (4, 0, 8)},
    learning_rate=1e-3, trained_rate=0.1, weight_decay=0.0, warmup_steps=1, pesq_weight=0.0, teacher_weight=0.0,
)  # fmt: skip
N_PARAMETERS = 6 * 8 + 8 + 14 * 8 + 8 + 8 * 6 + 6  # of the first memory: in, mix, back, each with a bias


@torch.no_grad()
def test_a_memory_is_a_mean_over_three_to_two_hundred_frames() -> None:
    """Of steps of height one, after n frames, 1 - (1 - 1 / span)^n is there, in every band its own."""
    memory = BandMemory(1, 4)
    memory.enter.weight.fill_(1)
    memory.enter.bias.zero_()
    heights = torch.tensor([1.0, 2.0, 0.0])
    x = heights[None, None, :, None].expand(1, 1, 3, 20)
    output, state = memory(x, memory.initial_state(1, 3), BandMemory.windows(x))
    assert torch.equal(output, x)  # a wire until it has learned
    spans = torch.tensor([3.0, 12.0, 50.0, 200.0])
    expected = (1 - (1 - 1 / spans) ** 20)[:, None] * heights
    torch.testing.assert_close(state[0], expected, atol=1e-6, rtol=0)
    x = torch.zeros(1, 1, 3, 7)
    _, later = memory(x, state, BandMemory.windows(x))
    torch.testing.assert_close(later[0], expected * (1 - 1 / spans[:, None]) ** 7, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_trained_network_is_given_memories_and_gives_the_same_until_they_learn(tmp_path: Path) -> None:
    network = make("tcn")
    save_network(network, tmp_path / "before.pt")
    grown = open_start(tmp_path / "before.pt", CONFIG)
    noisy, beam = signals()
    expected = network(noisy, beam, network.initial_state())[0]
    torch.testing.assert_close(grown(noisy, beam, grown.initial_state())[0], expected, atol=0, rtol=0)
    assert sum(p.numel() for p in grown.encoder_memories.parameters()) == N_PARAMETERS
    save_network(grown, tmp_path / "grown.pt")
    back, _ = load_network(tmp_path / "grown.pt")
    assert back.config == grown.config
    assert open_start(tmp_path / "grown.pt", CONFIG).config == grown.config
    with pytest.raises(QuietmicError, match="other sizes"):
        open_start(tmp_path / "before.pt", replace(CONFIG, sizes=CONFIG.sizes | {"width": 13}))
    assert open_start(tmp_path / "grown.pt", replace(CONFIG, sizes=BEFORE)).config == grown.config  # it keeps them
    with pytest.raises(QuietmicError, match=r"other memories .* leave encoder_memories and decoder_memories out"):
        open_start(tmp_path / "grown.pt", replace(CONFIG, sizes=BEFORE | {"encoder_memories": (8,)}))


@pytest.mark.parametrize("units", [(0, 7), (6,), (-4,), (8.0,), "48", ("8",), (True,), (0, 0, 0, 8)])
def test_memories_that_cannot_be_are_refused_before_the_work_begins(units: Any) -> None:
    """Of seven units a network trained for hours and could not be exported; those of a fourth of three levels went."""
    with pytest.raises(QuietmicError, match="encoder_memories") as told:
        build("tcn", **BEFORE, encoder_memories=units)
    assert told.value.exit_code == 2


def compressed(network: torch.nn.Module) -> torch.nn.Module:
    recipe = Recipe(
        prune=Prune(criterion="l1", ratios="uniform"), lowrank=LowRank("thresh", 0.9), finetune=FineTune(steps=0),
        budget=Budget("units", 0.5), n_calibration=1,
    )  # fmt: skip
    inputs = example_inputs(network)
    return compress(network, inputs, lambda m, b: m(*b)[0].square().mean(), [inputs], recipe).model


def test_a_network_with_memories_is_compressed_and_exported(tmp_path: Path) -> None:
    """Units of a memory's mix are cut; those that remember are not, as each span has its share of them."""
    network = make("tcn, with memories")
    small = compressed(network).eval()
    memory = small.encoder_memories["1"]
    assert memory.enter.out_channels == 8
    assert small.initial_state()["encoder_memory1"].shape == (1, 8, 65)
    narrowed = [layer for layer in memory.mix.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert narrowed[-1].out_channels == 4
    export(small, make_card("tcn-half"), tmp_path / "half.onnx")  # which compares both graphs with the network


def test_narrowed_levels_get_memories_for_what_is_left_of_them(tmp_path: Path) -> None:
    half = compressed(make("tcn"))
    save_network(half, tmp_path / "half.pt")
    sizes = CONFIG.sizes | {"encoder_memories": (0, 0, 8)}
    grown = open_start(tmp_path / "half.pt", replace(CONFIG, sizes=sizes))
    assert grown.encoder_memories["2"].enter.in_channels == half.encoder[2].conv.out_channels == 4
    assert grown.decoder_memories["0"].back.out_channels == half.skips[0].out_channels == 2
    torch.nn.init.normal_(grown.encoder_memories["2"].back.weight)
    save_network(grown, tmp_path / "grown.pt")
    export(load_network(tmp_path / "grown.pt")[0], make_card("tcn-half"), tmp_path / "half.onnx")


def test_what_was_trained_learns_at_its_own_rate(tmp_path: Path) -> None:
    """Adam's first step is the learning rate for every weight, whatever its gradient."""
    data = make_data(tmp_path)
    save_network(make("tcn"), tmp_path / "before.pt")
    config = replace(CONFIG, mix=MixConfig(segment_s=0.5))
    trainer = Trainer(config, torch.device("cpu"), network=open_start(tmp_path / "before.pt", config))
    before = copy.deepcopy(dict(trainer.network.named_parameters()))
    trainer.train_step(stack_scenes(make_source(data, config.mix).draw((0,), 2, 1)), 1.0)
    now = dict(trainer.network.named_parameters())
    moved = {name: float((now[name] - value).detach().abs().max()) for name, value in before.items()}
    assert moved["encoder_memories.1.back.weight"] == pytest.approx(1e-3, rel=0.01)
    assert moved["decoder_memories.0.back.bias"] == pytest.approx(1e-3, rel=0.01)
    assert moved["squeeze.weight"] == pytest.approx(1e-4, rel=0.01)
    trainer.save(tmp_path / "state.pt")
    again = Trainer(config, torch.device("cpu"), network=open_start(tmp_path / "before.pt", config))
    again.load(tmp_path / "state.pt")
    scenes = stack_scenes(make_source(data, config.mix).draw((1,), 2, 1))
    assert trainer.train_step(scenes, 1.0) == again.train_step(scenes, 1.0)
    for name, value in trainer.network.named_parameters():
        assert torch.equal(again.network.get_parameter(name), value), name
    enter = "encoder_memories.1.enter.weight"  # learns through the means, once what is behind them is not zero
    assert not torch.equal(trainer.network.get_parameter(enter), before[enter])


@pytest.mark.parametrize("path", ["blocks.1", "encoder_memories.1", "decoder_memories.0"])
def test_a_block_or_memory_that_is_taken_out_is_in_neither_graph(path: str, tmp_path: Path) -> None:
    """The graph for hops asked it for its weights; a memory's windows were taken for a second state."""
    network = make("tcn, with memories")
    smaller = without_block(network, path, example_inputs(network)).eval()
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in network.parameters())
    export(smaller, make_card("tcn-less"), tmp_path / "less.onnx")  # which compares both graphs with the network


@pytest.mark.parametrize("n_frames", [1, 10])
def test_a_memory_costs_the_same_each_frame(n_frames: int) -> None:
    """Its means counted as products over all frames: eleven times as many as a hop takes."""
    memory = BandMemory(6, 8)
    x = torch.zeros(1, 6, 5, n_frames)
    counted = count(memory, (x, memory.initial_state(1, 5), BandMemory.windows(x)))
    assert counted.macs == n_frames * 5 * (6 * 8 + 8 + 14 * 8 + 8 * 6)
