"""A recording stays readable when the program is killed or the disk is full."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from quietmic.devices.recorder import GrowingFlac, Recorder
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import read

SAMPLE_RATE = 16000
ROOT = Path(__file__).parent.parent


def test_raw_and_enhanced_are_written_in_full(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = rng.uniform(-0.5, 0.5, (4, 40 * 256)).astype(np.float32)
    recorder = Recorder(tmp_path / "new", n_mics=4, sample_rate=SAMPLE_RATE, log=print)
    for k in range(0, raw.shape[1], 256):
        recorder.push(raw[:, k : k + 256], 0.5 * raw[0, k : k + 256])
    recorder.close()
    assert recorder.n_lost == 0
    assert [path.name[-8:] for path in recorder.paths] == ["raw.flac", "ced.flac"]
    (got_raw, rate), (got_enhanced, _) = read(recorder.paths[0]), read(recorder.paths[1])
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(got_raw, raw, atol=2 / 32768)
    np.testing.assert_allclose(got_enhanced[0], 0.5 * raw[0], atol=2 / 32768)


def test_a_growing_file_is_readable_after_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "growing.flac"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (1, 3 * SAMPLE_RATE)).astype(np.float32)
    file = GrowingFlac(path, 1, SAMPLE_RATE)
    for k in range(0, noise.shape[1], 256):
        file.write(noise[:, k : k + 256])
        n_complete = (k + 255) // 4096 * 4096
        if n_complete and k % 4096 in (0, 4096 - 256):  # behind a frame's first hop and its last
            np.testing.assert_allclose(read(path)[0], noise[:, :n_complete], atol=2 / 32768)
            assert soundfile.info(path).frames == n_complete  # what other readers believe
    file.close()
    assert read(path)[0].shape == noise.shape


def readable(folder: Path) -> dict[str, tuple[int, ...]]:
    """Channels and samples of each recording as far as it can be read now."""
    shapes = {}
    for path in folder.iterdir():
        with contextlib.suppress(QuietmicError):  # not even a first frame yet
            shapes[path.name[24:]] = read(path)[0].shape
    return shapes


def test_a_killed_program_leaves_readable_files(tmp_path: Path) -> None:
    program = f"""
import time, numpy as np
from pathlib import Path
from quietmic.devices.recorder import Recorder
recorder = Recorder(Path({str(tmp_path)!r}), 2, {SAMPLE_RATE}, print)
noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 256)).astype(np.float32)
for hop in range(1000):
    recorder.push(noise, noise[0])
print("handed over", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"handed over\n"
    wanted = {"raw.flac": (2, 62 * 4096), "enhanced.flac": (1, 62 * 4096)}
    end = time.monotonic() + 30
    while readable(tmp_path) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert readable(tmp_path) == wanted


def test_a_full_disk_is_said_at_once_and_ends_cleanly(tmp_path: Path) -> None:
    program = f"""
import json, resource, time, numpy as np
from pathlib import Path
from quietmic.devices.recorder import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))  # Python ignores the signal that comes with it
messages = []
recorder = Recorder(Path({str(tmp_path)!r}), 2, {SAMPLE_RATE}, messages.append)
noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 256)).astype(np.float32)
while not messages:
    recorder.push(noise, noise[0])
    time.sleep(0.0001)
for hop in range(1100):  # more than the queue holds
    recorder.push(noise, noise[0])
recorder.close()
print(json.dumps(messages))
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    message = "the recording broke off: [Errno 27] File too large; what was written before can be read"
    assert (json.loads(result.stdout), result.stderr) == ([message], "")
    lengths = {path.name[24:]: read(path)[0].shape for path in tmp_path.iterdir()}
    assert lengths == {"raw.flac": (2, 3 * 4096), "enhanced.flac": (1, 4 * 4096)}


def test_a_disk_that_fills_up_at_the_very_end_is_said_too(tmp_path: Path) -> None:
    """The encoder keeps what is no whole frame until the end: silence is a few bytes, noise too many for this disk."""
    program = f"""
import json, resource, numpy as np
from pathlib import Path
from quietmic.devices.recorder import Recorder
messages = []
recorder = Recorder(Path({str(tmp_path)!r}), 1, {SAMPLE_RATE}, messages.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
noise = np.random.default_rng(0).uniform(-0.5, 0.5, 256).astype(np.float32)
recorder.push(np.zeros((1, 256), np.float32), noise)
recorder.close()
print(json.dumps(messages))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    message = "the recording broke off: [Errno 27] File too large; what was written before can be read"
    assert (json.loads(result.stdout), result.stderr) == ([message], "")
    (raw,) = tmp_path.glob("*-raw.flac")
    assert read(raw)[0].shape == (1, 256)


@pytest.mark.parametrize(("n_before", "n_told"), [(1 << 32, (1 << 32) + 4096), (1 << 36, (1 << 36) - 1)])
def test_a_recording_of_days_goes_on(tmp_path: Path, n_before: int, n_told: int) -> None:
    file = GrowingFlac(tmp_path / "long.flac", 1, SAMPLE_RATE)
    file.n_samples = n_before
    file.write(np.zeros((1, 5000), np.float32))
    told = soundfile.info(tmp_path / "long.flac")
    assert (told.frames, told.samplerate, told.subtype) == (n_told, SAMPLE_RATE, "PCM_16")
    file.close()
