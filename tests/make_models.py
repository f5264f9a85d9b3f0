"""Makes the tiny ONNX networks that the tests use in place of trained ones.

Run it as a script to look at them: python tests/make_models.py FOLDER
"""

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from quietmic.enhance.card import CARD_KEY, ModelCard, StftConfig

N_FREQS = StftConfig().n_freqs
FLOAT = TensorProto.FLOAT


def make_card(name: str, **changes: object) -> ModelCard:
    """A card for a network that was never trained."""
    values: dict = {
        "name": name, "stft": StftConfig(), "max_mics": 8, "look_ahead": 0, "parent": None, "parent_sha256": None,
        "recipe": None, "parameters": 0, "macs_per_second": 0, "notes": "made by the tests",
    }  # fmt: skip
    return ModelCard(**(values | changes))


def _save(path: Path, card: ModelCard | None, nodes: list, inputs: list, outputs: list, constants: list) -> Path:
    graph = helper.make_graph(nodes, card.name if card else "bare", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card is not None:
        helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _ints(name: str, *values: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def _floats(name: str, *values: float) -> onnx.TensorProto:
    return helper.make_tensor(name, FLOAT, [len(values)], values)


NOISY = helper.make_tensor_value_info("noisy", FLOAT, [1, "n_mics", N_FREQS, "T", 2])
BEAM = helper.make_tensor_value_info("beam", FLOAT, [1, N_FREQS, "T", 2])
ENHANCED = helper.make_tensor_value_info("enhanced", FLOAT, [1, N_FREQS, "T", 2])
MASK = helper.make_tensor_value_info("speech_mask", FLOAT, [1, N_FREQS, "T"])
REFERENCE = [
    helper.make_node("Slice", ["noisy", "zero", "one", "one"], ["first_mic"]),  # axis 1
    helper.make_node("Squeeze", ["first_mic", "one"], ["reference"]),
]


def make_passthrough(path: Path, card: ModelCard | None) -> Path:
    """Gives the reference microphone back, with `noisy` alone."""
    nodes = [*REFERENCE, helper.make_node("Identity", ["reference"], ["enhanced"])]
    return _save(path, card, nodes, [NOISY], [ENHANCED], [_ints("zero", 0), _ints("one", 1)])


def make_gain(path: Path, gain: float) -> Path:
    """Multiplies the reference microphone by a number."""
    nodes = [*REFERENCE, helper.make_node("Mul", ["reference", "gain"], ["enhanced"])]
    constants = [_ints("zero", 0), _ints("one", 1), _floats("gain", gain)]
    return _save(path, make_card("gain"), nodes, [NOISY], [ENHANCED], constants)


def make_sum(path: Path) -> Path:
    """Adds all microphones up."""
    nodes = [helper.make_node("ReduceSum", ["noisy", "one"], ["enhanced"], keepdims=0)]
    return _save(path, make_card("sum"), nodes, [NOISY], [ENHANCED], [_ints("one", 1)])


def make_gate(path: Path, threshold: float) -> Path:
    """Gives the beam back; the mask is 1 in frames whose reference has more mean power than `threshold`, else 0."""
    nodes = [
        *REFERENCE,
        helper.make_node("Mul", ["reference", "reference"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last"], ["power"], keepdims=0),
        helper.make_node("ReduceMean", ["power"], ["mean"], axes=[1]),  # [1, 1, T]
        helper.make_node("Greater", ["mean", "threshold"], ["speaks"]),
        helper.make_node("Cast", ["speaks"], ["speech"], to=FLOAT),
        helper.make_node("Mul", ["power", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "speech"], ["speech_mask"]),
        helper.make_node("Identity", ["beam"], ["enhanced"]),
    ]
    constants = [
        _ints("zero", 0), _ints("one", 1), _ints("last", -1), _floats("nothing", 0.0), _floats("threshold", threshold),
    ]  # fmt: skip
    return _save(path, make_card("gate"), nodes, [NOISY, BEAM], [ENHANCED, MASK], constants)


def make_beam(path: Path, mask: float = 0.5) -> Path:
    """Gives the beam back, and a mask that is the same everywhere."""
    nodes = [
        helper.make_node("Identity", ["beam"], ["enhanced"]),
        helper.make_node("ReduceSum", ["beam", "last"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "mask"], ["speech_mask"]),
    ]
    constants = [_ints("last", -1), _floats("nothing", 0.0), _floats("mask", mask)]
    return _save(path, make_card("beam"), nodes, [NOISY, BEAM], [ENHANCED, MASK], constants)


def make_counter(path: Path) -> Path:
    """Every frame is the beam plus how many frames there were, kept in a state; the mask follows the energy.

    The state is the running sum of ones over T, so it also shows whether long calls carry it as single ones do.
    """
    state = helper.make_tensor_value_info("state_count", FLOAT, [1, 1, 1, 1])
    state_out = helper.make_tensor_value_info("state_count_out", FLOAT, [1, 1, 1, 1])
    nodes = [
        helper.make_node("Slice", ["beam", "zero", "one", "one"], ["one_bin"]),  # axis 1
        helper.make_node("Slice", ["one_bin", "zero", "one", "last"], ["part"]),  # [1, 1, T, 1]
        helper.make_node("Mul", ["part", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "unit"], ["ones"]),
        helper.make_node("CumSum", ["ones", "time"], ["since"]),
        helper.make_node("Add", ["since", "state_count"], ["count"]),
        helper.make_node("Mul", ["count", "step"], ["offset"]),
        helper.make_node("Add", ["beam", "offset"], ["enhanced"]),
        helper.make_node("Slice", ["count", "last", "end", "two"], ["state_count_out"]),  # axis 2
        helper.make_node("Mul", ["beam", "beam"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last"], ["power"], keepdims=0),
        helper.make_node("Add", ["power", "unit"], ["power_and_one"]),
        helper.make_node("Div", ["power", "power_and_one"], ["speech_mask"]),
    ]
    constants = [
        _ints("zero", 0), _ints("one", 1), _ints("two", 2), _ints("last", -1), _ints("end", 1 << 60),
        helper.make_tensor("time", TensorProto.INT64, [], [2]),
        _floats("nothing", 0.0), _floats("unit", 1.0), _floats("step", 1e-3),
    ]  # fmt: skip
    card = make_card("counter")
    return _save(path, card, nodes, [NOISY, BEAM, state], [ENHANCED, MASK, state_out], constants)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make_passthrough(folder / "passthrough.onnx", make_card("passthrough"))
    make_gain(folder / "gain.onnx", 0.1)
    make_beam(folder / "beam.onnx")
    make_counter(folder / "counter.onnx")
