"""Measures what int8 gives a convolutional model, live and in files: python tools/measure_int8.py SCENES.

Both graphs of each model are quantised, with dynamic and with static ranges (QDQ), and take turns with float32.
Prints a table of times relative to float32 and of SI-SDR and PESQ; minutes for one core.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import click
import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.compression.factor.quantize import quantize_onnx
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.measure import metrics
from quietmic.enhance.network import OnnxNetwork, hop_path
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.signals import BLOCK_S
from quietmic.enhance.stft import Stft
from quietmic.enhance.stream import Stream
from quietmic.models.training.progress import read_scenes

Feed = dict[str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]
FORMS = ("float32", "dynamic", "static")
CALIBRATION_FRAMES = 40  # at a time, where the graph takes any number
N_HOPS = 50  # timed at a time


def run_frames(path: Path, noisy: np.ndarray) -> Iterator[Feed]:
    """Inputs of a graph over a recording [1, n_samples], its states as they follow from one another."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    stft = Stft(read_card(path).stft)
    hop, n = stft.config.hop_length, 1 if path.name.endswith(".hop.onnx") else CALIBRATION_FRAMES
    spectra = stft.analyse(noisy[:, : noisy.shape[1] // hop * hop], stft.initial_state(1))[0]
    shapes = {node.name: node.shape for node in session.get_inputs()}
    state = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name.startswith("state_")}
    sizes = {2: (-1, 2), 4: (1, stft.config.n_freqs, n, 2), 5: (1, 1, stft.config.n_freqs, n, 2)}  # by rank
    for first in range(0, spectra.shape[1] - n + 1, n):
        part = np.ascontiguousarray(spectra[:, first : first + n]).view(np.float32)
        feed = state | {name: part.reshape(sizes[len(shapes[name])]) for name in shapes.keys() - state.keys()}
        yield feed
        outputs = dict(zip((node.name for node in session.get_outputs()), session.run(None, feed), strict=True))
        state = {name: outputs[f"{name}_out"] for name in state}


def quantise(model: Path, folder: Path, mode: str, noisy: np.ndarray) -> OnnxNetwork:
    """The int8 form of a model and of its graph for hops."""
    target = folder / f"{mode}.onnx"
    for source, written in ((model, target), (hop_path(model), hop_path(target))):
        quantize_onnx(source, written, mode, run_frames(source, noisy) if mode == "static" else None)
    return OnnxNetwork(target)


def enhance(network: OnnxNetwork, noisy: np.ndarray, step: int) -> np.ndarray:
    """The stream's output [n_samples] for noisy [1, n_samples] in blocks, aligned with it."""
    stream = Stream(network)
    parts = [stream.process(noisy[:, s : s + step]) for s in range(0, noisy.shape[1], step)]
    return np.concatenate([*parts, stream.flush()])[stream.delay :]


def time_blocks(networks: list[OnnxNetwork], length: int, rounds: int) -> list[float]:
    """Median over rounds of the time for blocks of a length, relative to the first network's in the same round."""
    block = 0.1 * np.random.default_rng(0).standard_normal((1, length), dtype=np.float32)
    works = [partial(Stream(network).process, block) for network in networks]
    repeats = N_HOPS if length < BLOCK_S * 16000 else 1
    times = []
    for _ in range(rounds + 1):
        times.append([])
        for work in works:
            begin = time.process_time()
            for _ in range(repeats):
                work()
            times[-1].append(time.process_time() - begin)
    return [median(row[i] / row[0] for row in times[1:]) for i in range(len(networks))]  # the first warms up


def score(network: OnnxNetwork, pairs: list[Pair], step: int) -> str:
    """Mean SI-SDR and PESQ of a model that gets blocks of so many samples."""
    outputs = [(clean, enhance(network, noisy[:1], step)) for noisy, clean in pairs]
    si_sdr = np.mean([metrics.si_sdr(clean, output) for clean, output in outputs])
    pesq = np.mean(np.array([metrics.pesq_wb(clean, output, 16000) for clean, output in outputs], float))
    return f"{si_sdr:.3f}, {pesq:.3f}"


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True))
@click.option("--model", "models", multiple=True, default=("tcn-small", "tcn-tiny"), help="May be given several times.")
@click.option("--count", default=8, show_default=True, help="Scenes; the first also calibrates.")
@click.option("--rounds", default=30, show_default=True, help="In which all forms take turns.")
def main(scenes: Path, models: tuple[str, ...], count: int, rounds: int) -> None:
    """Time and quality of MODELS in int8 on the first SCENES, a folder with noisy/ and clean/."""
    pairs = list(read_scenes(scenes, count))
    click.echo(
        "| model | form | a hop | a file | SI-SDR dB, PESQ live | SI-SDR dB, PESQ in files |\n" + "|---" * 6 + "|"
    )
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            path = find_model(model)
            networks = [OnnxNetwork(path)]
            networks += [quantise(path, Path(folder), mode, pairs[0][0][:1]) for mode in FORMS[1:]]
            hops, files = (time_blocks(networks, length, rounds) for length in (256, BLOCK_S * 16000))
            for form, network, hop, file in zip(FORMS, networks, hops, files, strict=True):
                live, whole = (score(network, pairs, step) for step in (256, BLOCK_S * 16000))
                click.echo(f"| {model} | {form} | x {hop:.2f} | x {file:.2f} | {live} | {whole} |")


if __name__ == "__main__":
    main()
