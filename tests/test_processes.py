"""Work shared by processes: results as they come, workers that die or are ended, an interrupt at any moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_jobs import Number, die_at_seven, double, fail_at_seven

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.processes import WorkerDied, map_in_processes, run_in_processes

ROOT = Path(__file__).resolve().parent.parent
METHODS = ["spawn", "fork"] if hasattr(os, "fork") else ["spawn"]
each_method = pytest.mark.parametrize("method", METHODS)


@each_method
def test_results_in_the_order_of_the_jobs(method: str) -> None:
    jobs = [Number(value) for value in range(20)]
    assert list(map_in_processes(double, jobs, 3, method)) == [2 * job.value for job in jobs]
    assert dict(run_in_processes(double, jobs[:1], 4, method)) == {Number(0): 0}
    assert list(run_in_processes(double, [], 4, method)) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
@each_method
def test_a_worker_that_dies_takes_one_job_with_it(method: str) -> None:
    """All that came after it failed as well."""
    found = dict(run_in_processes(die_at_seven, map(Number, range(12)), 2, method))
    assert found == {Number(value): value if value != 7 else WorkerDied() for value in range(12)}
    with pytest.raises(QuietmicError, match=r"Number\(value=7\): its worker process died"):
        list(map_in_processes(die_at_seven, [Number(value) for value in range(12)], 2, method))


@each_method
def test_what_a_worker_raises_is_raised_here_and_says_where(method: str) -> None:
    with pytest.raises(ValueError, match="seven") as told:
        list(map_in_processes(fail_at_seven, [Number(value) for value in range(12)], 2, method))
    assert "in fail_at_seven" in "".join(told.value.__notes__)


STOPPED = """
import os, signal
from quietmic.enhance.processes import run_in_processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
for found in run_in_processes(bytes, [30_000_000] * 4, 2, {method!r}):
    {stop}
"""


@each_method
@pytest.mark.parametrize(
    "stop", ["raise KeyboardInterrupt", "break", "os.kill(0, signal.SIGINT)", "os.kill(os.getpid(), signal.SIGINT)"]
)
def test_who_stops_in_the_middle_of_a_large_result_ends(method: str, stop: str) -> None:
    """The other worker is then half through its result: the reader waited for the rest of it for ever."""
    code = STOPPED.format(method=method, stop=stop)
    program = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=300, capture_output=True, text=True, check=False,
        start_new_session=True,
    )  # fmt: skip
    assert program.returncode == (0 if stop == "break" else -signal.SIGINT), program.stderr
    assert program.stderr.count("Traceback") == (0 if stop == "break" else 1)
