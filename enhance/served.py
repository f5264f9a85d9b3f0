"""What a stream serves: how many microphones, which sample rates, which networks."""

from numbers import Integral, Real
from typing import Literal, get_args

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.network import OnnxNetwork

MAX_MICS = 8
MIN_RATE, MAX_RATE = 8000, 192000
FULL_BAND_RATE = 48000  # what nearly every card runs at by itself, and where the upper band's cost is told
Band = Literal["full", "narrow"]


def check_served(network: OnnxNetwork, n_mics: int, sample_rate: int, limit_db: float | None, band: str) -> None:
    """Refuses what no stream of a network can do.

    Raises:
        QuietmicError: a number of microphones, a rate, a limit or a band that cannot be served.
    """
    card = network.card
    check_settings(limit_db, band)
    if not isinstance(sample_rate, Real) or not float(sample_rate).is_integer():
        raise QuietmicError(f"sample rate {sample_rate!r}, but it must be a whole number of Hz", exit_code=2)
    if not isinstance(n_mics, Integral) or isinstance(n_mics, bool):
        raise QuietmicError(f"{n_mics!r} microphones, but it must be a whole number", exit_code=2)
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise QuietmicError(f"sample rate {sample_rate} Hz, but it must lie in {MIN_RATE}..{MAX_RATE}", exit_code=2)
    most = min(MAX_MICS, card.max_mics)
    if not 1 <= n_mics <= most:
        raise QuietmicError(f"{n_mics} microphones, but {card.name} takes 1 to {most}", exit_code=2, argument="n_mics")
    if card.look_ahead:
        raise QuietmicError(f"{card.name} looks {card.look_ahead} frames ahead, which a stream does not offer")
    if n_mics > 1 and network.uses_beam and not network.gives_mask:
        raise QuietmicError(f"{card.name} takes a beam but gives no speech mask to steer it: export it again")


def check_settings(limit_db: float | None, band: str) -> None:
    """Refuses what no network can do, whatever the sound is.

    Raises:
        QuietmicError: a limit or a band that cannot be served.
    """
    if limit_db is not None and not (isinstance(limit_db, Real) and limit_db >= 0):
        raise QuietmicError(f"attenuation_limit_db is {limit_db!r}, but it must be 0 or more", exit_code=2)
    if band not in get_args(Band):
        raise QuietmicError(f"band {band!r}, but it must be full or narrow", exit_code=2)
