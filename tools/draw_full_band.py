"""Draws voices with the band above 8 kHz: python tools/draw_full_band.py SCENES NAME... -o OUT.

Of each scene one picture: noisy, enhanced by the default model, by a peer, and clean. SCENES are made by
`scenes --rate 48000`; the pictures in docs/pictures are those that docs/full-band.md names.
"""

import sys
import tempfile
from pathlib import Path

import click
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.enhance.files import audio
from quietmic.enhance.measure.recordings import Recording, find_recordings
from quietmic.enhance.measure.systems import System, model_system, noisy_system, peer_system, run_system
from quietmic.enhance.report.spectrogram import save_spectrograms

SECONDS = 3.0
COLOURS = 16  # more make the files larger and no clearer
WIDTH = 720  # pixels


def draw(recording: Recording, systems: list[System], path: Path) -> None:
    """One picture of a scene's first seconds."""
    noisy, rate = audio.read(recording.noisy)
    signals = {system.label: run_system(system, noisy, rate) for system in systems}
    if recording.clean:
        signals["clean"] = audio.read(recording.clean)[0][0]
    n_samples = int(SECONDS * rate)
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "full.png"
        save_spectrograms(full, {label: samples[:n_samples] for label, samples in signals.items()}, rate)
        picture = Image.open(full).convert("RGB")
        picture = picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.BOX)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("names", nargs=-1, required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the pictures.")
@click.option("--peer", default="deepfilternet3", show_default=True, help="The other enhancer.")
def main(scenes: Path, names: tuple[str, ...], out: Path, peer: str) -> None:
    """Pictures of the scenes NAMES of the folder SCENES: noisy, ours, the peer's and clean."""
    systems = [noisy_system(), model_system("default"), peer_system(peer)]
    recordings = {recording.name: recording for recording in find_recordings(scenes)}
    for number, name in enumerate(names, 1):
        if name not in recordings:
            raise click.UsageError(f"no scene {name} in {scenes}")
        draw(recordings[name], systems, out / f"full-band-{number}.png")


if __name__ == "__main__":
    main()
