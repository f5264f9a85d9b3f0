"""A compressed enhancer with everything that is shipped of it: ONNX files, cards, checkpoint, picture, record."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quietmic.compression.enhancer.request import Parent, Request, open_data
from quietmic.compression.enhancer.speech import STFT, measured_rtf, real_frames
from quietmic.compression.factor.quantize import Quantized, quantize_onnx
from quietmic.compression.picture import draw_result
from quietmic.compression.result import CompressionResult
from quietmic.enhance.card import ModelCard
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.records import write_record
from quietmic.enhance.network import hop_path
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.progress import Progress, silent
from quietmic.models.export import add_to_index, write_card
from quietmic.models.half import halve, halved_bytes
from quietmic.models.publish import card_data, check_output, measure_into_card, write_model


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
    files: dict[str, dict[str, Any]] = {
        "float32": {"path": str(out), "bytes": out.stat().st_size, "rtf": measured_rtf(out)}
    }
    if recipe.quantize != "none":
        target = out.with_name(f"{out.stem}-int8.onnx")
        report = write_int8(out, target, recipe.quantize, real_frames(out, data))
        if scenes:
            measure_into_card(target, scenes, progress)
        files["int8"] = {"path": str(target), **asdict(report), "rtf": measured_rtf(target)}
    if list_it:
        for form, file in files.items():
            add_to_index(Path(file["path"]), f"{name}-int8" if form == "int8" else name)
    draw_result(result, out.with_suffix(".png"))
    figures = result.to_dict() | {"files": files, "rtf_predicted": request.predicted_rtf(result)}
    figures["ratios"] = survey_ratios(parent, result, files["float32"])
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


def survey_ratios(parent: Parent, result: CompressionResult, file: dict[str, Any]) -> dict[str, Any]:
    """Compressed over original: parameters, MACs, storage, latency, and their plain mean (Yin et al., section 3.1).

    Storage and latency need the parent's ONNX file; energy is not measured (None), and a dense file has no index.
    """
    ratios: dict[str, Any] = dict(result.ratios())
    if parent.onnx:
        ratios["storage"] = halved_bytes(Path(file["path"])) / halved_bytes(parent.onnx)  # a parent may be of before
        ratios["latency"] = file["rtf"] / measured_rtf(parent.onnx)
    return {**ratios, "mean": sum(ratios.values()) / len(ratios), "energy": None}


def describe_compression(request: Request, result: CompressionResult) -> dict[str, Any]:
    """Parent, its hash, and the recipe with every step's figures; of a network compressed before, what that told."""
    told: dict[str, Any] | None = request.parent.facts.get("compression")
    steps = result.to_dict()["steps"]
    if told is None:
        recipe = {**request.recipe.to_dict(), "steps": steps}
        return {"parent": request.parent.name, "parent_sha256": request.parent.sha256, "recipe": recipe}
    then = [*told["recipe"].get("then", []), {**request.recipe.to_dict(), "steps": steps}]
    return {**told, "recipe": {**told["recipe"], "then": then}}
