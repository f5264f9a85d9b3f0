"""Too slow is told from a single stumble; levels, times of hops and of rests are right."""

import numpy as np
import pytest

from quietmic.devices.levels import Levels
from quietmic.devices.rest import Rest
from quietmic.devices.tally import Tally
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
    for hop in range(4000):
        assert not watchdog.is_too_slow(5.0 if hop % 100 == 0 else 0.3 * HOP_S)
    assert watchdog.n_missed == 40
    for factor, n_missed in ((1.0, 40), (1.1, 41)):
        watchdog.is_too_slow(factor * HOP_S)
        assert watchdog.n_missed == n_missed


def test_noise_reduction_is_that_of_the_pauses() -> None:
    levels = Levels(HOP_S)
    rng = np.random.default_rng(0)
    for hop in range(300):
        noise = 0.01 * rng.standard_normal(256).astype(np.float32)
        speech = (0.2 * rng.standard_normal(256) if hop % 3 else np.zeros(256)).astype(np.float32)
        levels.update((noise + speech)[None], noise + speech, 0.1 * noise + speech, 0.1 * noise + speech)
    assert levels.noise_reduction_db() == pytest.approx(20, abs=0.5)
    assert levels.input_db == pytest.approx(levels.output_db, abs=0.5)


def test_levels_are_those_of_a_tenth_of_a_second_and_forgotten_when_devices_close() -> None:
    levels = Levels(hop_s=0.01)
    hop = np.ones(160, np.float32)
    microphones = np.stack([0.1 * hop, 0.01 * hop])

    def feed(n_hops: int) -> None:
        for _ in range(n_hops):
            levels.update(microphones, microphones[0], 0.5 * hop, 0.001 * hop)

    feed(1)
    assert (levels.input_db, levels.output_db) == pytest.approx((-30, -70), abs=0.01)  # a tenth of the power so far
    feed(200)
    assert (levels.input_db, levels.output_db) == pytest.approx((-20, -60), abs=0.01)
    assert levels.microphones_db == pytest.approx([-20, -40], abs=0.01)
    assert levels.recent().shape == (2, 320)
    assert levels.recent()[:, -1] == pytest.approx([0.1, 0.001])
    levels.forget()
    assert (levels.input_db, levels.output_db, levels.microphones_db) == (-100, -100, [])


def test_noise_reduction_is_that_of_the_last_seconds_and_of_sound_alone() -> None:
    levels = Levels(hop_s=0.01, window_s=1.0)
    hop = 0.1 * np.ones(160, np.float32)

    def reduction_db(gain: float, level: float = 1.0) -> float:
        for _ in range(100):
            levels.update(level * hop[None], level * hop, gain * level * hop, gain * level * hop)
        return levels.noise_reduction_db()

    assert reduction_db(0.1) == pytest.approx(20, abs=0.01)
    assert reduction_db(0.5, level=0.0) == pytest.approx(20, abs=0.01)  # digital silence says nothing
    assert reduction_db(0.5) == pytest.approx(6.02, abs=0.01)
    assert reduction_db(2.0) == 0


def test_times_of_hops_are_the_median_and_the_99th_percentile_of_the_last_two_minutes() -> None:
    tally = Tally()
    assert tally.hop_times_s() == (0, 0)
    for k in range(101):
        tally.add_hop(k)
    assert tally.hop_times_s() == (50, 99)
    for _ in range(8192):
        tally.add_hop(0.5)
    assert tally.hop_times_s() == (0.5, 0.5)
    assert tally.n_hops == 8293


def test_rests_add_up() -> None:
    now = 0.0
    rest = Rest(clock=lambda: now)
    now = 20.0
    assert rest.seconds == 0
    rest.begin()
    now = 25.0
    assert rest.seconds == 5 and rest.is_on
    rest.end()
    now = 40.0
    rest.end()
    assert rest.seconds == 5 and not rest.is_on
    rest.begin()
    now = 43.0
    assert rest.seconds == 8
