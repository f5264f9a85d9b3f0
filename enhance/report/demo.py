"""Recordings through the enhancer, with figures and pictures of before and after."""

from importlib.util import find_spec
from pathlib import Path

from quietmic.enhance.arrays import Array
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import read
from quietmic.enhance.files.batch import FileJob, Options, enhance_file
from quietmic.enhance.files.formats import is_audio_name
from quietmic.enhance.measure.metrics import pesq_wb, si_sdr, stoi
from quietmic.enhance.report.spectrogram import save_spectrograms

FIGURES = ("SI-SDR dB", "PESQ", "STOI")


def enhance_recordings(recordings: Path, out: Path, model: str) -> list[list[str]]:
    """Enhances each NAME_noisy file of a folder into `out`, with a picture of each where matplotlib is installed.

    A file with "array" in its name is one scene of several microphones. Figures are measured against NAME_clean
    where there is one, the mean over the channels.

    Returns:
        A row for each recording: name, channels, rate, and each of FIGURES before and after.

    Raises:
        QuietmicError: nothing to enhance, or a file that fails.
    """
    noisy_files = sorted(path for path in recordings.glob("*_noisy.*") if is_audio_name(path))
    if not noisy_files:
        raise QuietmicError(f"no recordings named NAME_noisy in {recordings}", exit_code=2)
    onnx_file = find_model(model)
    return [_enhance_recording(path, out, onnx_file) for path in noisy_files]


def _enhance_recording(path: Path, out: Path, model: Path) -> list[str]:
    """One row of the table; writes the sound and the picture."""
    name = path.stem.removesuffix("_noisy")
    array = "array" in name
    target = out / f"{name}_enhanced{path.suffix}"
    result = enhance_file(FileJob(path, target, Options(model, array=array)))
    if result.status == "failed":
        raise QuietmicError(f"{path}: {result.reason}")
    (noisy, rate), (enhanced, _) = read(path), read(target)
    signals = {"noisy": noisy[0], "enhanced": enhanced[0]}
    figures = ["-"] * len(FIGURES)
    clean_path = next(iter(sorted(path.parent.glob(f"{name}_clean.*"))), None)
    if clean_path is not None:
        clean, _ = read(clean_path)
        signals["clean"] = clean[0]
        before, after = _measure(clean, noisy, rate), _measure(clean, enhanced, rate)
        figures = [_show(old, new) for old, new in zip(before, after, strict=True)]
    if find_spec("matplotlib"):
        save_spectrograms(out / f"{name}.png", signals, rate, name)
    channels = f"{len(noisy)} -> {len(enhanced)}"
    return [name, channels, f"{rate / 1000:g} kHz", *figures]


def _measure(clean: Array, signal: Array, rate: int) -> list[float | None]:
    """SI-SDR, PESQ and STOI, each the mean over the channels that the clean recording has."""
    rows = [
        (si_sdr(reference, channel), pesq_wb(reference, channel, rate), stoi(reference, channel, rate))
        for reference, channel in zip(clean, signal, strict=False)
    ]
    return [_mean(column) for column in zip(*rows, strict=True)]


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _show(before: float | None, after: float | None) -> str:
    if before is None and after is None:
        return "not measured"
    return " > ".join("not measured" if value is None else f"{value:.2f}" for value in (before, after))
