"""What the program ffprobe tells of a film or a sound file."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.formats import ending, is_foreign
from quietmic.enhance.files.info import AudioInfo
from quietmic.enhance.files.storage import Location

_MARKED = "mov,matroska,avi,asf,flv,ape,wv,tta,ogg,wav,w64,caf,aiff,au,flac"  # told by marks that chance does not make
_BARE = "mpegts,mpeg,mp3,aac,ac3,eac3,dts,amr,amrnb,amrwb"  # told by a few bits: believed only where the name says so
_LOSSLESS = ("alac", "flac", "pcm_", "tta", "wavpack", "ape")
_LOWEST_RATE = 32000  # a beginning without a voice takes less than what follows
_RATE_S = 60  # of the sound track, by which its bit rate is told where its header does not
_NAMES = {"track": "tracknumber"}  # what ffmpeg calls otherwise than the library that writes tags
_TECHNICAL = (
    "major_brand", "minor_version", "compatible_brands", "encoder", "language", "handler_name", "vendor_id", "duration",
    "creation_time", "bps", "number_of_", "_statistics", "timecode", "encoded_by", "itun", "gapless", "wm", "isvbr",
)  # fmt: skip
"""Beginnings of tags that tell of the file and not of the sound."""
_MADE_ANEW = ("text", "tmcd")  # data tracks of chapters and time codes, which ffmpeg writes from what it copies

_EMPTY_WORDS = ("Last message repeated", "Conversion failed", "Error while decoding stream", "Error marking filters")

START_S = 60
"""Seconds, more than a program needs to look at the beginning of a file."""


@dataclass(frozen=True)
class Media:
    """What ffprobe tells of a file.

    Attributes:
        info: of the first sound track.
        codec: of it, as in "aac".
        layout: places of its channels, as ffmpeg calls them: "quad", "5.1(side)"; "" where they are not known.
        bit_rate: of it, bits per second; None for a lossless one.
        offset_s: by which it begins later than the file.
        depth: bits of a sample of a lossless coding; 0 for another one.
        is_float: its samples are floating point numbers.
        n_tracks: sound tracks.
        n_others: further tracks of sound, moving pictures and text.
        duration_s: of the first one; 0 where that is not told.
        promised_s: length that a header counts for the first one, 0 where nothing does or a guess would.
        ends_s: length of the file as its header tells it; 0 where it does not.
        container: as ffprobe calls it.
        tags: of the first one, such as its language.
        roles: of the first one, as ffmpeg calls them: "default", "comment" ...
        pictures: numbers of the tracks that are a still picture, as the cover of a record.
        n_attached: files within the file, such as fonts of subtitles.
        n_data: tracks that are neither picture, sound nor text, such as places.
    """

    info: AudioInfo
    codec: str
    layout: str
    bit_rate: int | None
    offset_s: float
    depth: int
    is_float: bool
    n_tracks: int
    n_others: int
    duration_s: float
    promised_s: float
    ends_s: float
    container: str
    tags: Mapping[str, str]
    roles: tuple[str, ...]
    pictures: tuple[int, ...]
    n_attached: int
    n_data: int


def find_ffmpeg() -> tuple[str, str] | None:
    """The programs ffmpeg and ffprobe, None where they are not installed."""
    programs = shutil.which("ffmpeg"), shutil.which("ffprobe")
    return (programs[0], programs[1]) if programs[0] and programs[1] else None


def find_programs(path: Location) -> tuple[str, str]:
    """The programs ffmpeg and ffprobe, for a file.

    Raises:
        QuietmicError: they are not installed; it says how to.
    """
    programs = find_ffmpeg()
    if programs is None:
        raise QuietmicError(
            f"{path}: sound of this kind needs the program ffmpeg, which is not installed: `apt install ffmpeg`, "
            "`brew install ffmpeg` or `winget install ffmpeg`"
        )
    return programs


def safe_options(path: Location) -> tuple[str, ...]:
    """Options in front of an input: only files, only of these kinds."""
    kinds = f"{_MARKED},{_BARE}" if is_foreign(path) or ending(path) == "mp2" else _MARKED
    return "-protocol_whitelist", "file,pipe", "-format_whitelist", kinds


def probe(local: Path, name: Location) -> Media:
    """What is in a file.

    Args:
        local: where it lies on this machine.
        name: what it is called in messages.

    Raises:
        QuietmicError: ffmpeg is not installed, or finds no sound in the file.
    """
    command = [find_programs(name)[1], "-v", "error", *safe_options(name), "-of", "json"]
    facts, said = _ask([*command, "-show_streams", "-show_format"], local, name)
    streams, container = facts.get("streams", []), facts.get("format", {})
    tracks = [stream for stream in streams if stream.get("codec_type") == "audio"]
    if not tracks or not int(tracks[0].get("sample_rate", 0)):
        reason = f" ({said})" if said else ""
        raise QuietmicError(f"{name}: there is no sound in it that ffmpeg can read{reason}")
    track = tracks[0]
    if not int(track.get("channels", 0)):
        raise QuietmicError(f"{name}: ffmpeg cannot tell how many channels it has")
    codec, rate = track.get("codec_name", ""), int(track["sample_rate"])
    duration_s = float(track.get("duration") or container.get("duration") or 0)
    bit_rate = int(track.get("bit_rate") or (container.get("bit_rate", 0) if len(streams) == 1 else 0))
    if not bit_rate and not codec.startswith((*_LOSSLESS, "vorbis")):  # which has a quality instead
        bit_rate = _count_bits([*command, "-select_streams", "a:0", "-show_packets"], local, name)
    pictures = tuple(stream["index"] for stream in streams if "attached_pic" in _roles(stream))
    tags = {key.lower(): str(value) for key, value in {**container.get("tags", {}), **track.get("tags", {})}.items()}
    info = AudioInfo(
        int(track["channels"]), round(duration_s * rate), rate, local.suffix[1:].upper(), codec, is_counted=False,
        tags={_NAMES.get(key, key): value for key, value in tags.items() if not key.startswith(_TECHNICAL)},
        n_pictures=len(pictures),
    )  # fmt: skip
    is_lossless = codec.startswith(_LOSSLESS)
    return Media(
        info, codec, _layout_of(track), bit_rate if bit_rate and not is_lossless else None,
        max(0.0, float(track.get("start_time") or 0) - float(container.get("start_time") or 0)),
        _depth_of(track) if is_lossless else 0, track.get("sample_fmt", "").startswith(("flt", "dbl")),
        len(tracks), _count_others(streams), duration_s, _promise_of(track, container, len(streams)),
        float(container.get("duration") or 0), container.get("format_name", ""), track.get("tags", {}), _roles(track),
        pictures,
        sum(stream.get("codec_type") == "attachment" for stream in streams),
        sum(one.get("codec_type") == "data" and one.get("codec_tag_string") not in _MADE_ANEW for one in streams),
    )  # fmt: skip


def find_places(path: Path) -> str:
    """Where the channels of a file stand that the library reads, as `Media.layout`."""
    try:
        return probe(path, path).layout
    except QuietmicError:
        return ""


def _ask(command: list[str], local: Path, name: Location) -> tuple[dict[str, Any], str]:
    """(What ffprobe answers, the last line of what it complains of)."""
    try:
        found = subprocess.run(
            [*command, f"file:{local}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=START_S, check=False
        )
        facts = json.loads(found.stdout or b"{}")
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise QuietmicError(f"{name}: ffmpeg cannot make anything of it") from error
    return facts, last_words(found.stderr.decode(errors="replace")).removeprefix(f"file:{local}: ")


def last_words(said: str) -> str:
    """The last line that says what is wrong, without the part of the program and the address that it begins with."""
    telling = _telling_lines(said)
    return telling[-1] if telling else ""


def first_words(said: str) -> str:
    """The first line of those."""
    telling = _telling_lines(said)
    return telling[0] if telling else ""


def _telling_lines(said: str) -> list[str]:
    lines = [re.sub(r"^(\[[^\]]* @ 0x[0-9a-f]+\] *)+", "", line).strip() for line in said.splitlines()]
    return [line for line in lines if line and not line.startswith(_EMPTY_WORDS)]


def _layout_of(track: dict[str, Any]) -> str:
    """Places of the channels; those without a name of their own are written as "4 channels (FL+FR+LFE+BC)"."""
    layout = str(track.get("channel_layout", ""))
    number, _, places = layout.partition(" channels")
    return places.strip(" ()") if number.isdigit() else layout.removeprefix("unknown")


def _depth_of(track: dict[str, Any]) -> int:
    """Bits of a sample, as far as they mean something."""
    told = int(track.get("bits_per_raw_sample") or track.get("bits_per_sample") or 0)
    return told or {"u8": 8, "s16": 16, "s32": 24, "flt": 32}.get(track.get("sample_fmt", "").removesuffix("p"), 0)


def _count_others(streams: list[dict[str, Any]]) -> int:
    heard = [one for one in streams if one.get("codec_type") in ("audio", "video", "subtitle")]
    return len(heard) - 1 - sum("attached_pic" in _roles(one) for one in heard)


def _promise_of(track: dict[str, Any], container: dict[str, Any], n_tracks: int) -> float:
    """Seconds of sound that a header counts; in files of bare frames ffprobe guesses by the bit rate of the first."""
    kind = container.get("format_name", "")
    if kind in _BARE.split(",") or (kind == "avi" and track.get("codec_name", "").startswith("adpcm")):
        return 0.0  # of which ffmpeg writes, and reads, a length in other units
    tags = {name.upper(): str(text) for name, text in track.get("tags", {}).items()}
    if kind == "avi" and track.get("nb_frames") and track.get("time_base"):  # elsewhere it guesses by the file's length
        dividend, divisor = map(int, track["time_base"].split("/"))
        return int(track["nb_frames"]) * dividend / divisor
    clock = re.fullmatch(r"(\d+):(\d+):([\d.]+)", tags.get("DURATION", ""))
    if clock:  # in Matroska, from the beginning of the file
        hours, minutes, seconds = map(float, clock.groups())
        return 3600 * hours + 60 * minutes + seconds - max(0.0, float(track.get("start_time") or 0))
    return float(track.get("duration") or (container.get("duration") if n_tracks == 1 else 0) or 0)


def _roles(stream: dict[str, Any]) -> tuple[str, ...]:
    return tuple(role for role, is_set in stream.get("disposition", {}).items() if is_set)


def _count_bits(command: list[str], local: Path, name: Location) -> int:
    """Bits per second of the beginning of a track whose header does not tell; 0 where there are none."""
    packets = _ask([*command, "-read_intervals", f"%+{_RATE_S}"], local, name)[0].get("packets", [])
    duration_s = sum(float(packet.get("duration_time", 0)) for packet in packets)
    if not duration_s:
        return 0
    rate = 8 * sum(int(packet["size"]) for packet in packets) / duration_s
    return max(_LOWEST_RATE, 1000 * round(rate / 1000))
