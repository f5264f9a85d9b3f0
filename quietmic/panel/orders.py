"""What a page orders of the live part, checked before it is believed."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from quietmic.devices.commands import SWITCHES
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.served import MAX_MICS
from quietmic.panel.wishes import read_limit

_LONGEST = 300  # characters of a device's name
_STEERING = (*SWITCHES, "limit")


@dataclass(frozen=True)
class LiveWish:
    """How a live run is to begin.

    Attributes:
        input_name: the microphone; None for the default.
        output_name: the loudspeaker; None for the default.
        model: a name of the catalogue; None for what this machine can bear.
        limit_db: nothing is attenuated by more than this; None for no limit.
        channels: of the input, the microphones; None for those of the array, else the first.
        array: name of a known array.
        virtual_microphone: be a microphone "quietmic" instead of playing to a loudspeaker.
    """

    input_name: str | None = None
    output_name: str | None = None
    model: str | None = None
    limit_db: float | None = None
    channels: tuple[int, ...] | None = None
    array: str | None = None
    virtual_microphone: bool = False


def live_wish(order: dict[str, Any], models: Collection[str], arrays: Collection[str]) -> LiveWish:
    """How a live run is to begin, out of what a page sent.

    Args:
        order: as it came.
        models: that may be named; a path would let a page open any file of this machine.
        arrays: the same.

    Raises:
        QuietmicError: a value that there is not.
    """
    return LiveWish(
        _text(order, "input"),
        _text(order, "output"),
        _one_of(order, "model", models),
        read_limit(order.get("limit_db")),
        _channels(order.get("channels")),
        _one_of(order, "array", arrays),
        order.get("virtual_microphone") is True,
    )


def steering_words(order: dict[str, Any]) -> list[str]:
    """Words for `Controls.obey`, out of what a page sent.

    Raises:
        QuietmicError: what may not be steered from a page.
    """
    words = order.get("words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or words[:1] == []:
        raise QuietmicError("words is a list of words", exit_code=2)
    if words[0] not in _STEERING:
        raise QuietmicError(f"{words[0]!r} cannot be steered", exit_code=2)
    return words


def _text(order: dict[str, Any], name: str) -> str | None:
    value = order.get(name)
    if value is None or (isinstance(value, str) and 0 < len(value) <= _LONGEST):
        return value
    raise QuietmicError(f"{name} is the name of a device, not {value!r}", exit_code=2)


def _one_of(order: dict[str, Any], name: str, known: Collection[str]) -> str | None:
    value = order.get(name)
    if value is None or (isinstance(value, str) and value in known):
        return value
    raise QuietmicError(f"there is no {name} {value!r}", exit_code=2)


def _channels(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list) and all(type(each) is int for each in value) else []
    if 0 < len(numbers) <= MAX_MICS and min(numbers) >= 0 and len(set(numbers)) == len(numbers):
        return tuple(numbers)
    raise QuietmicError(f"channels are up to {MAX_MICS} different numbers from 0 on", exit_code=2)
