"""Starting is quick; `bench` tells what it takes on an idle machine."""

import os

from quietmic.enhance.catalogue import find_model
from quietmic.enhance.measure.start import N_REPEATS, measure_start


def test_a_stream_and_a_file_are_ready_soon() -> None:
    """Processor time of opening a stream and of enhancing a file, 0.7 s in all, so that other programs do not count."""
    before = os.times()
    start = measure_start(str(find_model("tcn-tiny")))
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent / N_REPEATS < 2
    assert 0 < start["open_ms"] < 1000
    assert 0 < start["import_ms"] < 1000
