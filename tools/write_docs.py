"""Writes what README and docs/ show of the shipped models: python tools/write_docs.py.

- README.md: the table of models beside the best other denoiser, from the cards, docs/data/quality.json (written by
  `evaluate --json`) and docs/data/speed.json (`bench --json`)
- docs/models.md: the table of all models, from their cards
- docs/sounds/, docs/pictures/: one of the recordings, noisy and enhanced by the default model

Run it after a model, its card or one of the two files has changed.
"""

import json
import sys
import tempfile
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from quietmic import open_stream
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.files import audio
from quietmic.enhance.report.model_table import compared_markdown, models_markdown, write_into
from quietmic.enhance.report.spectrogram import save_spectrograms

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RECORDING = ROOT / "recordings" / "mono_street_noisy.wav"
COLOURS = 32  # of the picture: more make it larger and no clearer


def write_tables(shown: list[str]) -> None:
    """The tables of README.md and docs/models.md."""
    entries = list_models()
    named = {entry.name: entry for entry in entries}
    quality, speed = (json.loads((DOCS / "data" / name).read_text()) for name in ("quality.json", "speed.json"))
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
    """Writes tables, sounds and pictures anew; NAMES are the rows of README's table, by default three of the TCN."""
    write_tables(list(names or ("tcn-tiny", "tcn-small", "tcn-small-int8")))
    write_example()


if __name__ == "__main__":
    main()
