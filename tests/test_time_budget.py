"""A budget of measured time on networks of full size: what is predicted is what live hops then take. Minutes."""

import pytest
import torch

from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.allocate import allocate
from quietmic.compression.criteria.weight_scores import l1_of
from quietmic.compression.enhancer.speech import EXAMPLE_S, STFT, rtf_model
from quietmic.compression.enhancer.timing import measure_hop_costs
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.surgery import cut
from quietmic.enhance.card import ModelCard
from quietmic.enhance.measure.speed import hop_times
from quietmic.models.export import export
from quietmic.models.networks.inputs import example_inputs
from quietmic.models.networks.registry import build


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
    assert measured == pytest.approx(predicted, rel=0.15)
