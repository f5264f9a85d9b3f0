"""One file of a batch: the same stream run over it, its delay removed."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import soundfile

from quietmic.enhance.arrays import Array
from quietmic.enhance.cluster.remote import find_weights
from quietmic.enhance.errors import QuietmicError, told
from quietmic.enhance.files.audio import AudioReader
from quietmic.enhance.files.ffmpeg import FfmpegDecoder
from quietmic.enhance.files.formats import check_extension, ending, is_foreign
from quietmic.enhance.files.media import find_ffmpeg, find_places
from quietmic.enhance.files.pipes import Pipe, PipeWriter
from quietmic.enhance.files.storage import Location, Url
from quietmic.enhance.files.tags import find_lost_tags
from quietmic.enhance.files.tracks import FfmpegWriter, can_write
from quietmic.enhance.files.writer import AudioWriter
from quietmic.enhance.network import OnnxNetwork, load_network
from quietmic.enhance.served import Band
from quietmic.enhance.signals import BLOCK_S, enhance_signal
from quietmic.enhance.stereo import LISTEN_S, LinkedStream, open_pair
from quietmic.enhance.stream import Stream

_LISTEN_TO_PIPE_S = 3  # in place of LISTEN_S where somebody waits for the output
_PIPE_BLOCK_S = 1  # there, too
_PLACES = ("", "5.1", "7.1")  # those that players take channels for, of which nothing is said
_KEPT = ("ogg", "caf")  # containers of which ffmpeg reads codings that the library does not, and writes them


@dataclass(frozen=True)
class Options:
    """How every file of a batch is enhanced.

    Attributes:
        model: ONNX file.
        channels: indices of the channels to use, None for all.
        array: the channels are the microphones of one scene and give one output channel.
        attenuation_limit_db: nothing is attenuated by more than this; None for no limit.
        sha256: of the model, by which another machine finds its own copy; "" to take the path as it is.
        stereo: one of `stereo.STEREO`: one mask for both of two channels, one for each, or as their likeness says.
        raw: rate and channels of standard input without a header; None for WAV.
        band: see `open_stream`.
    """

    model: Path
    channels: tuple[int, ...] | None = None
    array: bool = False
    attenuation_limit_db: float | None = None
    sha256: str = ""
    stereo: str = "auto"
    raw: tuple[int, int] | None = None
    band: Band = "full"


@dataclass(frozen=True)
class FileJob:
    """One file to enhance; plain data, so that it travels to another process.

    Attributes:
        source: the noisy file.
        target: where the enhanced one goes.
        options: how.
    """

    source: Location | Pipe
    target: Location | Pipe
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
        stereo: "linked" or "separate" where there were two channels, else "".
    """

    source: Location | Pipe
    target: Location | Pipe
    status: str
    reason: str = ""
    argument: str = ""
    warnings: list[str] = field(default_factory=list)
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    stereo: str = ""


def enhance_file(job: FileJob, on_progress: Callable[[float], None] | None = None) -> FileResult:
    """Enhances one file in constant memory, some seconds at a time; never raises for a bad file.

    Args:
        job: what to do.
        on_progress: called with the share that is done, 0..1.
    """
    begin = time.perf_counter()
    try:
        with AudioReader(job.source) as reader:
            stereo, warnings = _enhance(reader, job, on_progress or (lambda share: None))
            audio_s = reader.n_read / reader.info.sample_rate
    except Exception as error:  # whatever is wrong with one file must not stop the others
        reason = told(error).removeprefix(f"{job.source}: ") or type(error).__name__
        return FileResult(job.source, job.target, "failed", reason, getattr(error, "argument", None) or "")
    elapsed_s = time.perf_counter() - begin
    return FileResult(job.source, job.target, "enhanced", "", "", warnings, audio_s, elapsed_s, stereo)


def _enhance(reader: AudioReader, job: FileJob, on_progress: Callable[[float], None]) -> tuple[str, list[str]]:
    """(What was done with two channels, warnings)."""
    info, options = reader.info, job.options
    channels = list(range(info.n_channels) if options.channels is None else options.channels)
    if unknown := [channel for channel in channels if not 0 <= channel < info.n_channels]:
        raise QuietmicError(f"there is no channel {unknown[0]}: the file has {info.n_channels}, counted from 0")
    model = find_weights(options.model, options.sha256) if options.sha256 else options.model
    network = load_network(model, options.sha256)
    blocks: Iterable[Array] = (block[channels] for block in reader.blocks(_block_s(reader) * info.sample_rate))
    streams: list[Stream | LinkedStream]
    stereo = ""
    if len(channels) == 2 and not options.array:
        stereo, streams, blocks = _open_pair(network, reader, options, blocks)
    else:
        n_streams, n_mics = (1, len(channels)) if options.array else (len(channels), 1)
        limit_db = options.attenuation_limit_db
        streams = [Stream(network, n_mics, info.sample_rate, limit_db, options.band) for _ in range(n_streams)]
    with ExitStack() as stack:
        writer = _open_writer(job, reader, 1 if options.array else len(channels), stack)
        for ready in enhance_signal(streams, blocks):
            writer.write(ready)
            if info.n_samples:
                on_progress(min(1.0, reader.n_read / info.n_samples))
        if reader.damage and not reader.n_read:
            raise QuietmicError(f"nothing of it can be read: {reader.damage}")
    warnings = [*reader.warnings, *writer.notes]
    if n_bad := sum(stream.non_finite for stream in streams):
        warnings.append(f"{n_bad} samples were NaN or infinite and count as silence")
    return stereo, warnings


def _open_pair(
    network: OnnxNetwork, reader: AudioReader, options: Options, blocks: Iterable[Array]
) -> tuple[str, list[Stream | LinkedStream], Iterable[Array]]:
    """Streams for two channels, which are listened to first; ("linked" or "separate", streams, all blocks)."""

    def make_stream() -> Stream:
        return Stream(network, 1, reader.info.sample_rate, options.attenuation_limit_db, options.band)

    coming = iter(blocks)
    listen_s = _LISTEN_TO_PIPE_S if isinstance(reader.path, Pipe) else LISTEN_S
    heard = [] if options.stereo == "separate" else list(islice(coming, listen_s // _block_s(reader)))
    how, streams = open_pair(make_stream, options.stereo, heard, reader.info.sample_rate)
    return how, streams, chain(_used_up(heard), coming)


def _block_s(reader: AudioReader) -> int:
    """Seconds that are read at a time."""
    return _PIPE_BLOCK_S if isinstance(reader.path, Pipe) else BLOCK_S


def _used_up(blocks: list[Array]) -> Iterable[Array]:
    """The blocks of a list, which does not keep them."""
    blocks.reverse()
    while blocks:
        yield blocks.pop()


def _open_writer(
    job: FileJob, reader: AudioReader, n_channels: int, stack: ExitStack
) -> AudioWriter | FfmpegWriter | PipeWriter:
    """The writer that the target needs."""
    rate, info = reader.info.sample_rate, reader.info
    if isinstance(job.target, Pipe):
        return stack.enter_context(PipeWriter(job.target, n_channels, rate, info))
    target = stack.enter_context(job.target.written_from()) if isinstance(job.target, Url) else job.target
    tags_of = None if isinstance(job.source, Pipe) else job.source
    if is_foreign(target):
        return stack.enter_context(_open_ffmpeg(target, n_channels, reader, tags_of))
    stays = tags_of is not None and ending(target) == ending(tags_of)
    film = reader.film
    is_kept = film is not None and film.media.container in _KEPT and stays
    if is_kept and can_write(target, n_channels, rate, film):  # FLAC in Ogg and ALAC in CAF, as ffmpeg makes them
        return stack.enter_context(_open_ffmpeg(target, n_channels, reader, tags_of))
    try:
        writer = AudioWriter(target, n_channels, rate, like=info, subtype=_subtype_of(target, film), tags_of=tags_of)
    except QuietmicError:
        # What the library reads but cannot write, such as MPEG layer 2.
        if not stays or find_ffmpeg() is None or not can_write(target, n_channels, rate, film):
            raise
        return stack.enter_context(_open_ffmpeg(target, n_channels, reader, tags_of))
    if film and film.media.layout not in _PLACES and 2 < n_channels == info.n_channels:
        writer.notes.append(f"left out: the places of its channels ({film.media.layout})")
    if film and stays:
        writer.notes.append(
            f"written in the usual coding of .{ending(target)}, since its own cannot be: {info.subtype}"
        )
    return stack.enter_context(writer)


def _subtype_of(target: Path, film: FfmpegDecoder | None) -> str | None:
    """The coding that keeps the depth of what ffmpeg reads; None for the usual one."""
    if film is None or film.media.depth <= 16:
        return None
    wanted = "FLOAT" if film.media.is_float else "PCM_24"
    return wanted if soundfile.check_format(check_extension(target), wanted) else None


def _open_ffmpeg(target: Path, n_channels: int, reader: AudioReader, tags_of: Location | None) -> FfmpegWriter:
    """A writer that says which tags of a file the library reads are left out; those of a film are all copied."""
    info = reader.info
    pictures_of = tags_of if reader.film is None else None
    layout = find_places(pictures_of) if isinstance(pictures_of, Path) and 2 < n_channels == info.n_channels else ""
    depth = int(info.subtype.rpartition("_")[2][-2:].lstrip("SU")) if info.subtype.startswith("PCM_") else 0
    writer = FfmpegWriter(target, n_channels, info.sample_rate, reader.film, info.tags, pictures_of, layout, depth)
    if reader.film is None and tags_of is not None:
        writer.notes += find_lost_tags(tags_of, info.format, ending(target))
    return writer
