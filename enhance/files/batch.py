"""Files and folders: the same stream run over a file, its delay removed."""

import glob
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.cluster.remote import find_weights
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import AudioReader, AudioWriter, check_extension, is_audio_name
from quietmic.enhance.files.storage import Location, Url, find_location
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.stream import Stream


@dataclass(frozen=True)
class Options:
    """How every file of a batch is enhanced.

    Attributes:
        model: ONNX file.
        channels: indices of the channels to use, None for all.
        array: the channels are the microphones of one scene and give one output channel.
        attenuation_limit_db: nothing is attenuated by more than this; None for no limit.
        sha256: of the model, by which another machine finds its own copy; "" to take the path as it is.
    """

    model: Path
    channels: tuple[int, ...] | None = None
    array: bool = False
    attenuation_limit_db: float | None = None
    sha256: str = ""


@dataclass(frozen=True)
class FileJob:
    """One file to enhance; plain data, so that it travels to another process.

    Attributes:
        source: the noisy file.
        target: where the enhanced one goes.
        options: how.
    """

    source: Location
    target: Location
    options: Options


@dataclass(frozen=True)
class FileResult:
    """What became of one file.

    Attributes:
        source: the noisy file.
        target: the enhanced one.
        status: "enhanced", "skipped" or "failed".
        reason: why it was skipped or failed.
        argument: the one that would have to be given otherwise, by its name in Python; "" where that would not help.
        warnings: what a listener should know of the output.
        audio_s: length of the sound, seconds.
        elapsed_s: time it took, seconds.
    """

    source: Location
    target: Location
    status: str
    reason: str = ""
    argument: str = ""
    warnings: list[str] = field(default_factory=list)
    audio_s: float = 0.0
    elapsed_s: float = 0.0


def enhance_file(job: FileJob, on_progress: Callable[[float], None] | None = None) -> FileResult:
    """Enhances one file in constant memory, about a second at a time; never raises for a bad file.

    Args:
        job: what to do.
        on_progress: called with the share that is done, 0..1.
    """
    begin = time.perf_counter()
    try:
        with AudioReader(job.source) as reader:
            warnings = _enhance_blocks(reader, job, on_progress)
            audio_s = reader.n_read / reader.info.sample_rate
    except Exception as error:  # whatever is wrong with one file must not stop the others
        reason = str(error).removeprefix(f"{job.source}: ") or type(error).__name__
        return FileResult(job.source, job.target, "failed", reason, getattr(error, "argument", None) or "")
    elapsed_s = time.perf_counter() - begin
    return FileResult(job.source, job.target, "enhanced", "", "", warnings, audio_s, elapsed_s)


def enhance_signal(streams: list[Stream], blocks: Iterable[Array]) -> Iterable[Array]:
    """Enhanced blocks in time with the input: the streams' delay is cut off, the tail flushed.

    Args:
        streams: one for all channels (an array), or one for each channel.
        blocks: [n_channels, n_samples] each.

    Yields:
        [len(streams), n_ready]; as many samples in all as went in.
    """
    to_drop = streams[0].delay
    for block in blocks:
        channels = [block] if len(streams) == 1 else list(block)
        ready = np.stack([stream.process(part) for stream, part in zip(streams, channels, strict=True)])
        drop = min(to_drop, ready.shape[1])
        to_drop -= drop
        yield ready[:, drop:]
    yield np.stack([stream.flush() for stream in streams])[:, to_drop:]


def _enhance_blocks(reader: AudioReader, job: FileJob, on_progress: Callable[[float], None] | None) -> list[str]:
    info, options = reader.info, job.options
    channels = list(range(info.n_channels) if options.channels is None else options.channels)
    if max(channels) >= info.n_channels:
        raise QuietmicError(f"there is no channel {max(channels)}: the file has {info.n_channels}, counted from 0")
    network = open_network(options.model, options.sha256)
    n_streams, n_mics = (1, len(channels)) if options.array else (len(channels), 1)
    streams = [Stream(network, n_mics, info.sample_rate, options.attenuation_limit_db) for _ in range(n_streams)]
    blocks = (block[channels] for block in reader.blocks(info.sample_rate))
    with ExitStack() as stack:
        target = stack.enter_context(job.target.written_from()) if isinstance(job.target, Url) else job.target
        writer = stack.enter_context(AudioWriter(target, n_streams, info.sample_rate, like=info))
        for ready in enhance_signal(streams, blocks):
            writer.write(ready)
            if on_progress and info.n_samples:
                on_progress(min(1.0, reader.n_read / info.n_samples))
    warnings = [reader.damage] if reader.damage else []
    if n_bad := sum(stream.non_finite for stream in streams):
        warnings.append(f"{n_bad} samples were NaN or infinite and count as silence")
    return warnings


@lru_cache(maxsize=1)
def open_network(path: Path, sha256: str) -> OnnxNetwork:
    """One session per process, however many files it enhances."""
    return OnnxNetwork(find_weights(path, sha256) if sha256 else path)


def plan_jobs(inputs: list[str], out: Location, options: Options) -> tuple[list[FileJob], list[Location]]:
    """The jobs that the inputs stand for, and the files in folders that are no audio by their name.

    Args:
        inputs: files, folders (searched to any depth, hidden names left out) and glob patterns, here or in storage.
        out: the output of a single file, else a folder that keeps the tree below each input folder.
        options: how.

    Raises:
        QuietmicError: exit code 2: an input that does not exist, an output that would overwrite an input or another
            output, or a file where a folder must be.
    """
    found: dict[Location, Location] = {}
    others: list[Location] = []
    places = [find_location(name) for name in inputs]
    single = len(places) == 1 and places[0].is_file()
    for place in (match for given in places for match in _expand(given)):
        targets: dict[Location, Location]
        if isinstance(place, Url):
            targets = _targets_in_storage(place, out)
        elif place.is_dir():
            targets = {path: out / path.relative_to(place) for path in _files_below(place, out)}
        else:
            found[place] = out / place.name
            continue
        others += [path for path in targets if not is_audio_name(path)]
        found |= {path: target for path, target in targets.items() if is_audio_name(path)}
    if not found:
        raise QuietmicError(f"no audio files in {', '.join(inputs)}", exit_code=2)
    if single and out.suffix and not out.is_dir():
        check_extension(out)
        found = dict.fromkeys(found, out)
    elif out.exists() and not out.is_dir():
        raise QuietmicError(f"{out} is a file, but the outputs need a folder", exit_code=2)
    _check_targets(found)
    return [FileJob(source, target, options) for source, target in found.items()], others


def _targets_in_storage(place: Url, out: Location) -> dict[Location, Location]:
    """The same for storage: a file, a pattern, or all that lies below a name."""
    if place.is_file():
        return {place: out / place.name}
    files = [url for url in place.files_below() if not url.name.startswith(".") and not f"{url}/".startswith(f"{out}/")]
    if not files:
        raise QuietmicError(f"no such file or folder: {place}", exit_code=2)
    return {url: out / (url.relative_to(place) if url.startswith(f"{place}/") else url.name) for url in files}


def _files_below(folder: Path, out: Location) -> list[Path]:
    """Files to any depth without hidden ones, and without outputs of an earlier run that lie inside the folder."""
    below = out.resolve() if isinstance(out, Path) else None
    inside = below is not None and below.is_relative_to(folder.resolve()) and below != folder.resolve()
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not (below and inside and path.resolve().is_relative_to(below))
    ]


def _expand(place: Location) -> list[Location]:
    """The place itself, or what a pattern matches on this machine."""
    if isinstance(place, Url) or place.exists():
        return [place]
    matches = sorted(glob.glob(str(place), recursive=True))
    if not matches:
        raise QuietmicError(f"no such file or folder: {place}", exit_code=2)
    return [Path(match) for match in matches]


def _check_targets(found: dict[Location, Location]) -> None:
    sources = {source.resolve() for source in found}
    taken: dict[Location, Location] = {}
    for source, target in found.items():
        place = target.resolve()
        if place in sources:
            raise QuietmicError(f"{target} would overwrite an input: choose another output", exit_code=2)
        other = taken.setdefault(place, source)
        if other.resolve() != source.resolve():
            raise QuietmicError(f"{other} and {source} would both be written to {target}", exit_code=2)
