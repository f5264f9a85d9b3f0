"""Loading a network, its card, and its errors."""

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from make_models import make_card

from quietmic import denoise, open_stream
from quietmic.enhance.card import CARD_KEY, ModelCard, StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.network import OnnxNetwork, hop_path
from quietmic.enhance.onnxfile import read_card


def test_card_survives_json() -> None:
    card = make_card("tcn-small", recipe={"method": "influence"}, parent="tcn", metrics={"si_sdr": 1 / 3})
    assert ModelCard.from_json(card.to_json()) == card
    assert card.stft == StftConfig(16000, 512, 256, 512, "sqrt_hann")
    assert card.stft.n_freqs == 257


def test_card_of_the_future_and_broken_cards() -> None:
    later = make_card("x", format_version=99).to_json()
    with pytest.raises(QuietmicError, match="update quietmic"):
        ModelCard.from_json(later)
    more = make_card("x").to_json().replace('"name": "x",', '"name": "x", "colour": "blue",')
    assert ModelCard.from_json(more).name == "x"
    for text in ("", "[]", '{"name": "x"}'):
        with pytest.raises(QuietmicError, match="unreadable"):
            ModelCard.from_json(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stft": {"hop_length": 0}}, "whole numbers above 0"),
        ({"stft": {"hop_length": -256}}, "whole numbers above 0"),
        ({"stft": {"hop_length": 256.0}}, "whole numbers above 0"),
        ({"stft": {"sample_rate": 48000}}, "models of format 1"),
        ({"stft": {"hop_length": 128}}, "models of format 1"),
        ({"stft": {"window": "hann"}}, "unknown window"),
        ({"stft": None}, "unreadable"),
        ({"max_mics": "8"}, "max_mics is '8'"),
        ({"max_mics": 0}, "max_mics is 0"),
        ({"max_mics": True}, "max_mics is True"),
        ({"name": 3}, "name is 3"),
        ({"name": "tcn\nenhanced"}, "name is .tcn"),
        ({"look_ahead": -1}, "look_ahead is -1"),
        ({"parameters": "many"}, "parameters is 'many'"),
        ({"metrics": []}, "metrics must be a table"),
        ({"licence": []}, "licence must be a text"),
        ({"notes": 8}, "notes must be a text"),
        ({"parent": {}}, "parent is {}"),
        ({"recipe": [1]}, "recipe is"),
        ({"format_version": "1"}, "unreadable"),
    ],
    ids=str,
)
def test_cards_that_lie_are_refused_at_loading(model_folder: Path, tmp_path: Path, change: dict, message: str) -> None:
    """Each file of a batch failed with a traceback, or came out at another speed."""
    path = tmp_path / "lying.onnx"
    model = onnx.load(model_folder / "passthrough.onnx")
    card = json.loads(make_card("tcn").to_json())
    stft = change.get("stft", {})
    card |= change | {"stft": stft and card["stft"] | stft} if "stft" in change else change
    onnx.helper.set_model_props(model, {CARD_KEY: json.dumps(card)})
    onnx.save(model, path)
    for load in (OnnxNetwork, read_card):
        with pytest.raises(QuietmicError, match=message) as told:
            load(path)
        assert str(path) in str(told.value)


def test_signature_is_read_from_the_graph(model_folder: Path) -> None:
    passthrough, counter = (OnnxNetwork(model_folder / f"{name}.onnx") for name in ("passthrough", "counter"))
    assert (passthrough.uses_beam, passthrough.gives_mask) == (False, False)
    assert (counter.uses_beam, counter.gives_mask) == (True, True)
    assert {name: value.shape for name, value in counter.initial_state().items()} == {"state_count": (1, 1, 1, 1)}


def test_step_leaves_the_old_state_alone(model_folder: Path) -> None:
    network = OnnxNetwork(model_folder / "counter.onnx")
    noisy = np.random.default_rng(0).standard_normal((1, 3, 257, 5, 2)).astype(np.float32)
    state = network.initial_state()
    enhanced, mask, after = network.step(noisy, noisy[:, 0], state)
    assert mask is not None
    assert (enhanced.shape, mask.shape) == ((1, 257, 5, 2), (1, 257, 5))
    assert (state["state_count"].item(), after["state_count"].item()) == (0, 5)
    with pytest.raises(ValueError, match="beam"):
        network.step(noisy, None, state)


def test_frames_in_fixed_memory_are_those_of_step(model_folder: Path) -> None:
    """Two streams of one network, in turns: each has memory of its own, and a copied state is a point to go back to."""
    network = OnnxNetwork(model_folder / "counter.onnx")
    noisy = np.random.default_rng(0).standard_normal((2, 5, 3, 257, 2)).astype(np.float32)
    hops = [network.bind(3), network.bind(3)]
    states = expected = [network.initial_state()] * 2
    for t in range(5):
        if t == 3:
            saved = copy.deepcopy(states[0])
        for i, hop in enumerate(hops):
            spectra = noisy[i, t].view(np.complex64)[..., 0]
            hop.noisy[...], hop.beam[...] = spectra, spectra[1]
            states = [*states[:i], hop.run(states[i]), *states[i + 1 :]]
            frame = np.ascontiguousarray(noisy[i, t][None, :, :, None])
            enhanced, mask, after = network.step(frame, frame[:, 1], expected[i])
            expected = [*expected[:i], after, *expected[i + 1 :]]
            assert np.array_equal(hop.enhanced.view(np.float32), enhanced.reshape(-1))
            assert mask is not None
            assert hop.mask is not None
            assert np.array_equal(hop.mask, mask.reshape(-1))
            assert states[i]["state_count"] == t + 1
    for _ in range(2):
        assert hops[0].run(saved)["state_count"] == 4


def test_files_that_are_no_model(model_folder: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"no model")
    for path, message in [
        (tmp_path / "none.onnx", "no model file"),
        (junk, "no ONNX file, or a damaged one"),
        (model_folder / "bare.onnx", "quietmic export"),
    ]:
        with pytest.raises(QuietmicError, match=message):
            OnnxNetwork(path)


def test_a_graph_is_opened_by_who_needs_it(model_folder: Path, tmp_path: Path) -> None:
    """Opening is most of a small model's start: files do without the graph for hops, streams without the other."""
    cannot_run = onnx.load(model_folder / "passthrough.onnx")
    cannot_run.graph.node[0].op_type = "NoSuchOperator"
    signal = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    for_files, for_streams = tmp_path / "files.onnx", tmp_path / "streams.onnx"
    for_files.write_bytes((model_folder / "passthrough.onnx").read_bytes())
    onnx.save(cannot_run, hop_path(for_files))
    hop_path(for_streams).write_bytes((model_folder / "passthrough.onnx").read_bytes())
    onnx.save(cannot_run, for_streams)
    assert denoise(signal, 16000, str(for_files)) == pytest.approx(signal, abs=1e-4)
    assert len(open_stream(str(for_streams)).process(signal[:256])) == 256
    for load in (lambda: open_stream(str(for_files)), lambda: denoise(signal, 16000, str(for_streams))):
        with pytest.raises(QuietmicError, match="ONNX Runtime can load"):
            load()
