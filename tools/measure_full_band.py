"""Measures the band above 8 kHz: python tools/measure_full_band.py SCENES SPEECH -o OUT.md.

SCENES are made by `scenes --rate 48000`; SPEECH is the folder whose split `valid` their speech comes from. Minutes.
"""

import csv
import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic import denoise
from quietmic.enhance.arrays import Array
from quietmic.enhance.files import audio
from quietmic.enhance.measure import metrics
from quietmic.enhance.measure.rates import at_rate
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.measure.systems import model_system, noisy_system, peer_system, run_system
from quietmic.enhance.measure.wideband import log_spectral_distance, measure_wideband, take_range

FRAME_S = 0.02
ACTIVE_DB = 35.0  # below the loudest frame of the clean speech: the talker speaks
PAUSE_DB = 50.0  # further down: he does not
UPPER_HZ = (8000.0, 16000.0)
MEAN = "mean of the microphones"  # as they are: what an array could give the band above in place of the reference


def frame_power(samples: Array, rate: int) -> NDArray[np.float64]:
    """Power of frames of 20 ms, [n_frames]."""
    length = int(FRAME_S * rate)
    return np.square(samples[: len(samples) // length * length].reshape(-1, length), dtype=np.float64).mean(axis=1)


def mean_db(power: NDArray[np.float64]) -> float:
    """Mean of powers, in dB."""
    return float(10 * np.log10(power.mean() + 1e-20)) if power.size else np.nan


def score_scene(enhanced: Array, noisy: Array, clean: Array, rate: int) -> dict[str, float]:
    """Figures of one scene; `pauses_db` is what becomes of the noise from 8 to 20 kHz while nobody speaks."""
    figures = {name: value for name, value in measure_wideband(clean, enhanced, rate).items() if value is not None}
    figures["lsd_8_16"] = log_spectral_distance(clean, enhanced, rate, *UPPER_HZ) or np.nan
    narrow = [at_rate(x, rate, metrics.METRIC_RATE) for x in (clean, enhanced)]
    figures["pesq_wb"] = metrics.pesq_wb(*narrow, metrics.METRIC_RATE) or np.nan
    figures["si_sdr"] = metrics.si_sdr(*narrow) or np.nan
    power = frame_power(clean, rate)
    pauses = power < power.max() * 10 ** (-PAUSE_DB / 10)
    before, after = (frame_power(take_range(x, rate, 8000, 20000), rate)[pauses] for x in (noisy[0], enhanced))
    figures["pauses_db"] = mean_db(after) - mean_db(before)
    return figures


def score_clean(speech: Array, rate: int) -> dict[str, float]:
    """What becomes of speech without noise: its level from 8 to 16 kHz, and what the upper band does to that below."""
    full, narrow = (denoise(speech, rate, band=band) for band in ("full", "narrow"))
    power = frame_power(speech, rate)
    active = power > power.max() * 10 ** (-ACTIVE_DB / 10)
    before, after = (frame_power(take_range(x, rate, *UPPER_HZ), rate)[active] for x in (speech, full))
    target, whole, cut = (at_rate(x, rate, metrics.METRIC_RATE) for x in (speech, full, narrow))
    figures = {"level_db": mean_db(after) - mean_db(before)}
    for name, measure in (("stoi", metrics.stoi), ("pesq_wb", metrics.pesq_wb)):
        new, old = (measure(target, x, metrics.METRIC_RATE) or np.nan for x in (whole, cut))
        figures[name] = new - old
    return figures


def read_speech(folder: Path, count: int) -> list[tuple[Array, int]]:
    """Files of the split `valid`, evenly spread over the manifest."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "valid"]
    read = [audio.read(folder / rows[i]["path"]) for i in np.linspace(0, len(rows) - 1, count).astype(int)]
    return [(samples[0], rate) for samples, rate in read]


def table(rows: dict[str, list[dict[str, float]]], columns: dict[str, str]) -> str:
    """Means as Markdown."""
    lines = ["| | " + " | ".join(columns.values()) + " |", "|---" + "|---:" * len(columns) + "|"]
    for label, figures in rows.items():
        means = [np.nanmean([row.get(name, np.nan) for row in figures]) for name in columns]
        lines.append(f"| {label} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


SCENE_COLUMNS = {
    "si_sdr": "SI-SDR dB at 16 kHz", "pesq_wb": "PESQ-WB", "si_sdr_whole": "SI-SDR dB, whole band",
    "si_sdr_high": "SI-SDR dB, 8-20 kHz", "lsd_whole": "LSD dB, whole band", "lsd_high": "LSD dB, 8-20 kHz",
    "lsd_8_16": "LSD dB, 8-16 kHz", "pauses_db": "8-20 kHz in pauses dB",
}  # fmt: skip
CLEAN_COLUMNS = {"level_db": "8-16 kHz dB", "stoi": "STOI", "pesq_wb": "PESQ-WB"}


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("speech", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The Markdown file.")
@click.option("--peer", "peers", multiple=True, default=("deepfilternet3", "rnnoise"), help="Other enhancers.")
@click.option("--count", default=12, show_default=True, help="Files of clean speech.")
def main(scenes: Path, speech: Path, out: Path, peers: tuple[str, ...], count: int) -> None:
    """Figures of the band above 8 kHz: the default model and peers on SCENES, and on clean SPEECH."""
    systems = [noisy_system(), model_system("default"), *(peer_system(name) for name in peers)]
    rows: dict[str, list[dict[str, float]]] = {system.label: [] for system in systems}
    for recording in find_recordings(scenes):
        if recording.clean is None:
            continue
        (noisy, rate), (clean, _) = audio.read(recording.noisy), audio.read(recording.clean)
        for system in systems:
            rows[system.label].append(score_scene(run_system(system, noisy, rate), noisy, clean[0], rate))
        if len(noisy) > 1:
            rows.setdefault(MEAN, []).append(score_scene(noisy.mean(axis=0), noisy, clean[0], rate))
    clean_rows = {"change": [score_clean(samples, rate) for samples, rate in read_speech(speech, count)]}
    n_scenes = len(rows[systems[0].label])
    text = f"{n_scenes} scenes, means:\n\n{table(rows, SCENE_COLUMNS)}\n\n"
    text += f"{count} files of clean speech, means:\n\n{table(clean_rows, CLEAN_COLUMNS)}\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
