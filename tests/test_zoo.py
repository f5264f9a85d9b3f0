"""Strangers' networks through l1 and influence at half of their units: `make zoo`, minutes; needs torchvision.

Torch-Pruning, where it is installed and gets through, cuts the same networks by half as the yardstick. With ZOO=FOLDER
each network leaves its row there, of which tools/write_zoo.py makes the table in docs/compression.md.
"""

import copy
import io
import json
import os
import signal
from pathlib import Path

import onnxruntime
import pytest
import torch
from nets.zoo import SMALL, TORCHVISION, WIDTHS_OF_CLASSES, torchvision_network
from torch import nn

from quietmic.compression import plain_weights
from quietmic.compression.cost import Budget, CostModel
from quietmic.compression.criteria.context import Context
from quietmic.compression.criteria.table import CRITERIA
from quietmic.compression.structure.check import checked_cut, fit_groups
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.rnn import split_layers
from quietmic.compression.structure.surgery import gated
from quietmic.compression.task import Task
from quietmic.models.networks.run import example, outputs_of, run

CUT = 1e-5  # of the largest output: the network cut and the network gated
ONNX = 1e-4  # the network and its graph
YARDSTICK_S = 120  # what Torch-Pruning may take; most networks take it seconds

pytestmark = [
    pytest.mark.zoo, pytest.mark.filterwarnings("ignore"),  # of exports by tracing, of another toolkit
]  # fmt: skip


def square(model, batch):
    return sum(value.float().square().mean() for value in outputs_of(run(model, example(batch, model))))


def outputs(model, inputs):
    with torch.no_grad():
        return outputs_of(run(model.eval(), example(inputs, model)))


def difference(expected, actual):
    """Largest difference of all outputs, of their largest value; their shapes are the same."""
    assert [value.shape for value in expected] == [value.shape for value in actual]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(expected, actual, strict=True))


def from_graph(model, inputs):
    """What ONNX Runtime makes of the exported network; None where PyTorch has no export for one of its operations."""
    graph = io.BytesIO()
    try:
        torch.onnx.export(model, example(inputs, model), graph, opset_version=17, dynamo=False)
    except torch.onnx.errors.UnsupportedOperatorError:
        return None
    session = onnxruntime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    values = [value.numpy() for value in example(inputs, model)]
    return [torch.from_numpy(value) for value in session.run(None, dict(zip(names, values, strict=True)))]


def n_parameters(model):
    return sum(p.numel() for p in model.parameters())


def by_torch_pruning(model, inputs):
    """Parameters that Torch-Pruning leaves at half of the channels; None where it does not get through in time."""
    pruning = pytest.importorskip("torch_pruning")
    model = copy.deepcopy(model)
    last = [layer for name, layer in model.named_modules() if name == "out" or _makes_classes(layer)]
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(YARDSTICK_S)
    try:
        expected = outputs(model, inputs)
        pruner = pruning.pruner.MagnitudePruner(
            model, inputs, pruning.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
            ignored_layers=last or [list(model.modules())[-1]],
        )  # fmt: skip
        pruner.step()
        assert [value.shape for value in outputs(model, inputs)] == [value.shape for value in expected]
    except Exception:  # whatever it may raise on a network that it does not know
        return None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return n_parameters(model)


def _too_long(number, frame):
    raise TimeoutError(f"not done in {YARDSTICK_S} s")


def _makes_classes(layer):
    return getattr(layer, "out_features", getattr(layer, "out_channels", 0)) in WIDTHS_OF_CLASSES


def half(model, inputs, structure, criterion):
    """The network cut by a criterion; how far from its gates, how far from its graph."""
    model = copy.deepcopy(model)
    task = Task(square, [inputs], n_calibration=1)
    costs = CostModel(model, structure, inputs)
    context = Context(model, structure, task, costs, Budget("units", 0.5), floor=0.0, steps=2, lr=1e-5)
    decision = CRITERIA[criterion].decide(context)
    done = checked_cut(model, structure, decision.kept, inputs, decision.gates)
    assert done.undone == {}
    gates = {name: mask * decision.gates.get(name, torch.ones(len(mask))) for name, mask in done.kept.items()}
    with gated(model.eval(), structure, gates):
        expected = outputs(model, inputs)
    actual, graph = outputs(done.model, inputs), from_graph(done.model, inputs)
    return done.model, difference(expected, actual), difference(actual, graph) if graph else None


@pytest.mark.parametrize("name", [*TORCHVISION, *SMALL])
def test_half_of_a_stranger(name):
    torch.manual_seed(0)
    if name in TORCHVISION:
        pytest.importorskip("torchvision")
        parent, inputs = torchvision_network(name)
    else:
        build, make = SMALL[name]
        parent, inputs = build().eval(), make()
    model = split_layers(plain_weights(parent))
    structure = fit_groups(model, find_groups(model, inputs), inputs)
    row = {"name": name, "before": n_parameters(parent), "torch-pruning": by_torch_pruning(parent, inputs)}
    for criterion in ("l1", "influence"):
        smaller, gates, graph = half(model, inputs, structure, criterion)
        row |= {"after": n_parameters(smaller), f"{criterion} gates": gates, f"{criterion} graph": graph}
    row["left alone"] = [said for said in structure.left_alone if said.startswith("group")]
    if folder := os.environ.get("ZOO"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.json").write_text(json.dumps(row))
    assert row["after"] < row["before"]
    assert max(row["l1 gates"], row["influence gates"]) <= CUT
    assert max(row["l1 graph"] or 0.0, row["influence graph"] or 0.0) <= ONNX
    assert row["torch-pruning"] is None or row["after"] <= row["torch-pruning"]


def test_weights_that_are_tied_or_used_twice_stay_one():
    for name, first, second in (
        ("language model of tied weights", "out", "embedding"), ("convolution used twice", "2", "4"),
    ):  # fmt: skip
        torch.manual_seed(0)
        build, make = SMALL[name]
        model, inputs = build().eval(), make()
        smaller, *_ = half(model, inputs, find_groups(model, inputs), "l1")
        assert smaller.get_submodule(first).weight is smaller.get_submodule(second).weight
        assert isinstance(smaller.get_submodule(first).weight, nn.Parameter)
