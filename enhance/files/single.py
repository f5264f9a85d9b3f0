"""One file by a call from Python: what the command `denoise` does with it."""

import logging
from pathlib import Path

from quietmic.enhance.catalogue import find_model
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.batch import Options
from quietmic.enhance.files.formats import check_extension
from quietmic.enhance.files.run import BatchOptions, plan_batch, run_batch
from quietmic.enhance.files.storage import find_location
from quietmic.enhance.served import Band
from quietmic.enhance.stereo import STEREO

_logger = logging.getLogger(__name__)


def denoise_file(
    source: str | Path,
    target: str | Path,
    model: str = "default",
    array: bool = False,
    channels: tuple[int, ...] | None = None,
    attenuation_limit_db: float | None = None,
    overwrite: bool = False,
    stereo: str = "auto",
    band: Band = "full",
) -> list[str]:
    """One audio file without noise, its sample rate, length and sample format kept, in constant memory.

    The samples are those of the command `quietmic denoise`. The target appears when it is complete or not at all.

    Args:
        source: file of any format that libsndfile reads, a film or the sound of a phone where ffmpeg is
            installed, or a URL of storage such as s3://bucket/name.wav.
        target: file, or URL; its extension chooses the format, folders are made.
        model: name of the catalogue (`list_models`), "default", or the path of an .onnx file.
        array: the channels are the microphones of one scene and give one output channel; else each is denoised on its
            own, or two by one mask (see `stereo`).
        channels: indices of the channels to use, counted from 0; None for all.
        attenuation_limit_db: nothing is attenuated by more than this; None for no limit.
        overwrite: replace a target that exists.
        stereo: what is done with two channels that are no array: "linked" puts one mask on both, so that a voice stays
            where it stands between them; "separate" denoises each on its own, as for a call with one party a side;
            "auto" listens which of the two they are.
        band: "full" cleans what a file above 16 kHz holds beyond the model's band, too; "narrow" gives the model's band
            alone, below 7.6 kHz.

    Returns:
        What a listener should know of the output, also written to the log: that the source was cut off or damaged, or
        had samples that are no numbers. Empty where all is well.

    Raises:
        QuietmicError: unknown model, a source that cannot be read, a target that exists or cannot be written, or
            channels, a rate, a limit or a band that cannot be served.

    Example:
        >>> denoise_file("recordings/mono_keyboard_noisy.flac", "out/keyboard.flac", overwrite=True)
        []
    """
    place, out = find_location(str(source)), find_location(str(target))
    if not place.is_file():
        reason = "a folder, and not a file" if place.is_dir() else "no such file"
        raise QuietmicError(f"{source}: {reason}", exit_code=2)
    check_extension(out)
    if stereo not in STEREO:
        raise QuietmicError(f"stereo is {stereo!r}, but it must be one of {', '.join(STEREO)}", exit_code=2)
    options = Options(find_model(model), channels, array, attenuation_limit_db, stereo=stereo, band=band)
    batch = plan_batch([str(source)], out, options, BatchOptions(overwrite=overwrite))
    if batch.skipped:
        raise QuietmicError(f"{target} exists: overwrite=True replaces it", exit_code=2)
    (result,) = run_batch(batch)
    if result.status == "failed":
        raise QuietmicError(f"{source}: {result.reason}", argument=result.argument or None)
    for warning in result.warnings:
        _logger.warning("%s: %s", source, warning)
    return result.warnings
