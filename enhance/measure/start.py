"""How long it takes from nothing to the first sound: each time in a process of its own, the best of a few."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from quietmic.enhance.files.audio import write
from quietmic.enhance.measure.probe import environment

N_REPEATS = 3
FILE_S = 5  # of the file that is enhanced

_OPEN = """
import json, sys, time
times = [time.perf_counter()]
import numpy, onnxruntime
times.append(time.perf_counter())
from quietmic import open_stream
times.append(time.perf_counter())
open_stream(sys.argv[1])
times.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""
_COMMAND = "from quietmic.start import run; run()"


def measure_start(path: str) -> dict[str, float]:
    """Times from the start of Python on.

    Args:
        path: ONNX file of a model.

    Returns:
        libraries_ms: import of numpy and ONNX Runtime; import_ms: of quietmic after them; open_ms: `open_stream`, ready
        for the first block; denoise_s: the whole command `quietmic denoise` on a file of FILE_S seconds.
    """
    times = np.array([json.loads(_run(_OPEN, path)) for _ in range(N_REPEATS)]).min(axis=0)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "five.wav"
        write(source, 0.1 * np.random.default_rng(0).standard_normal((1, FILE_S * 16000)), 16000)
        command = ["denoise", str(source), "-o", str(Path(folder) / "out.wav"), "--overwrite", "--model", path]
        denoise_s = min(_time(_COMMAND, *command) for _ in range(N_REPEATS))
    libraries_ms, import_ms, open_ms = (float(1e3 * value) for value in times)
    return {"libraries_ms": libraries_ms, "import_ms": import_ms, "open_ms": open_ms, "denoise_s": denoise_s}


def _run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


def _time(program: str, *arguments: str) -> float:
    begin = time.perf_counter()
    _run(program, *arguments)
    return time.perf_counter() - begin
