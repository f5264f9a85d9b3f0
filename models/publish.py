"""Models as they are shipped: graph, card with what was measured, the checkpoint beside them, the index."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from quietmic.enhance.card import ModelCard, StftConfig
from quietmic.enhance.catalogue import WEIGHTS, list_models
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.measure.quality import EvaluationOptions, run_evaluation
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.measure.systems import NOISY, model_system
from quietmic.enhance.network import hop_path
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.progress import Progress, silent
from quietmic.models.export import add_to_index, export, round_to_half, write_card
from quietmic.models.networks.registry import load_network, save_network
from quietmic.models.training.run import choose_facts

MEASURED_MICS = (1, 2, 4)
REPORTED = ("si_sdr", "si_sdr_gain", "stoi", "stoi_gain", "pesq_wb", "pesq_wb_gain", "ovrl")


def publish(
    checkpoint: Path, out: Path, name: str, notes: str, scenes: Path | None, list_it: bool, progress: Progress = silent
) -> None:
    """Write a checkpoint's ONNX and card, and the exact half-precision checkpoint (`write_model`).

    Raises:
        QuietmicError: a name of another family, or an output that `check_output` refuses.
    """
    check_output(out, [checkpoint])
    network, facts = load_network(checkpoint)
    if not name.startswith(str(network.family)):
        raise QuietmicError(f"The name must begin with the network's family: {network.family}...", exit_code=2)
    cut = facts.get("compression", {})  # of a compressed network: parent, its hash and the recipe
    card = ModelCard(
        name=name, stft=StftConfig(), max_mics=8, look_ahead=0, parent=cut.get("parent"),
        parent_sha256=cut.get("parent_sha256"), recipe=cut.get("recipe"),
        parameters=0, macs_per_second=0, training_data=card_data(facts), notes=notes,
    )  # fmt: skip
    write_model(network, card, facts, out, scenes, progress)
    if list_it:
        add_to_index(out, name)


def check_output(out: Path, inputs: list[Path]) -> None:
    """Refuses a model's name whose files would take the place of what it is made from.

    Args:
        out: the .onnx file; its graph for one hop, checkpoint, int8 form and picture are named after it.
        inputs: files that are read.

    Raises:
        QuietmicError: one of the files that would be written is an input, or `out` is no .onnx.
    """
    if out.suffix != ".onnx":
        raise QuietmicError(f"{out}: a model is written as .onnx, and its checkpoint beside it as .pt", exit_code=2)
    int8 = out.with_name(f"{out.stem}-int8.onnx")
    written = [out, hop_path(out), out.with_suffix(".pt"), int8, hop_path(int8), out.with_suffix(".png")]
    for path in written:
        if any(path.exists() and given.exists() and path.samefile(given) for given in inputs):
            message = f"{out} would be written over what it is made from ({path}): choose another name"
            raise QuietmicError(message, exit_code=2)


def write_model(
    network: Any, card: ModelCard, facts: dict[str, Any], out: Path, scenes: Path | None, progress: Progress = silent
) -> None:
    """Write ONNX and card, measured on a scenes folder where one is given, and the exact half-precision checkpoint.

    The weights are rounded to half precision first, so that the checkpoint beside the graph (OUT with .pt, half the
    size) is exactly the network that was exported and measured: compression and further training start from it.
    """
    network = round_to_half(network)
    out.parent.mkdir(parents=True, exist_ok=True)
    export(network, card, out)
    save_network(network, out.with_suffix(".pt"), facts, half=True)
    if scenes:
        measure_into_card(out, scenes, progress)


def measure_into_card(path: Path, scenes: Path, progress: Progress = silent) -> None:
    """Write what a model reaches on a scenes folder into its card; the graph stays."""
    write_card(path, replace(read_card(path), metrics=measure(path, scenes, progress)))


def measure_listed(scenes: Path, weights: Path = WEIGHTS, progress: Progress = silent) -> None:
    """Measure every listed model anew, as after a change of what runs around the networks."""
    for entry in list_models(weights):
        measure_into_card(entry.path, scenes, progress)
        add_to_index(entry.path, entry.name)


def card_data(facts: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the training: data with licences, hours heard, steps, the teacher, and what came before."""
    return json.loads(json.dumps(choose_facts(facts, "data", "teacher", "audio_hours", "steps", "started_from")))


def measure(path: Path, scenes: Path, progress: Progress = silent) -> dict[str, Any]:
    """Means over a scenes folder by number of microphones, as far as it has them, the noisy reference included."""
    most = max(audio.read_info(recording.noisy).n_channels for recording in find_recordings(scenes))
    systems = {n: model_system(str(path), n) for n in MEASURED_MICS if n <= most}
    record = run_evaluation(scenes, list(systems.values()), EvaluationOptions(n_jobs=2, progress=progress))
    summary = record["figures"]["summary"]
    labels = {"noisy": NOISY} | {f"{n}_mics": system.label for n, system in systems.items()}
    metrics: dict[str, Any] = {"data": scenes.name, "data_sha256": record["data_sha256"]}
    for key, label in labels.items():
        metrics[key] = {name: summary[label][name]["mean"] for name in REPORTED}
    return metrics
