"""Which files a batch enhances, and where each of them goes."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files.batch import FileJob, FileResult, Options
from quietmic.enhance.files.formats import check_extension, is_audio, is_file_name
from quietmic.enhance.files.pipes import Pipe
from quietmic.enhance.files.storage import Location, Url, find_location
from quietmic.enhance.files.walk import files_below


@dataclass(frozen=True)
class Plan:
    """What the inputs of a batch stand for.

    Attributes:
        jobs: files to enhance.
        left_out: results of the others: no audio, or a target outside the output.
    """

    jobs: list[FileJob]
    left_out: list[FileResult]


def plan_jobs(inputs: list[str], out: Location, options: Options) -> Plan:
    """The jobs that the inputs stand for.

    Args:
        inputs: files, folders (searched to any depth, hidden names left out) and glob patterns, here or in storage;
            "-" alone for standard input.
        out: the output of a single file, else a folder that keeps the tree below each input folder; "-" for standard
            output.
        options: how.

    Raises:
        QuietmicError: exit code 2: an input that does not exist or has no name, an output that would overwrite an input
            or another output, or a file where a folder must be; 1: nothing but folders that cannot be read.
    """
    if "-" in inputs or out == Path("-"):
        return _plan_pipe(inputs, out, options)
    found: dict[Location, Location] = {}
    others: list[Location] = []
    unread: list[FileResult] = []
    places = [find_location(name) for name in inputs]
    single = len(places) == 1 and places[0].is_file()
    for place in (match for given in places for match in _expand(given)):
        targets: dict[Location, Location]
        if isinstance(place, Url):
            targets = _targets_in_storage(place, out)
        elif place.is_dir():
            targets = {path: out / path.relative_to(place) for path in _files_below(place, out, unread)}
        else:
            found[place] = out / place.name
            continue
        others += [path for path in targets if not is_audio(path)]
        found |= {path: target for path, target in targets.items() if is_audio(path)}
    if not found and unread:
        raise QuietmicError(f"{unread[0].source}: {unread[0].reason}")
    if not found:
        raise QuietmicError(f"no audio files in {', '.join(inputs)}", exit_code=2)
    left_out = [*unread, *(FileResult(path, path, "skipped", "not an audio file") for path in others)]
    if single and not out.is_dir() and is_file_name(out):
        check_extension(out)
        found = dict.fromkeys(found, out)
    elif out.exists() and not out.is_dir():
        raise QuietmicError(f"{out} is {_kind(out)}, but the outputs need a folder", exit_code=2)
    else:
        outside = [source for source, target in found.items() if not is_below(target, out)]
        left_out += [_refuse(source, found.pop(source), out) for source in outside]
    found = _one_for_each_target(found)
    return Plan([FileJob(source, target, options) for source, target in found.items()], left_out)


def _plan_pipe(inputs: list[str], out: Location, options: Options) -> Plan:
    """One input and one output, of which at least one is a stream."""
    if len(inputs) > 1:
        raise QuietmicError("standard input and output take one sound: give no other input", exit_code=2)
    source: Location | Pipe = Pipe("standard input", options.raw) if inputs[0] == "-" else find_location(inputs[0])
    if not isinstance(source, Pipe) and not source.is_file():
        raise QuietmicError(f"no such file: {source}", exit_code=2)
    if out == Path("-"):
        return Plan([FileJob(source, Pipe("standard output", options.raw), options)], [])
    if out.is_dir() or not is_file_name(out):
        raise QuietmicError(f"{out} is a folder, but the sound of standard input needs the name of a file", exit_code=2)
    check_extension(out)
    return Plan([FileJob(source, out, options)], [])


def is_below(target: Location, folder: Location) -> bool:
    """Whether a target lies in the output folder, whatever "..", links and absolute names are in it."""
    if isinstance(target, Url) or isinstance(folder, Url):
        return str(target).startswith(f"{folder}/") and ".." not in str(target).removeprefix(str(folder)).split("/")
    # The folder of the target is followed and not the target, which is replaced even where it is a link.
    return (_real(target.parent) / target.name).is_relative_to(_real(folder)) and target.name != ".."


def _real(path: Path) -> Path:
    """Where a path leads through all links; one that leads to itself stays as it is named."""
    return Path(os.path.realpath(path))


def _place(location: Location) -> Location:
    """The same for storage too, which has no links."""
    return location.resolve() if isinstance(location, Url) else _real(location)


def _kind(place: Location) -> str:
    """What stands at a place that is no folder, in words."""
    return "a file" if place.is_file() else "a device or a pipe"


def _refuse(source: Location, target: Location, out: Location) -> FileResult:
    return FileResult(source, target, "failed", f"its name leads out of {out}, where nothing is written")


def _targets_in_storage(place: Url, out: Location) -> dict[Location, Location]:
    """The same for storage: a file, a pattern, or all that lies below a name."""
    if place.is_file():
        return {place: out / place.name}
    files = [url for url in place.files_below() if not url.name.startswith(".") and not f"{url}/".startswith(f"{out}/")]
    if not files:
        raise QuietmicError(f"no such file or folder: {place}", exit_code=2)
    return {url: out / (url.relative_to(place) if url.startswith(f"{place}/") else url.name) for url in files}


def _files_below(folder: Path, out: Location, unread: list[FileResult]) -> list[Path]:
    """Files to any depth without outputs of an earlier run that lie inside the folder; what is unread is told there."""

    def tell(error: OSError) -> None:
        place = Path(error.filename)
        reason = f"the folder cannot be read: {reason_of(error)}"
        unread.append(FileResult(place, out / place.relative_to(folder), "failed", reason))

    below, root = None if isinstance(out, Url) else _real(out), _real(folder)
    inside = below is not None and below.is_relative_to(root) and below != root
    return [path for path in files_below(folder, tell) if not (below and inside and _real(path).is_relative_to(below))]


def _expand(place: Location) -> list[Location]:
    """The place itself, or what a pattern matches on this machine."""
    if isinstance(place, Url) or place.is_file() or place.is_dir():
        return [place]
    if place.exists():
        raise QuietmicError(f"{place} is neither a file nor a folder: what comes through a pipe is `-`", exit_code=2)
    if place.is_symlink():
        raise QuietmicError(f"{place} is a link that leads nowhere", exit_code=2)
    matches = sorted(glob.glob(str(place), recursive=True))
    if not matches:
        raise QuietmicError(f"no such file or folder: {place}", exit_code=2)
    return [Path(match) for match in matches]


def _one_for_each_target(found: dict[Location, Location]) -> dict[Location, Location]:
    """Source -> target, once for what several names lead to, as patterns find it where a link leads up."""
    places = {source: _place(source) for source in found}
    sources = {*places.values()}
    taken: dict[Location, Location] = {}
    for source, target in found.items():
        place = _place(target)
        if place in sources:
            raise QuietmicError(f"{target} would overwrite an input: choose another output", exit_code=2)
        other = taken.setdefault(place, source)
        if places[other] != places[source]:
            raise QuietmicError(f"{other} and {source} would both be written to {target}", exit_code=2)
    return {source: found[source] for source in taken.values()}
