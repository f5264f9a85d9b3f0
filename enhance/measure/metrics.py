"""Objective measures of enhanced speech: SI-SDR, STOI, ESTOI, PESQ and DNSMOS.

Every function gives a float, or None where the measure does not exist: its package is not installed, the reference is
silent, the signal is too short. None means "not measured" and is never replaced by a number further on. Silence where
the reference speaks is measured: it is the worst there is, SI_SDR_WORST and PESQ_WORST.
All signals are mono, [n_samples], at one rate; reference and estimate are aligned and of equal length.
"""

import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quietmic.enhance.measure.rates import at_rate

METRIC_NAMES = ("si_sdr", "stoi", "estoi", "pesq_wb", "pesq_nb", "sig", "bak", "ovrl")
REFERENCE_FREE = ("sig", "bak", "ovrl")
METRIC_RATE = 16000
SI_SDR_WORST = -60.0  # dB; estimates that are worse still count as silence does
PESQ_WORST = 1.0  # MOS-LQO
SILENT = 1e-15  # peak of an estimate, -300 dBFS: below it PESQ, in single precision, knows no number
DNSMOS_RMS = 10 ** (-26 / 20)  # of full scale: -26 dBov, the level of speech in ITU-T P.56 and P.800
# Raised whenever a change here may change a figure; part of every cache key.
METRICS_REVISION = 3


def metric_versions() -> dict[str, str | None]:
    """Versions of what computes the figures: package -> version, None where it is not installed."""
    versions: dict[str, str | None] = {"revision": str(METRICS_REVISION)}
    for package in ("pesq", "pystoi", "speechmos"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> float | None:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, arXiv 1811.02508), means kept.

    Args:
        reference: [n_samples].
        estimate: [n_samples], aligned with the reference; its scale does not matter.

    Returns:
        dB, from SI_SDR_WORST (a silent estimate) to 156.5 (a perfect one, at double precision); None if the reference
        is silent or one of the two not finite.
    """
    target, other = _pair(reference, estimate)
    energy = float(target @ target)
    if not np.isfinite(energy) or not np.isfinite(other).all() or energy == 0.0:
        return None
    if not other.any():
        return SI_SDR_WORST
    projection = (float(other @ target) / energy) * target
    error = other - projection
    signal = float(projection @ projection)
    tiny = float(np.finfo(np.float64).eps)
    # An estimate that is orthogonal to the reference has no signal part: the same floor keeps the logarithm finite.
    ratio = (signal + tiny * float(error @ error)) / (float(error @ error) + tiny * signal)
    return max(SI_SDR_WORST, float(10.0 * np.log10(ratio)))


def stoi(reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float | None:
    """Short-time objective intelligibility, 0 to 1 (Taal et al. 2011), by pystoi; None below 0.4 s of active speech."""
    return _pystoi(reference, estimate, sample_rate, extended=False)


def estoi(reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float | None:
    """Extended STOI (Jensen and Taal 2016), by pystoi; None below 0.4 s of active speech."""
    return _pystoi(reference, estimate, sample_rate, extended=True)


def pesq_wb(reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float | None:
    """Wide-band PESQ as MOS-LQO (ITU-T P.862.2), by the package pesq at 16 kHz; None without an utterance."""
    return _pesq(reference, estimate, sample_rate, "wb")


def pesq_nb(reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float | None:
    """Narrow-band PESQ as MOS-LQO (ITU-T P.862.1), by the package pesq at 16 kHz; None without an utterance."""
    return _pesq(reference, estimate, sample_rate, "nb")


def dnsmos(estimate: ArrayLike, sample_rate: int) -> dict[str, float | None]:
    """DNSMOS P.835 (Reddy et al. 2022): predicted opinion of speech, background and the whole, without a reference.

    The model file is the one that speechmos ships, and the figures are those of `speechmos.dnsmos.run`; called
    directly it needs one thread, no librosa, and no P.808 model. What is heard has -26 dBFS as its mean level, since a
    system that turns the level up or down would otherwise gain or lose up to 0.3 by that alone. Samples beyond +-1 are
    clipped, as in a file.

    Args:
        estimate: [n_samples]; shorter signals than 9.01 s are repeated, as the reference script does.
        sample_rate: hertz.

    Returns:
        {"sig", "bak", "ovrl"}, each 1 to 5, or None where the model is missing or the signal empty or not finite.
    """
    samples = np.asarray(estimate, dtype=np.float32)
    spec = find_spec("speechmos")
    if spec is None or spec.origin is None or samples.size == 0 or not np.isfinite(samples).all():
        return dict.fromkeys(REFERENCE_FREE)
    session = _dnsmos_session(Path(spec.origin).parent)
    samples = at_rate(samples, sample_rate, METRIC_RATE)
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    samples = np.clip(samples * np.float32(DNSMOS_RMS / rms if rms else 1.0), -1.0, 1.0)
    segment = int(9.01 * METRIC_RATE)
    while samples.size < segment:
        samples = np.append(samples, samples)
    n_segments = int(samples.size // METRIC_RATE - 9.01) + 1
    starts = [i * METRIC_RATE for i in range(n_segments) if i * METRIC_RATE + segment <= samples.size]
    raw = np.array([session.run(None, {"input_1": samples[None, s : s + segment]})[0][0] for s in starts])
    sig = np.polyval([-0.08397278, 1.22083953, 0.0052439], raw[:, 0])
    bak = np.polyval([-0.13166888, 1.60915514, -0.39604546], raw[:, 1])
    ovrl = np.polyval([-0.06766283, 1.11546468, 0.04602535], raw[:, 2])
    return {"sig": float(sig.mean()), "bak": float(bak.mean()), "ovrl": float(ovrl.mean())}


def measure(
    reference: ArrayLike | None, estimate: ArrayLike, sample_rate: int, fast: bool = False
) -> dict[str, float | None]:
    """All measures of one signal, keyed by METRIC_NAMES; without a reference only DNSMOS is measured.

    Args:
        reference: [n_samples], aligned with the estimate; None where there is none.
        estimate: [n_samples].
        sample_rate: hertz.
        fast: DNSMOS, the slowest, is not measured.
    """
    figures: dict[str, float | None] = dict.fromkeys(METRIC_NAMES)
    if reference is not None:
        figures["si_sdr"] = si_sdr(reference, estimate)
        figures["stoi"] = stoi(reference, estimate, sample_rate)
        figures["estoi"] = estoi(reference, estimate, sample_rate)
        figures["pesq_wb"] = pesq_wb(reference, estimate, sample_rate)
        figures["pesq_nb"] = pesq_nb(reference, estimate, sample_rate)
    return figures if fast else figures | dnsmos(estimate, sample_rate)


def _pair(reference: ArrayLike, estimate: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    target, other = np.asarray(reference, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if target.ndim != 1 or target.shape != other.shape:
        raise ValueError(f"reference and estimate must be mono and of one length, not {target.shape}, {other.shape}")
    return target, other


def _pystoi(reference: ArrayLike, estimate: ArrayLike, sample_rate: int, extended: bool) -> float | None:
    target, other = _pair(reference, estimate)
    if find_spec("pystoi") is None or not target.any() or not np.isfinite(other).all():
        return None
    from pystoi import stoi as pystoi_stoi

    with warnings.catch_warnings():
        # pystoi warns and gives 1e-5 when fewer than 30 frames of speech are left: that is "not measured".
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi_stoi(target, other, sample_rate, extended=extended))
        except (RuntimeWarning, ValueError):
            return None


def _pesq(reference: ArrayLike, estimate: ArrayLike, sample_rate: int, mode: str) -> float | None:
    target, other = _pair(reference, estimate)
    if find_spec("pesq") is None or not target.any() or not np.isfinite(other).all():
        return None
    from pesq import PesqError, pesq

    target, other = (at_rate(x, sample_rate, METRIC_RATE) for x in (target, other))
    try:
        if np.max(np.abs(other)) < SILENT:
            pesq(METRIC_RATE, target, target, mode)  # finds out whether the reference speaks
            return PESQ_WORST
        return float(pesq(METRIC_RATE, target, other, mode))
    except PesqError:
        return None


@cache
def _dnsmos_session(package: Path) -> Any:
    """The P.835 model of the package speechmos as an onnxruntime session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = package / "dnsmos_models" / "sig_bak_ovr.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
