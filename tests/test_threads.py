"""A stream computes on the thread that calls it, and wakes none of those that NumPy's libraries keep on other cores."""

import os
import subprocess
import sys

import numpy as np
import pytest

from quietmic.enhance.arrays import ONE_THREAD_MATRIX, ONE_THREAD_PRODUCT, multiply

ROOT = os.path.dirname(os.path.dirname(__file__))
ENHANCES = """
import sys, time
import numpy as np
from quietmic import open_stream

rate, length = int(sys.argv[1]), int(sys.argv[2])
stream = open_stream("tcn-tiny", sample_rate=rate)
noise = 0.1 * np.random.default_rng(0).standard_normal((1, length)).astype(np.float32)
own, whole = time.thread_time(), time.process_time()
for _ in range(min(max(6, 4 * rate // length), 2000)):
    stream.process(noise)
own = time.thread_time() - own
time.sleep(0.05)  # of those that wait busily
print(own / (time.process_time() - whole))
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core, one thread")
@pytest.mark.parametrize(("rate", "length"), [(48000, 96000), (44100, 706), (176400, 352800), (192000, 64)])
def test_other_threads_have_nothing_to_do(rate: int, length: int) -> None:
    """Products of two seconds at 48 kHz kept all cores busy: two processes on two cores took twice their time."""
    names = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", ENHANCES, str(rate), str(length)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0.9


@pytest.mark.parametrize("n", [0, 1, 2, 35, 36, 37, 71, 72, 73, 1000])
def test_products_in_pieces_are_products(n: int) -> None:
    rng = np.random.default_rng(n)
    left, right = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, 600), (600, 12)))
    wide = np.concatenate((right, right), axis=1)
    assert wide.size > ONE_THREAD_MATRIX and ONE_THREAD_PRODUCT // right.size == 36
    for matrix in (right, wide):
        np.testing.assert_allclose(multiply(left, matrix), left.astype(float) @ matrix, atol=1e-4)
