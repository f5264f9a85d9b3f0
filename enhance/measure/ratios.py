"""A compressed model over its original, summed up as a survey proposes (Yin et al., section 3.1)."""

from collections.abc import Mapping

LEAST_GAIN_DB = 0.01  # smaller ones count as this: what enhances nothing has a quality ratio of hundreds


def quality_ratio(original_db: float | None, compressed_db: float | None) -> float | None:
    """How much of the quality is lost: gains in SI-SDR over the noisy input, the original's over the compressed one's.

    Returns:
        1 where nothing is lost, more where something is, hundreds for a model that enhances no longer; None where one
        of them was not measured, or the original gains nothing either.
    """
    if original_db is None or compressed_db is None or original_db <= LEAST_GAIN_DB:
        return None
    return original_db / max(compressed_db, LEAST_GAIN_DB)


def plain_mean(ratios: Mapping[str, float | None]) -> float | None:
    """The mean of all ratios that are known, under "quality" that of the quality; None without that one.

    By its size and speed alone a network that was destroyed would be the best.
    """
    if ratios.get("quality") is None:
        return None
    known = [ratio for ratio in ratios.values() if ratio is not None]
    return sum(known) / len(known)
