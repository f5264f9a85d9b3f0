"""Feeds the virtual card: a program of its own, so that nothing the tests do delays it.

python feeder.py PIPE RAW_FILE BYTES_PER_BLOCK SECONDS_PER_BLOCK

Writes one block each block's time, silence after the end, until it is terminated; then it prints how many blocks
found no room in the pipe.
"""

import contextlib
import os
import signal
import sys
import time


def main(pipe_path: str, raw_path: str, block_bytes: int, block_s: float) -> None:
    """Feeds until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    with contextlib.suppress(OSError):  # a real card is late for nobody
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    pipe = os.open(pipe_path, os.O_RDWR | os.O_NONBLOCK)
    with open(raw_path, "rb") as file:
        data = file.read()
    n_dropped = n_blocks = 0
    start = time.perf_counter()
    while not stopping:
        block = data[n_blocks * block_bytes : (n_blocks + 1) * block_bytes].ljust(block_bytes, b"\0")
        try:
            os.write(pipe, block)
        except BlockingIOError:
            n_dropped += 1
        n_blocks += 1
        time.sleep(max(0.0, start + n_blocks * block_s - time.perf_counter()))
    print(n_dropped)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
