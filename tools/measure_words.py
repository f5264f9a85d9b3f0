"""Measures word error on mixed sentences of known words: python tools/measure_words.py SPEECH NOISE.

docs/data/spoken.csv says which sentence of SPEECH goes with which file of NOISE, at which SNR, and what is said. The
pairs are left in the folder of --out, and the table goes into docs/quality.md. A few minutes for one core.
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.cli.bar import progress_bar
from quietmic.enhance.csvfile import read_table
from quietmic.enhance.files import audio
from quietmic.enhance.measure.quality import EvaluationOptions, run_evaluation
from quietmic.enhance.measure.systems import Selection, choose_systems
from quietmic.enhance.measure.tables import summary_tables
from quietmic.enhance.report.model_table import write_into

ROOT = Path(__file__).resolve().parent.parent
SPOKEN = ROOT / "docs" / "data" / "spoken.csv"


def mix(row: dict[str, str], speech: Path, noise: Path, out: Path) -> None:
    """A noisy file and its clean one, the noise as loud as the whole sentence at 0 dB, repeated where it is short."""
    clean, rate = audio.read(speech / row["speech"])
    sound, noise_rate = audio.read(noise / row["noise_file"])
    if noise_rate != rate:
        raise click.ClickException(f"{row['noise_file']} has {noise_rate} Hz, {row['speech']} {rate} Hz")
    sound = np.resize(sound[0], clean[0].size)
    level = clean[0].std() / sound.std() * 10 ** (-float(row["snr_db"]) / 20)
    noisy = clean[0] + level * sound
    scale = min(1.0, 0.99 / float(np.abs(noisy).max()))
    for folder, samples in (("noisy", noisy), ("clean", clean[0])):
        audio.write(out / folder / f"{row['name']}.flac", (scale * samples).astype(np.float32), rate)


def write_scenes(speech: Path, noise: Path, out: Path) -> None:
    """All pairs of the table, and a manifest with their words."""
    rows = [row for _, row in read_table(SPOKEN, "name")]
    for folder in ("noisy", "clean"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for row in rows:
        mix(row, speech, noise, out)
    with open(out / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("name", "noise", "snr_db", "text"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@click.command()
@click.argument("speech", type=click.Path(path_type=Path, exists=True))
@click.argument("noise", type=click.Path(path_type=Path, exists=True))
@click.option("--model", "models", multiple=True, help="Name or .onnx; may be repeated.")
@click.option("--peer", "peers", multiple=True, help="Another enhancer; may be repeated.")
@click.option("--jobs", default=1, show_default=True, help="Processes.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "out" / "spoken", help="Folder of the pairs.")
def main(
    speech: Path, noise: Path, models: tuple[str, ...], peers: tuple[str, ...], jobs: int, out: Path
) -> None:  # fmt: skip
    """Mix the sentences with the noises, and write what a recogniser hears of them into docs/quality.md."""
    write_scenes(speech, noise, out)
    with progress_bar() as bar:
        options = replace(EvaluationOptions(jobs, asr=True, fast=True), progress=bar)
        record = run_evaluation(out, choose_systems(Selection(models, peers, (1,), None)), options)
    write_into(
        ROOT / "docs" / "quality.md", "word error", summary_tables(record["figures"])[-1].markdown(),
        "python tools/measure_words.py",
    )  # fmt: skip


if __name__ == "__main__":
    main()
