"""What may be said to a running `live` from outside, read the same way where it is said and where it is heard."""

from dataclasses import dataclass
from math import inf

from quietmic.enhance.errors import QuietmicError

NO_LIMIT = inf
SWITCHES = ("bypass", "mute", "record")


@dataclass(frozen=True)
class Command:
    """One thing that a run is asked to do or to tell.

    Attributes:
        name: one of SWITCHES, "limit", "quit" or "status".
        wanted: what the switch is to be, None for the other of what it is.
        limit_db: attenuation limit, NO_LIMIT for none.
    """

    name: str
    wanted: bool | None = None
    limit_db: float = NO_LIMIT


def read_command(words: list[str]) -> Command:
    """The command that words stand for.

    Args:
        words: bypass, mute or record, alone to switch or with "on" or "off"; limit with dB or "none"; quit; status.

    Raises:
        QuietmicError: there is no such command.
    """
    match words:
        case [name] if name in (*SWITCHES, "quit", "status"):
            return Command(name)
        case [name, ("on" | "off") as wanted] if name in SWITCHES:
            return Command(name, wanted == "on")
        case ["limit", limit]:
            return Command("limit", limit_db=_limit(limit))
    known = "bypass, mute and record (alone, or on, off), limit DB, quit and status"
    raise QuietmicError(f"no command {' '.join(words)!r}: there are {known}", exit_code=2)


def _limit(word: str) -> float:
    try:
        limit_db = NO_LIMIT if word == "none" else float(word)
    except ValueError:
        limit_db = -1.0
    if not limit_db >= 0:
        raise QuietmicError(f"the limit is a number of dB from 0 on, or none, not {word!r}", exit_code=2)
    return limit_db
