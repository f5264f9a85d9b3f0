"""The drift resampler is transparent and its controller settles."""

from itertools import pairwise

import numpy as np
import pytest

from quietmic.devices.drift import DriftController, DriftResampler

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
