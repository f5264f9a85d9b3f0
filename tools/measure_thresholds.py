"""Compares thresholds for the activations of static int8: python tools/measure_thresholds.py SCENES.

The ranges of all activations that are quantised come from their histograms over the first scenes, in five ways; the
weights are rounded alike. Writes its table into docs/compression.md. Minutes for one core.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from measure_int8 import Pair, enhance, run_frames
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.compression.factor.quantize import STATIC_OPERATORS, quantize_onnx
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.measure import metrics
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.report.model_table import write_into
from quietmic.enhance.signals import BLOCK_S
from quietmic.models.training.progress import read_scenes

ROOT = Path(__file__).resolve().parent.parent
N_CALIBRATION = 2  # scenes
N_BINS = 2048
LEVELS = 256  # of uint8
SHARES = np.linspace(0.2, 1.0, 41)  # of the range, that are tried
LAPLACE_CLIP = 9.89  # best clip of a Laplace distribution at 8 bits, over its mean size (Banner et al. 2019)

Range = tuple[float, float]


def minmax(counts: np.ndarray, centres: np.ndarray, whole: Range) -> Range:
    """All that was seen: what `compress` does."""
    return whole


def percentile(counts: np.ndarray, centres: np.ndarray, whole: Range) -> Range:
    """What 99.99% of the values do not leave, half of the rest on each side."""
    shares = np.cumsum(counts) / counts.sum()
    low, high = (float(centres[np.searchsorted(shares, share)]) for share in (0.00005, 0.99995))
    return max(low, whole[0]), min(high, whole[1])


def least_error(counts: np.ndarray, centres: np.ndarray, whole: Range) -> Range:
    """The share of the range with the least squared error (MMSE)."""

    def error(share: float) -> float:
        low, high = min(share * whole[0], 0.0), max(share * whole[1], 0.0)
        step = (high - low) / (LEVELS - 1)
        rounded = np.round((centres.clip(low, high) - low) / step) * step + low
        return float((counts * (rounded - centres) ** 2).sum())

    best = min(SHARES, key=error)
    return best * whole[0], best * whole[1]


def analytic(counts: np.ndarray, centres: np.ndarray, whole: Range) -> Range:
    """ACIQ: the best clip if activations were of a Laplace distribution."""
    mean = (counts * centres).sum() / counts.sum()
    size = (counts * np.abs(centres - mean)).sum() / counts.sum()
    return max(mean - LAPLACE_CLIP * size, whole[0]), min(mean + LAPLACE_CLIP * size, whole[1])


def entropy(counts: np.ndarray, centres: np.ndarray, whole: Range) -> Range:
    """The share of the range whose rounded distribution is nearest by KL divergence."""

    def divergence(share: float) -> float:
        low, high = min(share * whole[0], 0.0), max(share * whole[1], 0.0)
        inside = (centres >= low) & (centres <= high)
        clipped = counts[inside].astype(float)
        clipped[0] += counts[centres < low].sum()  # what is clipped lands at the ends
        clipped[-1] += counts[centres > high].sum()
        level = ((centres[inside] - low) / (high - low) * (LEVELS - 1)).round().astype(int)
        held = clipped > 0
        total, n = (np.bincount(level, values, LEVELS) for values in (counts[inside], held))
        rounded = np.where(held, total[level] / np.maximum(n[level], 1), 0.0) + 1e-9
        p, q = clipped / clipped.sum(), rounded / rounded.sum()
        return float((p[held] * np.log(p[held] / q[held])).sum())

    best = min(SHARES, key=divergence)
    return best * whole[0], best * whole[1]


THRESHOLDS: dict[str, Callable[[np.ndarray, np.ndarray, Range], Range]] = {
    "minmax": minmax, "percentile": percentile, "entropy": entropy, "MMSE": least_error, "ACIQ": analytic,
}  # fmt: skip


class Feeds:
    """Inputs of a graph in the form that ONNX Runtime asks for."""

    def __init__(self, model: Path, pairs: list[Pair]) -> None:
        self._feeds = (feed for noisy, _ in pairs for feed in run_frames(model, noisy[:1]))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs, or None behind the last."""
        return next(self._feeds, None)


def histograms(ready: Path, model: Path, pairs: list[Pair]) -> dict[str, tuple[np.ndarray, np.ndarray, Range]]:
    """Activation -> counts, centres of the bins, least and largest value."""
    settings = {"num_bins": N_BINS, "symmetric": False}
    calibrator = create_calibrator(
        ready, STATIC_OPERATORS, str(ready.with_name("augmented.onnx")), CalibrationMethod.Percentile,
        extra_options=settings,
    )  # fmt: skip
    calibrator.collect_data(Feeds(model, pairs))
    return {
        name: (counts, (edges[1:] + edges[:-1]) / 2, (float(low), float(high)))
        for name, (counts, edges, low, high, _) in calibrator.collector.histogram_dict.items()
    }


def row(label: str, network: OnnxNetwork, pairs: list[Pair], exact: list[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    """A line of the table, and the outputs."""
    outputs = [enhance(network, noisy[:1], BLOCK_S * 16000) for noisy, _ in pairs]
    gaps = [metrics.si_sdr(whole, output) for whole, output in zip(exact, outputs, strict=False)]
    scores = [
        (metrics.si_sdr(clean, output), metrics.stoi(clean, output, 16000), metrics.pesq_wb(clean, output, 16000))
        for (_, clean), output in zip(pairs, outputs, strict=True)
    ]
    si_sdr, stoi, pesq = np.nanmean(np.array(scores, float), axis=0)
    gap = f"{np.mean(np.array(gaps, float)):.1f}" if gaps else ""
    return f"| {label} | {gap} | {si_sdr:.3f} | {stoi:.4f} | {pesq:.3f} |", outputs


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True))
@click.option("--model", "models", multiple=True, default=("tcn-small",), help="May be given several times.")
@click.option("--count", default=12, show_default=True, help="Scenes; the first two calibrate, the rest is heard.")
def main(scenes: Path, models: tuple[str, ...], count: int) -> None:
    """Quality of MODELS in static int8 by each threshold, on the first SCENES, a folder with noisy/ and clean/."""
    pairs = list(read_scenes(scenes, count))
    first, rest = pairs[:N_CALIBRATION], pairs[N_CALIBRATION:]
    lines = ["| model | thresholds | output over error, dB | SI-SDR dB | STOI | PESQ-WB |", "|---" * 6 + "|"]
    for model in models:
        path = find_model(model)
        line, exact = row(f"{model} | float32", OnnxNetwork(path), rest, [])
        lines.append(line)
        with tempfile.TemporaryDirectory() as folder:
            ready, target = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
            quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
            seen = histograms(ready, path, first)
            for name, threshold in THRESHOLDS.items():
                ranges = {activation: threshold(*histogram) for activation, histogram in seen.items()}
                quantize_onnx(path, target, "static", run_frames(path, first[0][0][:1]), ranges)
                lines.append(row(f"{model} | {name}", OnnxNetwork(target), rest, exact)[0])
                click.echo(lines[-1])
    write_into(ROOT / "docs/compression.md", "thresholds", "\n".join(lines), "python tools/measure_thresholds.py")


if __name__ == "__main__":
    main()
