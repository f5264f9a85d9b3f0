"""The drift resampler is transparent, its controller settles, and latency that a stumble left is taken back."""

from itertools import pairwise

import numpy as np
import pytest

from quietmic.devices.drift import DriftController, DriftResampler
from quietmic.devices.trim import Trimmer

SAMPLE_RATE = 16000


@pytest.mark.parametrize("ratio", [1.0, 1.0002, 0.9991])
@pytest.mark.parametrize("frequency_hz", [440, 3000, 6500])
def test_a_tone_keeps_its_shape(ratio: float, frequency_hz: int) -> None:
    resampler = DriftResampler()
    time = np.arange(4 * SAMPLE_RATE)
    tone = np.sin(2 * np.pi * frequency_hz * time / SAMPLE_RATE).astype(np.float32)
    out = np.concatenate([resampler.process(tone[k : k + 256], ratio) for k in range(0, len(tone), 256)])
    assert len(out) == pytest.approx(len(tone) * ratio, abs=1)
    expected = np.sin(2 * np.pi * frequency_hz * (np.arange(len(out)) / ratio - resampler.delay) / SAMPLE_RATE)
    error = (out - expected)[200:]
    assert 10 * np.log10(np.mean(expected[200:] ** 2) / np.mean(error**2)) > 70


def test_the_output_does_not_depend_on_the_cut_into_blocks() -> None:
    noise = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
    whole = DriftResampler().process(noise, 1.0003)
    resampler = DriftResampler()
    cuts = np.cumsum([0, 1, 7, 255, 257, 1000, 3480])
    parts = [resampler.process(noise[a:b], 1.0003) for a, b in pairwise(cuts)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_the_controller_takes_up_a_drift() -> None:
    controller = DriftController(target_s=0.04)
    buffered_s, drift, step_s, worst = 0.04, 200e-6, 0.016, 0.0
    for step in range(int(300 / step_s)):
        jitter_s = 0.002 * np.sin(step)
        ratio = controller.update(buffered_s + jitter_s, step_s)
        buffered_s += step_s * (drift + ratio - 1)
        worst = max(worst, abs(buffered_s - 0.04))
    assert worst < 1e-3
    assert buffered_s == pytest.approx(0.04, abs=1e-4)
    assert ratio == pytest.approx(1 - drift, abs=5e-5)


def test_a_correction_has_a_limit_that_teaches_nothing_of_the_drift() -> None:
    controller = DriftController(target_s=0.04)
    for _ in range(1000):
        assert controller.update(1.0, 1.0) == 1 - 1e-3
    assert controller.update(0.04, 1.0) == 1
    for _ in range(1000):
        assert controller.update(-1.0, 1.0) == 1 + 1e-3
    assert controller.update(0.04, 1.0) == 1


def test_a_correction_is_critically_damped() -> None:
    """Twice the natural frequency times the error, and its square times the error's integral."""
    controller = DriftController(target_s=0.04)
    assert controller.update(0.041, 1.0) == pytest.approx(1 - 2e-4)
    assert controller.update(0.041, 1.0) == pytest.approx(1 - 2e-4 - 1e-5)
    outlier = DriftController(target_s=0.04)
    outlier.update(0.04, 0.01)
    assert outlier.update(0.05, 0.01) == pytest.approx(1 - 2e-5)  # a mean over a second: a hundredth of it counts


def test_a_tolerated_error_is_not_corrected() -> None:
    for error_s, excess_s in ((0.009, 0.0), (-0.009, 0.0), (0.012, 0.002), (-0.012, -0.002)):
        controller = DriftController(target_s=0.04, tolerance_s=0.01)
        assert controller.update(0.04 + error_s, 1.0) == pytest.approx(1 - 0.2 * excess_s, abs=1e-9)


@pytest.mark.parametrize(("found_s", "target_s"), [(0.06, 0.06), (0.03, 0.04), (0.4, 0.09)])
def test_what_is_found_while_it_settles_is_the_target(found_s: float, target_s: float) -> None:
    controller = DriftController(target_s=0.04, settling_s=3.0)
    for _ in range(59):
        assert controller.update(found_s, 0.05) == 1
    assert controller.target_s == 0.04
    for _ in range(2):
        controller.update(found_s, 0.05)
    assert controller.target_s == pytest.approx(target_s)
    settled = DriftController(target_s=target_s)
    assert controller.update(found_s, 0.05) == pytest.approx(settled.update(found_s, 1.0), abs=1e-6)


def trimmed(excess_s: list[float]) -> list[np.ndarray | None]:
    """What becomes of hops of four samples, whose values count the hops, by what is buffered too much at each."""
    trimmer = Trimmer(4, hop_s=0.01, window_s=0.1)
    return [trimmer.process(np.full(4, k, np.float32), excess) for k, excess in enumerate(excess_s)]


def test_what_never_was_needed_for_a_window_is_left_out_with_a_cross_fade() -> None:
    excess_s = [0.3] * 40
    excess_s[3] = 0.155  # the least counts
    out = trimmed(excess_s)
    for k, hop in enumerate(out):
        if 10 <= k < 25:
            assert hop is None
        else:
            expected = 10 + 15 * np.array([0.25, 0.5, 0.75, 1]) if k == 25 else np.full(4, k)
            np.testing.assert_allclose(hop, expected)
        if k == 34:  # and again after the next window
            break
    assert out[35] is None


def test_little_is_not_trimmed() -> None:
    excess_s = [0.3] * 40
    excess_s[5::10] = [0.09] * 4
    assert all(hop is not None for hop in trimmed(excess_s))
