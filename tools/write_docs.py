"""Writes what README and docs/ show of the shipped models: python tools/write_docs.py.

- README.md: the table of models beside the best other denoiser, from the cards, docs/data/quality.json (written by
  `evaluate --json`) and docs/data/speed.json (`bench --json`)
- docs/models.md: the table of all models, from their cards
- docs/sounds/, docs/pictures/: one of the recordings, noisy and enhanced by the default model
- docs/data/quality.json: the same, less what docs/figures.md shows of it

Run it after a model, its card or one of the two files has changed.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from quietmic import open_stream
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.files import audio
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.report.model_table import compared_markdown, models_markdown, write_into
from quietmic.enhance.report.spectrogram import save_spectrograms

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
QUALITY, SPEED = DOCS / "data" / "quality.json", DOCS / "data" / "speed.json"
RECORDING = ROOT / "recordings" / "mono_street_noisy.wav"
COLOURS = 32  # of the picture: more make it larger and no clearer
DIGITS = 6  # of a published figure: two more than any table shows
DERIVED = ("splits", "paired")  # of an evaluation: made of its rows, and shown in docs/figures.md


def thin_out(quality: dict[str, Any]) -> dict[str, Any]:
    """An evaluation as it is published: a quarter of the bytes that a new measurement adds to the history."""
    return {key: _rounded(value) for key, value in quality.items() if key not in DERIVED}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def write_tables(shown: list[str]) -> None:
    """The tables of README.md and docs/models.md."""
    entries = list_models()
    named = {entry.name: entry for entry in entries}
    quality, speed = (json.loads(path.read_text()) for path in (QUALITY, SPEED))
    write_json(thin_out(quality), QUALITY)
    write_into(ROOT / "README.md", "figures", compared_markdown([named[name] for name in shown], quality, speed))
    write_into(DOCS / "models.md", "models", models_markdown(entries))


def write_example() -> None:
    """One recording before and after, as sounds and as a picture."""
    for name in ("sounds", "pictures"):
        (DOCS / name).mkdir(exist_ok=True)
    noisy, rate = audio.read(RECORDING)
    stream = open_stream("default", sample_rate=rate)
    enhanced = np.concatenate([stream.process(noisy), stream.flush()])[stream.delay :]
    signals = {"noisy": noisy[0], "enhanced": enhanced}
    for name, samples in signals.items():
        audio.write(DOCS / "sounds" / f"street_{name}.flac", samples, rate, subtype="PCM_16")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "street.png"
        save_spectrograms(picture, signals, rate)
        colours = Image.open(picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        colours.save(DOCS / "pictures" / "street.png", optimize=True)


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Writes tables, sounds and pictures anew; NAMES are the rows of README's table, by default those in float32."""
    write_tables(list(names or ("tcn-tiny", "tcn-small", "fullsubnet-small")))
    write_example()


if __name__ == "__main__":
    main()
