"""Too slow is told from a single stumble; levels are right."""

import numpy as np
import pytest

from quietmic.devices.levels import Levels
from quietmic.devices.watchdog import Watchdog

HOP_S = 0.016


@pytest.mark.parametrize(("factor", "seconds"), [(1.3, 1.2), (2.0, 1.1), (30.0, 2.0)])
def test_a_slow_machine_is_noticed_after_a_second(factor: float, seconds: float) -> None:
    watchdog = Watchdog(HOP_S)
    elapsed_s = 0.0
    while not watchdog.is_too_slow(factor * HOP_S):
        elapsed_s += factor * HOP_S
    assert 0.9 < elapsed_s < seconds


def test_single_stalls_are_forgiven() -> None:
    watchdog = Watchdog(HOP_S)
    for hop in range(2000):
        assert not watchdog.is_too_slow(1.5 if hop % 400 == 0 else 0.3 * HOP_S)
    assert watchdog.n_missed == 5


def test_noise_reduction_is_that_of_the_pauses() -> None:
    levels = Levels(HOP_S)
    rng = np.random.default_rng(0)
    for hop in range(300):
        noise = 0.01 * rng.standard_normal(256).astype(np.float32)
        speech = (0.2 * rng.standard_normal(256) if hop % 3 else np.zeros(256)).astype(np.float32)
        levels.update((noise + speech)[None], noise + speech, 0.1 * noise + speech, 0.1 * noise + speech)
    assert levels.noise_reduction_db() == pytest.approx(20, abs=0.5)
    assert levels.input_db == pytest.approx(levels.output_db, abs=0.5)
