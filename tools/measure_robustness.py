"""Measures what must not go wrong: python tools/measure_robustness.py SCENES SPEECH.

Clean speech, quiet, whispered and a child's (utterances of the split `valid` of SPEECH), the first 200 ms of utterances
after two seconds of noise, arrays with unequal, dead and late microphones (SCENES, made by `scenes`, four microphones),
and ten minutes of music or typing before a scene. Writes its part of docs/robustness.md. Minutes.
"""

import copy
import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import soxr
from scipy.signal import istft, lfilter, stft

from quietmic import open_stream
from quietmic.enhance.arrays import Array
from quietmic.enhance.files import audio
from quietmic.enhance.measure import metrics
from quietmic.enhance.measure.rates import at_rate
from quietmic.enhance.measure.recordings import find_recordings
from quietmic.enhance.report.model_table import write_into
from quietmic.enhance.stream import Stream

PAGE = Path(__file__).resolve().parent.parent / "docs" / "robustness.md"
RATE = 16000
MEASURES = ("si_sdr", "stoi", "pesq_wb", "level_db")


def enhance(model: str, samples: Array) -> Array:
    """[n_mics, n_samples] -> [n_samples], aligned with the input."""
    return finish(open_stream(model, len(samples), RATE), samples)


def finish(stream: Stream, samples: Array) -> Array:
    """What comes of the last [n_mics, n_samples] that a stream hears, [n_samples], aligned with them."""
    out = np.concatenate([stream.process(samples), stream.flush()], axis=-1).reshape(-1)
    return out[len(out) - samples.shape[1] :]


def active_level(samples: Array) -> float:
    """Level in dB of the 20 ms frames within 35 dB of the loudest."""
    power = np.square(samples[: len(samples) // 320 * 320].reshape(-1, 320)).mean(axis=1)
    return float(10 * np.log10(power[power >= power.max() * 10**-3.5].mean()))


def score(reference: Array, estimate: Array) -> dict[str, float]:
    """SI-SDR in dB, STOI, PESQ-WB, and the change of the speech level in dB."""
    return {
        "si_sdr": metrics.si_sdr(reference, estimate) or np.nan,
        "stoi": metrics.stoi(reference, estimate, RATE) or np.nan,
        "pesq_wb": metrics.pesq_wb(reference, estimate, RATE) or np.nan,
        "level_db": active_level(estimate) - active_level(reference),
    }


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means of each measure over rows, those that were not measured left out."""
    return {name: float(np.nanmean([row[name] for row in rows])) for name in MEASURES}


def utterances(folder: Path, count: int) -> Iterator[Array]:
    """Utterances [n_samples] of the split `valid`, evenly spread over the manifest, 3 s or longer."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "valid" and float(row["seconds"]) >= 3]
    for i in np.linspace(0, len(rows) - 1, count).astype(int):
        samples, rate = audio.read(folder / rows[i]["path"])
        yield at_rate(samples[0], rate, RATE)


def as_spoken(speech: Array) -> Array:
    """Speech [n_samples] as it is."""
    return speech


def whispered(speech: Array) -> Array:
    """The envelope of each frame's spectrum on noise: no voice, as nobody whispered for these data."""
    frames = stft(speech, RATE, nperseg=512)[2]
    cepstrum = np.fft.irfft(np.log(np.abs(frames) + 1e-5), axis=0)
    cepstrum[30:-29] = 0  # harmonics of a voice
    noise = stft(np.random.default_rng(0).normal(size=len(speech)), RATE, nperseg=512)[2]
    envelope = np.exp(np.fft.rfft(cepstrum, axis=0).real)
    samples = istft(envelope * noise / np.abs(noise).mean(), RATE, nperseg=512)[1]
    return samples[: len(speech)].astype(np.float32)


def as_a_child(speech: Array) -> Array:
    """Pitch and formants a third higher, and faster by as much."""
    return soxr.resample(speech, 4 * RATE, 3 * RATE)


VOICES = {
    "clean speech at -26 dBFS": (as_spoken, -26),
    "clean speech at -45 dBFS": (as_spoken, -45),
    "clean, whispered, at -45 dBFS": (whispered, -45),
    "clean, as a child speaks, at -26 dBFS": (as_a_child, -26),
}


def clean_speech(model: str, folder: Path, voice: str, count: int) -> dict[str, float]:
    """Speech without noise, in a voice and at its level, against itself."""
    change, level_db = VOICES[voice]
    rows = []
    for speech in map(change, utterances(folder, count)):
        speech = speech * np.float32(10 ** ((level_db - active_level(speech)) / 20))
        speech = np.clip(speech, -1, 1)
        rows.append(score(speech, enhance(model, speech[None])))
    return mean(rows)


def first_words(model: str, folder: Path, snr_db: float, count: int) -> list[float]:
    """Change in dB of the first 200 ms of utterances that begin after two seconds of a steady noise.

    The level is that of the speech within the output, found by projection on the clean speech: noise does not count.
    """
    rng, changes = np.random.default_rng(0), []
    for speech in utterances(folder, count):
        smooth = np.convolve(np.square(speech), np.ones(1600), "valid")  # over 100 ms: a click is no word
        begin = int(np.argmax(smooth > 0.03 * smooth.max()))
        speech = np.concatenate([np.zeros(2 * RATE), speech[begin:]]).astype(np.float32)
        noise = lfilter([1.0], [1.0, -0.9], rng.normal(size=len(speech)))  # towards low frequencies, as rooms hum
        noise *= 10 ** ((active_level(speech) - snr_db) / 20) / noise.std()
        word = slice(2 * RATE, 2 * RATE + RATE // 5)
        clean, enhanced = speech[word], enhance(model, (speech + noise).astype(np.float32)[None])[word]
        changes.append(float(20 * np.log10(max(enhanced @ clean / (clean @ clean), 1e-3))))
    return changes


def spread(noisy: Array, rng: np.random.Generator) -> Array:
    """Gains of +-6 dB, the reference's kept."""
    gains = 10 ** (rng.uniform(-6, 6, len(noisy)) / 20)
    gains[0] = 1
    return (noisy * gains[:, None]).astype(np.float32)


def dead(noisy: Array, rng: np.random.Generator) -> Array:
    """One microphone behind the reference carries nothing."""
    noisy = noisy.copy()
    noisy[int(rng.integers(1, len(noisy)))] = 0
    return noisy


def dead_reference(noisy: Array, rng: np.random.Generator) -> Array:
    """A dead microphone stands in front of the others: the old reference takes over, so the target stays."""
    return np.concatenate([np.zeros_like(noisy[:1]), noisy])


def late(noisy: Array, rng: np.random.Generator) -> Array:
    """Up to 1 ms of delay for each microphone but the reference."""
    delays = rng.integers(0, RATE // 1000 + 1, len(noisy))
    delays[0] = 0
    return np.stack([np.roll(mic, d) for mic, d in zip(noisy, delays, strict=True)])


FAULTS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "one microphone": lambda noisy, rng: noisy[:1],
    "four microphones": lambda noisy, rng: noisy,
    "gains spread by 6 dB": spread,
    "one of four dead": dead,
    "reference dead": dead_reference,
    "up to 1 ms late": late,
}


def music(seconds: int, rng: np.random.Generator) -> Array:
    """Chords of eight harmonics a note, a new one each half second."""
    time = np.arange(RATE // 2) / RATE
    chords = []
    for _ in range(2 * seconds):
        roots = 110 * 2 ** (rng.choice([0, 3, 4, 7, 9, 12, 16], 3, replace=False) / 12)
        tones = [np.sin(2 * np.pi * k * root * time) / k for root in roots for k in range(1, 9)]
        chords.append(0.05 * np.sum(tones, axis=0) * np.minimum(1, 20 * time) * np.exp(-2 * time))
    return np.concatenate(chords).astype(np.float32)


def typing(seconds: int, rng: np.random.Generator) -> Array:
    """Six clicks a second, decaying noise of 20 ms each."""
    samples = np.zeros(seconds * RATE)
    for start in rng.integers(0, len(samples) - 640, 6 * seconds):
        samples[start : start + 640] += rng.uniform(0.05, 0.3) * rng.normal(size=640) * np.exp(-np.arange(640) / 100)
    return samples.astype(np.float32)


def after(model: str, before: Array, pairs: list[tuple[Array, Array]]) -> Iterator[tuple[str, dict[str, float]]]:
    """Mean scores of scenes heard behind another sound, without a break: of all of them, and from a second on."""
    stream = open_stream(model, 1, RATE)
    stream.process(before[None])
    outputs = [(clean, finish(copy.copy(stream), noisy[:1])) for noisy, clean in pairs]
    for part, start in (("", 0), (", from one second on", RATE)):
        yield part, mean([score(clean[start:], output[start:]) for clean, output in outputs])


def measure(model: str, scenes: Path, speech: Path, count: int) -> dict[str, dict[str, float]]:
    """Mean scores of a model for every condition."""
    table = {voice: clean_speech(model, speech, voice, count) for voice in VOICES}
    pairs = [
        (audio.read(scene.noisy)[0], audio.read(scene.clean)[0][0])
        for scene in find_recordings(scenes)[:count]
        if scene.clean
    ]
    for name, fault in FAULTS.items():
        rng = np.random.default_rng(0)
        table[name] = mean([score(clean, enhance(model, fault(noisy, rng))) for noisy, clean in pairs])
    rng = np.random.default_rng(0)
    for name, sound in (("nothing", music(1, rng)[:0]), ("ten minutes of music", music(600, rng)),
                        ("ten minutes of typing", typing(600, rng))):  # fmt: skip
        table |= {f"after {name}{part}": row for part, row in after(model, sound, pairs)}
    return table


@click.command()
@click.argument("scenes", type=click.Path(path_type=Path))
@click.argument("speech", type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, default=["tcn-small"], show_default=True, help="May be repeated.")
@click.option("--count", default=20, show_default=True, help="Utterances and scenes.")
def main(scenes: Path, speech: Path, models: tuple[str, ...], count: int) -> None:
    """Scores of models on clean SPEECH, on SCENES with broken microphones, and after long music and typing."""
    lines = [
        f"Means over {count} utterances of clean speech (against themselves) and {count} scenes (against the clean",
        "reference), the last of them where ten minutes of another sound came before: what a network remembers of it",
        "costs the first second of the scene.\n",
        "| model | condition | SI-SDR dB | STOI | PESQ-WB | speech level, change in dB |",
        "|---" * 6 + "|",
    ]
    for model in models:
        for name, row in measure(model, scenes, speech, count).items():
            cells = f"{row['si_sdr']:.2f} | {row['stoi']:.3f} | {row['pesq_wb']:.2f} | {row['level_db']:+.1f}"
            lines.append(f"| {model} | {name} | {cells} |")
    lines += [
        f"\nThe first 200 ms of {count} utterances, after two seconds of steady noise that goes on: change of the",
        "speech's level, found by projection on the clean speech.\n",
        "| model | SNR | mean dB | worst dB |",
        "|---" * 4 + "|",
    ]
    for model in models:
        for snr_db in (20, 10):
            changes = first_words(model, speech, snr_db, count)
            lines.append(f"| {model} | {snr_db} dB | {np.mean(changes):+.1f} | {min(changes):+.1f} |")
    write_into(PAGE, "robustness", "\n".join(lines), "python tools/measure_robustness.py")
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
