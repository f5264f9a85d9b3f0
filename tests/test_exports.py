"""Networks that went through pruning and SVD, exported to ONNX and quantised: the same outputs in ONNX Runtime."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from nets.lm import LanguageModel
from nets.mobilenet import PRUNED, MobileNetV3Large
from nets.odd import Chain
from nets.resnet import Basic, Bottleneck, ResNet, resnet50_cifar, resnet56
from nets.vgg import Vgg
from tasks import digits, digits_error, trained_digits
from test_surgery import shake
from torch import nn

from quietmic.compression import Budget, Recipe, compress
from quietmic.compression.factor.quantize import kmeans, quantize_onnx, share_weights, sparse_bytes
from quietmic.compression.recipe import FineTune, LowRank, Prune
from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.fold import fold_norms, norm_pairs

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SYMBOLS = torch.arange(6).view(1, 6)
RECIPE = Recipe(
    prune=Prune(criterion="l1", ratios="uniform"), lowrank=LowRank("thresh", 0.5), finetune=FineTune(steps=0),
    budget=Budget("units", 0.5), n_calibration=1,
)  # fmt: skip


def export(model, x, path, dynamic=None):
    torch.onnx.export(
        model,
        (x,),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=dynamic,
    )
    return onnxruntime.InferenceSession(str(path))


class First(nn.Module):
    """A language model without its states, for export."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)[0]


NARROW = {
    "vgg": lambda: Vgg((16, "M", 32, "M", 32, 32, "M", "M", "M")),
    "bottlenecks": lambda: ResNet(Bottleneck, (1, 2, 1, 1), (8, 16, 16, 32)),
    "basic blocks": lambda: ResNet(Basic, (2, 2, 2), (8, 16, 32)),
    "mobilenet": lambda: MobileNetV3Large(widths=tuple(max(8, width // 4) for width in PRUNED)),
}
FULL = [Vgg, resnet50_cifar, resnet56, MobileNetV3Large]


@pytest.mark.parametrize("build", [*NARROW.values(), *(pytest.param(build, marks=pytest.mark.slow) for build in FULL)])
def test_image_networks_go_through_pruning_svd_and_export(build, tmp_path):
    torch.manual_seed(0)
    model = shake(build())
    result = compress(model, (IMAGE,), lambda m, b: m(b).square().mean(), [IMAGE], RECIPE)
    assert result.ratios()["parameters"] < 0.6
    assert result.factored
    session = export(result.model.eval(), IMAGE, tmp_path / "net.onnx")
    with torch.no_grad():
        expected = result.model(IMAGE).numpy()
    actual = session.run(None, {"x": IMAGE.numpy()})[0]
    assert np.abs(actual - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("gates", [False, True])
def test_language_model_goes_through_pruning_svd_and_export(gates, tmp_path):
    """With the cell written out, the loop over time stays a loop: other lengths run too."""
    torch.manual_seed(0)
    model = LanguageModel(20, 24, 32)
    recipe = replace(RECIPE, lowrank=LowRank("thresh", 0.6, gates=gates))
    result = compress(model, (SYMBOLS,), lambda m, b: m(b)[0].square().mean(), [SYMBOLS], recipe)
    assert any(row.method == ("gates svd" if gates else "input svd") for row in result.factored)
    network = First(result.model).eval()
    longer = torch.arange(15).view(1, 15)
    expected = network(longer).detach().numpy()
    session = export(network, SYMBOLS, tmp_path / "lm.onnx", {"x": {1: "T"}, "y": {1: "T"}})
    assert np.abs(session.run(None, {"x": longer.numpy()})[0] - expected).max() < 1e-5


def test_folding_a_norm_changes_nothing():
    model = shake(resnet56())
    pairs = norm_pairs(model, (IMAGE,))
    assert pairs["stages.3.conv1.0"] == "stages.3.conv1.1"
    folded = fold_norms(model, (IMAGE,), set(pairs))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert torch.allclose(folded(IMAGE), model(IMAGE), atol=1e-4)


class Readers(nn.Module):
    """A convolution and its norm, with others about them: `how` says who reads what."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.norm = how, nn.Conv1d(2, 2, 3, padding=1), nn.BatchNorm1d(2)
        self.other = nn.Sequential(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2))

    def forward(self, x):
        made = self.conv(x)
        match self.how:
            case "added":
                return self.norm(made) + made
            case "returned":
                return self.norm(made), [made]
            case "two norms":
                return self.norm(made) + self.other[1](made)
            case "two calls":
                return self.norm(made) + self.other(self.conv(-x))
            case "norm of something else too":
                return self.norm(made) + self.norm(x)
            case "norm of two":
                return self.norm(made) + self.norm(self.other[0](x))
        return self.norm(made) + self.other(x)


@pytest.mark.parametrize(
    ("how", "pairs"),
    [
        ("alone", {"conv": "norm", "other.0": "other.1"}), ("added", {}), ("returned", {}), ("two norms", {}),
        ("two calls", {"other.0": "other.1"}), ("norm of something else too", {}), ("norm of two", {}),
    ],
)  # fmt: skip
def test_a_norm_is_folded_only_where_it_alone_reads_the_convolution(how, pairs):
    torch.manual_seed(0)
    model, x = shake(Readers(how)).eval(), torch.randn(2, 2, 8)
    assert norm_pairs(model, x) == pairs
    folded, expected = fold_norms(model, x)(x), model(x)
    if how == "returned":
        folded, expected = (torch.cat([first, *rest]) for first, rest in (folded, expected))
    assert torch.allclose(folded, expected, atol=1e-5)


def test_a_convolution_of_two_names_is_folded_under_both():
    """Under its second name the norm stayed, behind a convolution that held it already."""
    torch.manual_seed(0)
    conv, norm = nn.Conv1d(2, 2, 3), nn.BatchNorm1d(2)
    model = shake(Chain(lambda net, x: net.again(net.conv(x)), conv=conv, norm=norm, also=conv, again=norm)).eval()
    x = torch.randn(2, 2, 8)
    folded = fold_norms(model, x)
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in folded.modules())
    assert torch.allclose(folded(x), model(x), atol=1e-5)


def accuracy(session):
    _, _, x, y = digits()
    right = [
        session.run(None, {"x": image[None].numpy()})[0].argmax() == label
        for image, label in zip(x, y.numpy(), strict=True)
    ]
    return float(np.mean(right))


def activations_of(path):
    """Names of the activations that a graph rounds to 8 bits."""
    graph = onnx.load(str(path)).graph
    return [node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"]


def test_int8_dynamic_and_static_keep_the_accuracy(tmp_path):
    model = trained_digits().eval()
    export(model, torch.zeros(1, 1, 8, 8), tmp_path / "float.onnx")
    x = digits()[0]
    feeds = [{"x": image[None].numpy()} for image in x[:32]]
    static = quantize_onnx(tmp_path / "float.onnx", tmp_path / "static.onnx", "static", feeds)
    dynamic = quantize_onnx(tmp_path / "float.onnx", tmp_path / "dynamic.onnx", "dynamic")
    assert static.bytes_after < 0.5 * static.bytes_before
    assert static.operators["DequantizeLinear"] > 0
    assert dynamic.left["Conv"] == 3
    assert static.left == {"Conv": 1, "MatMul": 1}  # the first layer and the last are small
    narrow = dict.fromkeys(activations_of(tmp_path / "static.onnx"), (0.0, 1e-3))
    quantize_onnx(tmp_path / "float.onnx", tmp_path / "clipped.onnx", "static", feeds[:1], narrow)
    clipped = onnxruntime.InferenceSession(str(tmp_path / "clipped.onnx"))
    assert accuracy(clipped) < 0.9 * (1 - digits_error(model))  # what lies outside of the given ranges is lost
    for name in ("static", "dynamic"):
        session = onnxruntime.InferenceSession(str(tmp_path / f"{name}.onnx"))
        assert accuracy(session) > 1 - digits_error(model) - 0.01
    with pytest.raises(QuietmicError, match="calibration frames"):
        quantize_onnx(tmp_path / "float.onnx", tmp_path / "none.onnx", "static")


def test_lstms_are_quantised_dynamically_in_both_modes(tmp_path):
    torch.manual_seed(0)
    model = First(LanguageModel(20, 24, 64)).eval()
    session = export(model, SYMBOLS, tmp_path / "float.onnx")
    expected = session.run(None, {"x": SYMBOLS.numpy()})[0]
    for mode in ("dynamic", "static"):
        row = quantize_onnx(tmp_path / "float.onnx", tmp_path / "int8.onnx", mode, [{"x": SYMBOLS.numpy()}])
        assert row.operators["DynamicQuantizeLSTM"] == 2
        assert row.bytes_after < 0.4 * row.bytes_before
        actual = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx")).run(None, {"x": SYMBOLS.numpy()})[0]
        assert np.abs(actual - expected).max() < 0.05 * np.abs(expected).max()


def test_weight_sharing_is_storage():
    model = trained_digits()
    shared, bytes_of = share_weights(model, 4)
    assert all(len(p.unique()) <= 16 for p in shared.parameters() if p.dim() > 1 and p.numel() > 16)
    assert bytes_of["dense"] == 4 * sum(p.numel() for p in model.parameters())
    assert 0.125 < bytes_of["ratio"] < 0.16
    assert digits_error(shared) < digits_error(model) + 0.05
    centres, index = kmeans(torch.tensor([0.0, 0.1, 5.0, 5.2]), 2)
    assert torch.allclose(centres, torch.tensor([0.05, 5.1]))
    assert index.tolist() == [0, 0, 1, 1]


def test_sparse_storage_counts_the_index():
    weight = torch.zeros(10, 100)
    row = sparse_bytes(
        [("w", weight), ("b", torch.zeros(10))], {"w": (torch.arange(1000).view(10, 100) % 10 == 0).float()}
    )
    assert row == {"dense": 4040, "values": 440, "index": 244, "index_of_all": 2044, "ratio": 684 / 4040}
