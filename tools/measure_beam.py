"""Measures what each setting of the beamformer gives: python tools/measure_beam.py SCENES.

Every setting enhances the same scenes as a stream, with all their microphones; the first row is one microphone alone.
Prints a table of the means of the output and of the beam alone. Four minutes for one core and 24 scenes.
"""

import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.enhance.beamform import BeamSettings
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.measure import metrics
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.stream import Stream
from quietmic.models.training.progress import read_scenes

UNSHARPENED = BeamSettings(speech_sharpness=1, noise_sharpness=1, forgetting=0.97, low_noise=0)
SETTINGS = {
    "unsharpened mask, memory of 0.5 s": UNSHARPENED,
    "the same, memory of 1.6 s": replace(UNSHARPENED, forgetting=0.99),
    "powers 2 and 2, 0.5 s": replace(UNSHARPENED, speech_sharpness=2, noise_sharpness=2),
    "powers 4 and 4, 1.6 s": BeamSettings(noise_sharpness=4, forgetting=0.99, low_noise=0),
    "powers 4 and 8, 1.6 s": BeamSettings(forgetting=0.99, low_noise=0),
    "powers 4 and 8, 0.8 s": BeamSettings(low_noise=0),
    "powers 4 and 16, 1.6 s": BeamSettings(noise_sharpness=16, forgetting=0.99, low_noise=0),
    "powers 4 and 8, 0.8 s, loading 0.01": BeamSettings(loading=0.01, low_noise=0),
    "powers 4 and 8, 0.8 s, less of it where noise is low: as shipped": BeamSettings(),
}


def enhance(network: OnnxNetwork, noisy: np.ndarray, settings: BeamSettings) -> np.ndarray:
    """The stream's output [n_samples] for noisy [n_mics, n_samples], aligned with it."""
    stream = Stream(network, len(noisy))
    if stream.beamformer:
        stream.beamformer.settings = settings
    output = np.concatenate((stream.process(noisy), stream.flush()))
    return output[stream.delay :]


def score_streams(network: OnnxNetwork, pairs: list[tuple[np.ndarray, np.ndarray]], settings: BeamSettings) -> str:
    """The means over pairs of noisy [n_mics, n_samples] and clean [n_samples], as the end of a table's row."""
    rows = []
    for noisy, clean in pairs:
        output = enhance(network, noisy, settings)
        si_sdr = metrics.si_sdr(clean, output)
        rows.append((si_sdr, metrics.stoi(clean, output, 16000), metrics.pesq_wb(clean, output, 16000)))
    means = np.mean(np.array(rows, float), axis=0)
    return " | {:.2f} | {:.3f} | {:.3f} |".format(*means)


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True))
@click.option("--model", default="tcn-small", show_default=True, help="Name, or path of an .onnx file.")
@click.option("--count", default=24, show_default=True, help="Scenes.")
def main(scenes: Path, model: str, count: int) -> None:
    """Quality of a model on the first SCENES, a folder with noisy/ and clean/, by the settings of the beamformer."""
    network = OnnxNetwork(find_model(model))
    pairs = list(read_scenes(scenes, count))
    print("| beamformer | SI-SDR dB | STOI | PESQ-WB |\n" + "|---" * 4 + "|")
    print("| one microphone" + score_streams(network, [(noisy[:1], clean) for noisy, clean in pairs], BeamSettings()))
    for name, settings in SETTINGS.items():
        print(f"| {name}" + score_streams(network, pairs, settings), flush=True)


if __name__ == "__main__":
    main()
