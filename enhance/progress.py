"""How far long work is: the library tells it to a function, the command line draws it."""

from typing import Protocol


class Progress(Protocol):
    """Hears of one part of the work after the other, each from its start to its end."""

    def __call__(self, what: str, done: float, total: float, note: str = "") -> None:
        """Takes in how far the work is.

        Args:
            what: the part, which keeps its name.
            done: of `total`, in any unit.
            total: all there is to do.
            note: what changes meanwhile, such as the loss or the file at hand.
        """


def silent(what: str, done: float, total: float, note: str = "") -> None:
    """For callers who want to hear nothing."""


def describe_minutes(minutes: float) -> str:
    """An estimate of time as a person says it, such as "3 minutes"."""
    if minutes < 1:
        return "a minute" if minutes > 0.5 else "less than a minute"
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.0f} hours"
