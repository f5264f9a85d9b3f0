"""The attenuation limit, frequency by frequency."""

import numpy as np
import pytest

from quietmic.enhance.limit import limit_attenuation


def spectra(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((257, 40)) + 1j * rng.standard_normal((257, 40))).astype(np.complex64)


@pytest.mark.parametrize("limit_db", [3.0, 6.0, 12.0, 24.0])
def test_no_frequency_is_attenuated_by_more_whatever_the_phase(limit_db: float) -> None:
    """The mix of both alone was up to 60 dB below it, where a mask turned the phase around."""
    reference, floor = spectra(0), np.float32(10 ** (-limit_db / 20))
    enhanced = reference * spectra(1) * floor
    limited = limit_attenuation(enhanced, reference, floor)
    mixed = enhanced + floor * (reference - enhanced)
    assert np.abs(mixed / reference).min() < 0.5 * floor
    assert np.abs(limited / reference).min() == pytest.approx(floor, rel=1e-5)
    loud = np.abs(mixed) >= floor * np.abs(reference)
    np.testing.assert_allclose(limited[loud], mixed[loud], rtol=1e-6)
    np.testing.assert_allclose(np.angle(limited / mixed), 0, atol=1e-5)


def test_silence_stays_and_no_limit_at_all_gives_the_reference() -> None:
    reference = spectra(0)
    assert np.array_equal(limit_attenuation(np.zeros_like(reference), reference, np.float32(0)), 0 * reference)
    assert np.array_equal(limit_attenuation(0 * reference, 0 * reference, np.float32(0.5)), 0 * reference)
    np.testing.assert_allclose(limit_attenuation(spectra(1), reference, np.float32(1)), reference, atol=2e-6)
