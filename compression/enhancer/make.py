"""A compressed enhancer with everything that is shipped of it: ONNX files, cards, checkpoint, picture, record."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quietmic.compression.enhancer.request import Parent, Request, open_data
from quietmic.compression.enhancer.speech import HOP_S, STFT, real_frames
from quietmic.compression.factor.quantize import Quantized, quantize_onnx
from quietmic.compression.picture import draw_result
from quietmic.compression.result import CompressionResult
from quietmic.enhance.card import ModelCard
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.ratios import plain_mean, quality_ratio
from quietmic.enhance.measure.records import write_record
from quietmic.enhance.measure.speed import hop_energies, hop_times
from quietmic.enhance.network import hop_path
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.progress import Progress, silent
from quietmic.models.export import add_to_index, write_card
from quietmic.models.half import halve, halved_bytes
from quietmic.models.publish import card_data, check_output, measure, measure_into_card, write_model

TIMED_S = 5.0  # of audio, to each file


@dataclass(frozen=True)
class Made:
    """A compressed enhancer that was written, with what is told of it.

    Attributes:
        result: of the compression.
        figures: what the record tells.
        record: its path.
    """

    result: CompressionResult
    figures: dict[str, Any]
    record: Path


def make_enhancer(
    request: Request, out: Path, name: str | None, scenes: Path | None, list_it: bool, progress: Progress = silent
) -> Made:
    """Compresses, exports, quantises, measures; writes OUT, a checkpoint, the int8 form, a picture and a record.

    Raises:
        QuietmicError: a name that does not begin with the family, an output over the parent, or no data.
    """
    parent, recipe = request.parent, request.recipe
    check_output(out, [parent.checkpoint, *([parent.onnx] if parent.onnx else [])])
    name = name or f"{parent.network.family}-{recipe.name}"
    if not name.startswith(str(parent.network.family)):
        raise QuietmicError(f"the name must begin with the network's family: {parent.network.family}...", exit_code=2)
    data = open_data(parent, request.sources, progress)
    result = request.compress(recipe, data, progress, out.parent / f"{out.stem}.steps")
    compression = describe_compression(request, result)
    facts = card_data(parent.facts)
    card = ModelCard(
        name=name, stft=STFT, max_mics=8, look_ahead=0, parameters=0, macs_per_second=0, training_data=facts,
        **compression,
    )  # fmt: skip
    write_model(result.model, card, facts | {"compression": compression}, out, scenes, progress)
    files: dict[str, dict[str, Any]] = {"float32": {"path": str(out), "bytes": out.stat().st_size}}
    if recipe.quantize != "none":
        target = out.with_name(f"{out.stem}-int8.onnx")
        report = write_int8(out, target, recipe.quantize, real_frames(out, data))
        if scenes:
            measure_into_card(target, scenes, progress)
        files["int8"] = {"path": str(target), **asdict(report)}
    if list_it:
        for form, file in files.items():
            add_to_index(Path(file["path"]), f"{name}-int8" if form == "int8" else name)
    draw_result(result, out.with_suffix(".png"))
    timed = [*(Path(file["path"]) for file in files.values()), *([parent.onnx] if parent.onnx else [])]
    rtfs = [hop_s / HOP_S for hop_s in hop_times(timed, TIMED_S)]
    energies = hop_energies(timed, TIMED_S)
    joules: list[float | None] = [*energies] if energies else [None] * len(timed)
    before = metrics_of_parent(parent, out, scenes, progress) | {"rtf": rtfs[-1], "joules": joules[-1]}
    for file, rtf, energy in zip(files.values(), rtfs, joules, strict=False):
        file |= {"rtf": rtf, "joules": energy}
        file |= {"ratios": survey_ratios(parent, result, file, before)}
    figures = result.to_dict() | {"files": files, "rtf_predicted": request.predicted_rtf(result)}
    record = write_record("compress", figures, model=name, parent=parent.name, parent_sha256=parent.sha256)
    return Made(result, figures, record)


def write_int8(
    source: Path, target: Path, mode: str, frames: Iterable[dict[str, NDArray[Any]]] | None = None
) -> Quantized:
    """Writes the int8 form of an exported model with its card, and that of its graph for hops where it has one.

    That one is always dynamic: its frames are too few for ranges to be counted, and what is measured anew is small.

    Args:
        source: float32 model.
        target: the .onnx file.
        mode, frames: see `quantize_onnx`.
    """
    report = quantize_onnx(source, target, mode, frames)
    written = [target]
    if hop_path(source).is_file():
        quantize_onnx(hop_path(source), hop_path(target), "dynamic")
        written.append(hop_path(target))
    card = replace(read_card(source), name=f"{read_card(source).name}-int8", metrics={})
    for path in written:
        halve(path)
        write_card(path, card)
    return replace(report, bytes_after=target.stat().st_size)


def metrics_of_parent(parent: Parent, out: Path, scenes: Path | None, progress: Progress = silent) -> dict[str, Any]:
    """What the parent reaches on the scenes that OUT was measured on: its card tells, or it is measured too.

    Empty without scenes, or without an ONNX file of the parent.
    """
    if not (scenes and parent.onnx):
        return {}
    told = read_card(parent.onnx).metrics
    same = told.get("data_sha256") == read_card(out).metrics["data_sha256"]
    return told if same else measure(parent.onnx, scenes, progress)


def survey_ratios(
    parent: Parent, result: CompressionResult, file: dict[str, Any], before: dict[str, Any]
) -> dict[str, float | None]:
    """Compressed over original: parameters, MACs, storage, latency, and quality the other way round.

    The plain mean of those that are known stands under "mean" where quality is one of them (see `plain_mean`). Storage,
    latency, energy and quality need the parent's ONNX file, energy counters that may be read, quality scenes as well.
    "index" is the space of a sparse file's indices over that of indices to all weights.

    Args:
        file: its "path", "rtf" and "joules".
        before: the parent's "rtf" and "joules" from the same moments, and its metrics where there are any.
    """
    path, ratios = Path(file["path"]), dict[str, float | None](result.ratios())
    if parent.onnx:
        ratios["storage"] = halved_bytes(path) / halved_bytes(parent.onnx)  # a parent may be of before
        ratios["latency"] = file["rtf"] / before["rtf"]
        ratios["energy"] = file["joules"] / before["joules"] if file["joules"] and before["joules"] else None
        ratios["quality"] = quality_ratio(_gain_db(before), _gain_db(read_card(path).metrics))
    if "index_of_all" in result.storage:
        ratios["index"] = result.storage["index"] / result.storage["index_of_all"]
    return {**ratios, "mean": plain_mean(ratios)}


def _gain_db(metrics: dict[str, Any]) -> float | None:
    """Gain in SI-SDR of one microphone by a card's metrics."""
    return metrics["1_mics"]["si_sdr"] - metrics["noisy"]["si_sdr"] if "1_mics" in metrics else None


def describe_compression(request: Request, result: CompressionResult) -> dict[str, Any]:
    """Parent, its hash, and the recipe with every step's figures; of a network compressed before, what that told."""
    told: dict[str, Any] | None = request.parent.facts.get("compression")
    steps = result.to_dict()["steps"]
    if told is None:
        recipe = {**request.recipe.to_dict(), "steps": steps}
        return {"parent": request.parent.name, "parent_sha256": request.parent.sha256, "recipe": recipe}
    then = [*told["recipe"].get("then", []), {**request.recipe.to_dict(), "steps": steps}]
    return {**told, "recipe": {**told["recipe"], "then": then}}
