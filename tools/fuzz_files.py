"""What becomes of broken files of every container: python tools/fuzz_files.py --count 2500 --markdown FILE.

A second of noise in each container and coding that libsndfile writes, its header mutated or the file cut, goes through
what `denoise` does with it. A case fails where the worker process dies, takes longer than ten seconds, leaves something
half written, or says "enhanced", without a warning, of a length that neither libsndfile nor ffmpeg decodes. Exit code 1
if one did; the files of those that failed are kept.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from make_models import make_card, make_passthrough  # noqa: E402

from quietmic.enhance.files.batch import FileJob, Options, enhance_file  # noqa: E402
from quietmic.enhance.files.library import LibraryError  # noqa: E402
from quietmic.enhance.processes import WorkerDied, run_in_processes  # noqa: E402
from quietmic.enhance.report.model_table import write_into  # noqa: E402

LIMIT_S = 10
WAIT_S = 6 * LIMIT_S  # in which a busy machine must have done what takes LIMIT_S
SLACK = 2400  # samples by which decoders of lossy codings differ at the ends
OUTCOMES = ("enhanced", "enhanced with a warning", "refused", "crashed", "hung", "half written", "another length")
FAILURES = OUTCOMES[3:]


def make_seeds(folder: Path) -> list[Path]:
    """A second of noise in every format and two codings of each that can be written."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal((16_000, 2))
    seeds = []
    for file_format in sorted(set(soundfile.available_formats()) - {"RAW", "SD2"}):
        for subtype in list(soundfile.available_subtypes(file_format))[:7]:
            path = folder / f"{file_format.lower()}-{subtype.lower()}.{file_format.lower()}"
            for n_channels in (2, 1):  # some take one channel alone
                try:
                    soundfile.write(path, samples[:, :n_channels], 16_000, subtype, format=file_format)
                    soundfile.read(path)
                except (*LibraryError, ValueError, OSError):
                    path.unlink(missing_ok=True)
                    continue
                seeds.append(path)
                break
    return seeds


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One change: bytes of the header, a number in it, a cut, a piece twice or missing, more behind the end."""
    changed = bytearray(data)
    head = min(len(data), 512)
    kind = rng.integers(6)
    if kind == 0:
        for at in rng.integers(0, head, rng.integers(1, 9)):
            changed[at] = rng.integers(256)
    elif kind == 1:
        at, width = int(rng.integers(0, head)), int(rng.choice([2, 4, 8]))
        number = int(rng.choice([0, 1, 0x7F, 0xFF])).to_bytes(1, "big") * width
        changed[at : at + width] = number[: len(changed) - at]
    elif kind == 2:
        del changed[int(rng.integers(1, len(data))) :]
    elif kind == 3:
        at = int(rng.integers(0, len(data)))
        changed[at:at] = changed[at : at + int(rng.integers(1, 300))]
    elif kind == 4:
        at = int(rng.integers(0, len(data)))
        del changed[at : at + int(rng.integers(1, 300))]
    else:
        changed += rng.bytes(int(rng.integers(1, 3000)))
    return bytes(changed)


def decode_lengths(path: Path) -> Iterator[int]:
    """Samples that libsndfile and then ffmpeg decode, where they can; the later ones cost a process of their own."""
    with suppress(*LibraryError, ValueError, MemoryError):
        yield soundfile.info(path).frames
        yield len(soundfile.read(path, always_2d=True)[0])
    if shutil.which("ffmpeg"):
        command = ["ffmpeg", "-v", "quiet", "-nostdin", "-i", f"file:{path}", "-map", "0:a:0", "-ac", "1"]
        done = subprocess.run([*command, "-f", "s16le", "-"], stdout=subprocess.PIPE, check=False)
        yield len(done.stdout) // 2


@dataclass(frozen=True)
class Case:
    """A broken file, and the name of the whole one."""

    origin: str
    source: Path


def make_cases(folder: Path, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Cases in a folder, each written when it is asked for."""
    seeds = make_seeds(folder)
    for i in range(count):
        origin = seeds[i % len(seeds)]
        source = folder / "in" / f"{i}{origin.suffix}"
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(mutate(origin.read_bytes(), rng))
        yield Case(origin.stem, source)


def run_case(model: Path, case: Case) -> tuple[str, str]:
    """In a worker: (outcome, reason)."""
    signal.alarm(WAIT_S)  # which ends this process
    with tempfile.TemporaryDirectory() as out:
        outcome = judge(case.source, Path(out) / case.source.name, Options(model))
    signal.alarm(0)
    return outcome


def judge(source: Path, target: Path, options: Options) -> tuple[str, str]:
    """What becomes of one file: (outcome, reason)."""
    begin = time.process_time()
    result = enhance_file(FileJob(source, target, options))
    if time.process_time() - begin > LIMIT_S:
        return "hung", f"took {time.process_time() - begin:.0f} s"
    left = [path.name for path in target.parent.iterdir() if path != target]
    if left or (result.status != "enhanced" and target.exists()):
        return "half written", f"{result.status}: {left}"
    if result.status != "enhanced":
        return "refused", result.reason
    if result.warnings:
        return "enhanced with a warning", result.warnings[0]
    rate = soundfile.info(target).samplerate if result.audio_s else 1
    n_samples = round(result.audio_s * rate)
    lengths = []
    for length in decode_lengths(source):
        if abs(n_samples - length) <= SLACK:
            return "enhanced", ""
        lengths.append(length)
    return "another length", f"{n_samples} samples, but {lengths} are decoded elsewhere"


def fuzz(count: int, seed: int, kept: Path) -> dict[str, Counter[str]]:
    """Outcomes of `count` cases by container; the files of failures are kept in a folder."""
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_passthrough(folder / "model.onnx", make_card("passthrough"))
        cases = make_cases(folder, count, np.random.default_rng(seed))
        begin = time.monotonic()
        for case, answer in run_in_processes(partial(run_case, folder / "model.onnx"), cases, 1, "spawn"):
            died = "hung" if time.monotonic() - begin > WAIT_S else "crashed", "the worker died"
            outcome, reason = died if isinstance(answer, WorkerDied) else answer
            found.setdefault(case.origin.split("-")[0].upper(), Counter())[outcome] += 1
            if outcome in FAILURES:
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(case.source, kept / f"{case.origin}-{case.source.name}")
                print(f"{outcome}: {case.origin} {case.source.name}: {reason}", flush=True)
            case.source.unlink()
            begin = time.monotonic()
    return found


def make_table(found: dict[str, Counter[str]]) -> str:
    """Counts by container, as Markdown."""
    lines = [f"| container | {' | '.join(OUTCOMES)} |", "|---" * (len(OUTCOMES) + 1) + "|"]
    total = sum(found.values(), Counter())
    for name, counts in [*sorted(found.items()), ("all", total)]:
        lines.append(f"| {name} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--count", default=2500, show_default=True, help="Cases.")
@click.option("--seed", default=0, show_default=True, help="Decides all mutations.")
@click.option("--markdown", type=click.Path(path_type=Path), help="File in which the table is renewed.")
@click.option(
    "--kept", type=click.Path(path_type=Path), default=ROOT / "out" / "fuzz", help="Folder for the files of failures."
)
def main(count: int, seed: int, markdown: Path | None, kept: Path) -> None:
    """Runs the cases and writes the table."""
    found = fuzz(count, seed, kept)
    table = make_table(found)
    print(table)
    if markdown:
        write_into(markdown, "fuzz", table, "make fuzz")
    sys.exit(int(any(counts[outcome] for counts in found.values() for outcome in FAILURES)))


if __name__ == "__main__":
    main()
