"""Measures what the beamformer's shares in the TCN give: python tools/measure_shares.py CHECKPOINT SCENES.

Each pair of shares (models/networks/tcn.py) is exported and enhances the same scenes as a stream, with two and four
microphones. Prints a table of means. Four minutes for one core, seven pairs and 20 scenes.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measure_beam import score_streams

from quietmic.enhance.beamform import BeamSettings
from quietmic.enhance.network import OnnxNetwork
from quietmic.models.networks.tcn import Tcn
from quietmic.models.publish import publish
from quietmic.models.training.progress import read_scenes

SHARES = ((0.5, 0.5), (0.6, 0.5), (0.7, 0.5), (0.8, 0.5), (0.7, 0.6), (0.8, 0.6), (1.0, 0.5))


def export_with(checkpoint: Path, heard: float, masked: float) -> OnnxNetwork:
    """The network of a checkpoint with other shares."""
    Tcn.HEARD, Tcn.MASKED = heard, masked
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        return OnnxNetwork(publish(checkpoint, Path(folder) / "tcn.onnx", "tcn", "", None, False))


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.argument("scenes", type=click.Path(path_type=Path, exists=True))
@click.option("--count", default=20, show_default=True, help="Scenes.")
def main(checkpoint: Path, scenes: Path, count: int) -> None:
    """Quality of CHECKPOINT on the first SCENES, a folder with noisy/ and clean/, by how much of the beam it takes."""
    pairs = list(read_scenes(scenes, count))
    print("| heard | masked | microphones | SI-SDR dB | STOI | PESQ-WB |\n" + "|---" * 6 + "|")
    for heard, masked in SHARES:
        network = export_with(checkpoint, heard, masked)
        for n_mics in (2, 4):
            scores = score_streams(network, [(noisy[:n_mics], clean) for noisy, clean in pairs], BeamSettings())
            print(f"| {heard} | {masked} | {n_mics}{scores}", flush=True)


if __name__ == "__main__":
    main()
