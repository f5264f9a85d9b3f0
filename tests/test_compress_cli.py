"""The commands on tiny enhancers: surgery keeps them streaming, files and cards come out, errors are for people."""

import itertools
import json
import shutil
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from corpus import write_corpus
from test_surgery import half, shake

from quietmic.cli import main
from quietmic.cli.compress import make_budget, parse_amount
from quietmic.compression.enhancer import make, tables
from quietmic.compression.enhancer.request import Request, find_parent
from quietmic.compression.enhancer.speech import (
    STFT,
    SpeechBatch,
    SpeechData,
    fresh_like,
    operators_of,
    real_frames,
    rtf_model,
)
from quietmic.compression.structure.groups import find_groups
from quietmic.compression.structure.surgery import cut, gated
from quietmic.enhance.card import ModelCard
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.network import OnnxNetwork
from quietmic.models.export import check, export
from quietmic.models.networks.count import count
from quietmic.models.networks.inputs import example_inputs
from quietmic.models.networks.registry import build, load_network, save_network
from quietmic.models.networks.spectra import analysis
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.sources import Sources, open_source

SIZES = {
    "tcn": {"encoder": (6, 8), "width": 16, "n_units": 24, "dilations": (1, 2)},
    "fullsubnet": {"full_units": 24, "sub_units": 16, "n_neighbours": 3, "n_pair_features": 4},
}
RECIPE = """
quantize = "dynamic"
n_calibration = 2
[prune]
criterion = "l1"
steps = 2
[finetune]
steps = 2
distil = 0.3
"""


class FakeData:
    """Batches of noise in the form of the training data."""

    source = config = None
    identity: ClassVar[dict] = {}

    def skip(self, n):
        return self

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in itertools.count():
            noisy, target = (0.1 * torch.randn(2, 2560, generator=generator) for _ in range(2))
            spectra = analysis(noisy[:, None], STFT)
            yield SpeechBatch(spectra, spectra[:, 0], noisy, target, None)


@pytest.fixture
def parent(tmp_path, request):
    torch.manual_seed(0)
    path = tmp_path / f"{request.param}.pt"
    save_network(build(request.param, **SIZES[request.param]), path, {"data": {"speech": {"hours": 1}}})
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return path


@pytest.fixture
def parent_onnx(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tcn.onnx"
    export(build("tcn", **SIZES["tcn"]), ModelCard("tcn", STFT, 8, 0, None, None, None, 0, 0), path)
    return path


@pytest.mark.parametrize("family", SIZES)
def test_surgery_on_our_networks_equals_gates(family):
    torch.manual_seed(0)
    model = shake(build(family, **SIZES[family]))
    structure = find_groups(model, example_inputs)
    kept, gates = half(structure)
    smaller = cut(model, structure, kept, gates)
    noisy, beam, state = example_inputs(model)
    with torch.no_grad():
        with gated(model, structure, gates):
            expected, mask, _ = model(noisy, beam, state)
        actual, actual_mask, _ = smaller(noisy, beam, smaller.initial_state(1))
    assert torch.allclose(actual, expected, atol=1e-5)
    assert torch.allclose(actual_mask, mask, atol=1e-5)
    assert count(smaller, example_inputs(smaller)).parameters < 0.7 * count(model, example_inputs(model)).parameters


@pytest.mark.parametrize("parent", SIZES, indirect=True)
def test_compress_writes_networks_cards_and_a_picture(parent, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make, "open_data", lambda *_: FakeData())
    monkeypatch.chdir(tmp_path)
    whole = torch.load(parent, weights_only=True)["weights"]
    n = sum(value.numel() for name, value in whole.items() if "running" not in name and "num_batches" not in name)
    out = tmp_path / "small.onnx"
    arguments = [
        "compress",
        "--model",
        str(parent),
        "--recipe",
        "recipe.toml",
        "--params",
        str(0.6 * n),
        "-o",
        str(out),
    ]
    assert main([*arguments, "--json", "--list"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [entry.name for entry in list_models(tmp_path)] == [f"{parent.stem}-recipe", f"{parent.stem}-recipe-int8"]
    card = OnnxNetwork(out).card
    assert card.parameters <= 0.6 * n
    assert card.parent == parent.stem
    assert card.parent_sha256 == hash_file(parent)
    assert [step["name"] for step in card.recipe["steps"]] == ["parent", "cut", "fine-tuned"]
    assert card.training_data == {"data": {"speech": {"hours": 1}}}
    int8 = OnnxNetwork(tmp_path / "small-int8.onnx").card
    assert int8.name == f"{parent.stem}-recipe-int8"
    assert int8.parameters == card.parameters
    assert figures["ratios"]["parameters"] <= 0.6
    assert [file["ratios"]["parameters"] for file in figures["files"].values()] == [figures["ratios"]["parameters"]] * 2
    assert (tmp_path / "small.png").stat().st_size > 1000
    assert main(arguments) == 0  # everything is there already: read, not done again

    card = OnnxNetwork(out).card
    network, facts = load_network(tmp_path / "small.pt")
    check(network, out)  # the checkpoint is what was exported
    assert (facts["compression"]["parent"], facts["data"]) == (parent.stem, {"speech": {"hours": 1}})
    again = tmp_path / f"{parent.stem}-again.onnx"
    arguments = ["export", str(tmp_path / "small.pt"), "-o", str(again), "--name", again.stem]
    assert main(arguments) == 0
    assert (OnnxNetwork(again).card.parent, OnnxNetwork(again).card.parameters) == (card.parent, card.parameters)
    assert OnnxNetwork(again).card.recipe == card.recipe


@pytest.mark.parametrize("parent", SIZES, indirect=True)
def test_a_compressed_network_is_compressed_again(parent, tmp_path, monkeypatch):
    monkeypatch.setattr(make, "open_data", lambda *_: FakeData())
    monkeypatch.chdir(tmp_path)
    parameters = sum(p.numel() for p in load_network(parent)[0].parameters())
    (tmp_path / "int8.toml").write_text('quantize = "dynamic"\n[prune]\nmethod = "none"\n')
    shared = ["compress", "--recipe", "recipe.toml", "--params", str(0.7 * parameters), "--model"]
    assert main([*shared, str(parent), "-o", "first.onnx", "--name", f"{parent.stem}-first"]) == 0
    card = OnnxNetwork(tmp_path / "first.onnx").card
    again = ["compress", "--recipe", "int8.toml", "--model", "first.pt", "-o", "second.onnx"]
    assert main([*again, "--name", f"{parent.stem}-second"]) == 0
    second = OnnxNetwork(tmp_path / "second.onnx").card
    assert (second.parent, second.parent_sha256) == (card.parent, card.parent_sha256)
    assert second.recipe["prune"] == card.recipe["prune"]
    assert [recipe["prune"]["method"] for recipe in second.recipe["then"]] == ["none"]
    check(load_network(tmp_path / "first.pt")[0], tmp_path / "second.onnx")
    third = [*shared[:-2], str(0.5 * parameters), "--model", "first.pt", "-o", "third.onnx"]
    assert main([*third, "--name", f"{parent.stem}-third"]) == 0
    assert OnnxNetwork(tmp_path / "third.onnx").card.parameters <= 0.5 * parameters


@pytest.mark.parametrize("parent", ["tcn"], indirect=True)
def test_dry_run_predicts(parent, tmp_path, capsys):
    recipe = str(tmp_path / "recipe.toml")
    arguments = ["compress", "--model", str(parent), "--recipe", recipe, "-o", "x.onnx", "--dry-run", "--json"]
    assert main([*arguments, "--macs", "2M", "--board", "rpi4"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert 1.96e6 <= rows["cut"]["macs"] <= 2e6
    assert rows["cut"]["rtf"] < rows["parent"]["rtf"]
    assert rows["notes"] == []
    assert "rpi4: costs estimated" in captured.err
    (tmp_path / "recipe.toml").write_text("[prune]\nsteps = 2\n[lowrank]\nby = 'budget'\nshare = 0.2")
    assert main([*arguments, "--macs", "2M"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert 1.96e6 <= 0.8 * rows["cut"]["macs"] <= 2e6  # the rest is left to low rank
    assert ["weights alone" in rows["notes"][0], "2.00M MACs" in rows["notes"][1]] == [True, True]
    assert main([*arguments, "--params", "10"]) == 1
    assert "smallest network has" in capsys.readouterr().err


@pytest.mark.parametrize("parent", ["tcn"], indirect=True)
def test_tables_are_written_and_kept(parent, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "open_data", lambda *_: FakeData())
    monkeypatch.setattr(tables, "judge_by", lambda *_: lambda network: {"si_sdr": [1.0, 2.0, None]})
    shared = ["--model", str(parent), "--recipe", str(tmp_path / "recipe.toml"), "-o", str(tmp_path / "table")]
    assert main(["compare-criteria", *shared, "--params", "8k", "--criteria", "l1,random", "--seeds", "0,1"]) == 0
    table = (tmp_path / "table" / "criteria.md").read_text()
    assert "| l1 |" in table
    assert len(list((tmp_path / "table" / "rows").iterdir())) == 4
    monkeypatch.setattr(FakeData, "identity", {"rooms": 3})
    assert main(["compare-criteria", *shared, "--params", "8k", "--criteria", "l1", "--seeds", "0"]) == 0
    assert len(list((tmp_path / "table" / "rows").iterdir())) == 5  # other data: the row there does not count
    assert main(["sweep", *shared, "--over", "beta", "--values", "0.1", "--params", "8k"]) == 2
    assert main(["sweep", *shared, "--over", "r", "--values", "0.5,0.8"]) == 0
    assert main(["sweep", *shared, "--over", "share", "--values", "none", "--params", "8k"]) == 2
    assert main(["sweep", *shared, "--over", "ratios", "--values", "auto,uniform", "--params", "8k"]) == 0
    assert "| uniform | +0.00 [+0.00, +0.00] |" in (tmp_path / "table" / "sweep-ratios.md").read_text()
    assert {path.name for path in (tmp_path / "table").glob("*.png")} == {"sweep-r.png", "sweep-ratios.png"}


@pytest.mark.parametrize("parent", ["tcn"], indirect=True)
def test_scenes_and_parents_have_an_identity(parent, tmp_path):
    request = Request(find_parent(str(parent)), None, None)
    (tmp_path / "clean").mkdir()
    found = []
    for content in (b"a", b"b"):
        (tmp_path / "clean" / "a.flac").write_bytes(content)
        found.append(tables.identity_of(request, FakeData(), tmp_path))
    assert found[0]["scenes"] != found[1]["scenes"]
    assert found[0]["parent"] == found[1]["parent"]


@pytest.mark.parametrize("family", SIZES)
def test_a_compressed_network_cannot_be_built_afresh(family):
    model = build(family, **SIZES[family])
    assert fresh_like(model)().state_dict().keys() == model.state_dict().keys()
    structure = find_groups(model, example_inputs)
    assert fresh_like(cut(model, structure, half(structure)[0])) is None


def test_calibration_hears_several_scenes_from_their_start(parent_onnx):
    frames = list(real_frames(parent_onnx, FakeData(), n_scenes=3))
    n = len(frames) // 3
    assert 1 < n <= 25
    for start, after in zip(frames[::n], frames[1::n], strict=True):
        assert not any(value.any() for name, value in start.items() if name not in ("noisy", "beam"))
        assert any(value.any() for name, value in after.items() if name not in ("noisy", "beam"))


def test_rtf_follows_the_boards_cost_of_a_hop():
    layer = SimpleNamespace(macs=1000, parameters=500)
    model = rtf_model(lambda macs, operators, size: 1e-6 * macs + 1e-5 * operators + 1e-9 * size, n_operators=10)
    assert model([layer], 0.032) == pytest.approx((1e-6 * 500 + 1e-4 + 2e-6) / 0.016)


def test_the_predicted_rtf_counts_the_operators_of_the_budget(parent_onnx, tmp_path):
    save_network(build("tcn", **SIZES["tcn"]), tmp_path / "tcn.pt")
    request = Request(find_parent(str(tmp_path / "tcn.pt")), None, None, lambda macs, operators, size: 1e-5 * operators)
    result = SimpleNamespace(model=request.parent.network)
    assert request.predicted_rtf(result) == pytest.approx(1e-5 * operators_of(parent_onnx) / 0.016)


def test_scenes_go_on_and_have_an_identity(tmp_path):
    write_corpus(tmp_path / "speech", 3, 0)
    write_corpus(tmp_path / "noise", 2, 1)
    config = TrainConfig(batch_size=1)
    where = Sources(tmp_path / "speech", tmp_path / "noise", n_rooms=2, cache=tmp_path / "cache")
    source, _ = open_source(where, config)
    data = SpeechData(source, config, build("tcn", **SIZES["tcn"]), first=5)
    later = next(itertools.islice(data, 2, None))
    assert torch.equal(next(iter(data.skip(2))).noisy, later.noisy)
    other = SpeechData(source, TrainConfig(batch_size=1, seed=1), data.parent, first=5)
    assert json.dumps(data.identity) != json.dumps(other.identity)


def test_amounts_and_budgets(tmp_path, capsys):
    assert [parse_amount(None, None, text) for text in ("0.81M", "50k", "1.5G", "810000", None)] == [
        810000, 50000, 1.5e9, 810000, None,
    ]  # fmt: skip
    arguments = ["compress", "--model", "tcn", "--recipe", "r.toml", "-o", str(tmp_path / "x.onnx")]
    assert main([*arguments, "--params", "many"]) == 2
    assert "'many' is no amount" in capsys.readouterr().err
    both = make_budget(1e6, 2e6, None)
    assert [(part.kind, part.value) for part in both.parts()] == [("macs", 2e6), ("params", 1e6)]
    assert make_budget(None, None, None) is None


def test_missing_parent_and_data_are_said(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    arguments = ["--recipe", str(recipe), "--params", "8k", "-o", str(tmp_path / "x.onnx")]
    assert main(["compress", "--model", str(tmp_path / "none.pt"), *arguments]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    save_network(build("tcn", **SIZES["tcn"]), tmp_path / "tcn.pt")
    assert main(["compress", "--model", str(tmp_path / "tcn.pt"), *arguments]) == 2
    assert "give --speech and --noise" in capsys.readouterr().err


@pytest.mark.parametrize("parent", ["tcn"], indirect=True)
def test_tables_judge_as_evaluate_does(parent, tmp_path, recordings, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("noisy", "clean"):
        (tmp_path / "scenes" / kind).mkdir(parents=True)
        shutil.copy(recordings / f"mono_keyboard_{kind}.flac", tmp_path / "scenes" / kind / "a.flac")
    out = tmp_path / "tcn-judged.onnx"
    assert main(["export", str(parent), "-o", str(out), "--name", out.stem, "--scenes", str(tmp_path / "scenes")]) == 0
    expected = OnnxNetwork(out).card.metrics["1_mics"]
    network = load_network(out.with_suffix(".pt"))[0]
    figures = tables.judge_by(tmp_path / "scenes", FakeData(), find_parent(str(parent)))(network)
    assert figures["si_sdr"] == [pytest.approx(expected["si_sdr"], abs=0.05)]  # of the one scene
    assert figures["stoi"] == [pytest.approx(expected["stoi"], abs=0.005)]
    assert figures["pesq_wb"] == [pytest.approx(expected["pesq_wb"], abs=0.02)]
