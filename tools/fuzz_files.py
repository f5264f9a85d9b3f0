"""What becomes of broken files of every container: python tools/fuzz_files.py --count 2500 --markdown FILE.

A second of noise in each container and coding that libsndfile writes, its header mutated or the file cut, goes through
what `denoise` does with it. A case fails where the worker process dies, takes longer than ten seconds, leaves something
half written, or says "enhanced", without a warning, of a length that neither libsndfile nor ffmpeg decodes. Exit code 1
if one did; the files of those that failed are kept.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import active_children
from pathlib import Path

import click
import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from make_models import make_card, make_passthrough  # noqa: E402

from quietmic.enhance.files.batch import FileJob, Options, enhance_file  # noqa: E402
from quietmic.enhance.files.library import LibraryError  # noqa: E402
from quietmic.enhance.processes import worker_pool  # noqa: E402
from quietmic.enhance.report.model_table import write_into  # noqa: E402

LIMIT_S = 10
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


def run_case(source: Path, target: Path, options: Options) -> tuple[str, str]:
    """In a worker: (outcome, reason)."""
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
    rng = np.random.default_rng(seed)
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_passthrough(folder / "model.onnx", make_card("passthrough"))
        options = Options(folder / "model.onnx")
        seeds = make_seeds(folder)
        done = 0
        while done < count:
            with worker_pool(1, "spawn") as pool:
                while done < count:
                    origin = seeds[done % len(seeds)]
                    source = folder / "in" / f"{done}{origin.suffix}"
                    source.parent.mkdir(exist_ok=True)
                    source.write_bytes(mutate(origin.read_bytes(), rng))
                    out = folder / f"out-{done}"
                    out.mkdir()
                    outcome, reason = _outcome(pool, source, out / source.name, options)
                    shutil.rmtree(out, ignore_errors=True)
                    found.setdefault(origin.stem.split("-")[0].upper(), Counter())[outcome] += 1
                    done += 1
                    if outcome in FAILURES:
                        kept.mkdir(parents=True, exist_ok=True)
                        shutil.copy(source, kept / f"{origin.stem}-{source.name}")
                        print(f"{outcome}: {origin.stem} {source.name}: {reason}", flush=True)
                    if outcome == "crashed" or reason.startswith("waited"):
                        break  # the pool has lost its worker
                    source.unlink()
    return found


def _outcome(pool: ProcessPoolExecutor, source: Path, target: Path, options: Options) -> tuple[str, str]:
    try:
        return pool.submit(run_case, source, target, options).result(6 * LIMIT_S)
    except BrokenProcessPool:
        return "crashed", "the worker died"
    except Late:
        for process in active_children():
            process.kill()
        return "hung", f"waited {6 * LIMIT_S} s"


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
