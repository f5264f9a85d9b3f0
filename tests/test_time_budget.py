"""A budget of measured time on networks of full size: what is predicted is what live hops then take."""

import json

import pytest
import torch
from test_compress_cli import RECIPE, SIZES

from quietmic.cli import main
from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.allocate import allocate
from quietmic.compression.criteria.weight_scores import l1_of
from quietmic.compression.enhancer import timing
from quietmic.compression.enhancer.speech import EXAMPLE_S, HOP_S, STFT, rtf_model
from quietmic.compression.enhancer.timing import fit_costs, measure_hop_costs
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.surgery import cut
from quietmic.enhance.card import ModelCard
from quietmic.enhance.measure.speed import hop_times
from quietmic.enhance.onnxfile import read_card
from quietmic.models.export import export
from quietmic.models.networks.inputs import example_inputs
from quietmic.models.networks.registry import build, save_network


def test_a_budget_of_time_is_measured_on_this_machine(tmp_path, monkeypatch, capsys):
    """Without a board, some widths of the network are exported and timed; the search then is that for MACs."""
    save_network(build("tcn", **SIZES["tcn"]), tmp_path / "tcn.pt")
    (tmp_path / "recipe.toml").write_text(RECIPE)

    def times(paths, seconds):
        """A machine that needs 0.1 ms, and a nanosecond for a multiply-accumulate."""
        return [1e-4 + 1e-9 * read_card(path).macs_per_second * 0.016 for path in paths]

    monkeypatch.setattr(timing, "hop_times", times)
    arguments = ["compress", "--model", str(tmp_path / "tcn.pt"), "--recipe", str(tmp_path / "recipe.toml")]
    assert main([*arguments, "-o", str(tmp_path / "x.onnx"), "--rtf", "0.008", "--dry-run", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    for row in (rows["parent"], rows["cut"]):
        assert row["rtf"] == pytest.approx(1e-4 / 0.016 + 1e-9 * row["macs"], rel=0.01)
    assert 0.0078 <= rows["cut"]["rtf"] <= 0.008 < rows["parent"]["rtf"]


def test_weights_beyond_what_caches_keep_cost_more():
    """What a machine of known costs takes for nine networks is found again, and told for one between them."""
    points = [(1e6 * m, 1e6 * b) for m, b in
              [(8, 24), (7, 17), (5, 16), (5, 12), (3, 10), (3, 7), (1, 4), (1, 2), (0.2, 0.5)]]  # fmt: skip

    def seconds(macs, weights):
        return 1e-4 + 5e-11 * macs + 2e-11 * weights + 4e-11 * max(weights - 10e6, 0)

    costs = fit_costs(points, [seconds(*point) for point in points])
    assert costs.near_bytes == 10e6
    for macs, weights in [(6e6, 20e6), (2e6, 9e6)]:
        assert costs.hop_seconds(macs, 0, weights) == pytest.approx(seconds(macs, weights), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tcn", "fullsubnet"])
def test_half_of_the_time_is_half_of_the_time(family, tmp_path):
    """Ratios of hops that take turns: on a machine that other work shares, times themselves say nothing."""
    torch.manual_seed(0)
    network = build(family).eval()
    structure, hop_costs = find_groups(network, example_inputs), measure_hop_costs(network)
    costs = CostModel(network, structure, example_inputs(network), EXAMPLE_S, rtf_model(hop_costs.hop_seconds, 1))
    whole = costs.cost("rtf", costs.everything())
    kept = allocate({group.name: l1_of(group, network) for group in structure.groups}, costs, Budget("rtf", whole / 2))
    card = ModelCard(family, STFT, 8, 0, None, None, None, 0, 0)
    models = {"whole": network, "half": cut(network, structure, kept)}
    before, after = hop_times([export(m, card, tmp_path / f"{name}.onnx") for name, m in models.items()], 20.0)
    predicted, measured = costs.cost("rtf", kept) / whole, after / before
    print(f"\n{family}: {hop_costs}, predicted x {predicted:.3f}, measured x {measured:.3f}")
    print(f"predicted {HOP_S * costs.cost('rtf', kept):.6f} s, measured {after:.6f} s")
    assert measured == pytest.approx(predicted, rel=0.15)
