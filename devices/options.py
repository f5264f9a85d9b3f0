"""What a live run is asked to do."""

from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any

from quietmic.devices.board import Board
from quietmic.devices.microphones import find_array
from quietmic.enhance.errors import QuietmicError


@dataclass(frozen=True)
class LiveOptions:
    """What the person chose for a live run.

    Attributes:
        input_name: index or part of the name of the microphone; None = the default device.
        output_name: index or part of the name of the loudspeaker; None = the default device.
        preferred_input: part of the name of the device to take when none is named and this one is there.
        channels: of the input, the microphones, the reference first.
        latency: asked of PortAudio: "low", "high" or seconds; "auto" = low unless a server is busy.
        jitter_s: buffering on the output side, seconds; None = from the measured 99th percentile.
        least_jitter_s: that buffering is never less, seconds.
        n_hops_per_block: hops in one block of the sound card.
        two_clocks: correct drift even where the devices look like one card.
        record: folder of a recording from the start; None = only on the key.
        key_folder: folder for recordings that are begun later; None = that of `record`, or the current one.
        duration_s: seconds to run; None = until stopped.
        attenuation_limit_db: at the start.
        auto: step down to a smaller model on a machine that is too slow.
        virtual_microphone: play into a new source "quietmic" of the sound server.
        virtual_speaker: listen to a new sink "quietmic-speaker" of the sound server.
        echo_cancel: put the sound server's echo canceller before the microphone.
        always_on: go on when no program uses the virtual device.
    """

    input_name: str | None = None
    output_name: str | None = None
    preferred_input: str = ""
    channels: tuple[int, ...] = (0,)
    latency: float | str = "auto"
    jitter_s: float | None = None
    least_jitter_s: float = 0.032
    n_hops_per_block: int = 1
    two_clocks: bool = False
    record: Path | None = None
    key_folder: Path | None = None
    duration_s: float | None = None
    attenuation_limit_db: float | None = None
    auto: bool = False
    virtual_microphone: bool = False
    virtual_speaker: bool = False
    echo_cancel: bool = False
    always_on: bool = False


def live_options(
    board: Board,
    channels: tuple[int, ...] | None = None,
    array: str | None = None,
    latency: str = "auto",
    jitter_ms: float | None = None,
    **others: Any,
) -> LiveOptions:
    """Options as a person gives them, with what the board and the array say.

    Args:
        board: profile of this machine.
        channels: microphones; None = those of the array, else the first.
        array: name, or file of one.
        latency: "auto", "low", "high" or a number of seconds.
        jitter_ms: buffering, milliseconds; None = measured.
        others: fields of LiveOptions.

    Raises:
        QuietmicError: unknown array, or a latency that is no time.
    """
    microphones = find_array(array) if array else None
    if channels is None:
        channels = microphones.channels if microphones else (0,)
    try:
        latency_s = latency if latency in ("auto", "low", "high") else float(latency)
    except ValueError:
        latency_s = nan
    if not isinstance(latency_s, str) and not 0 < latency_s < inf:
        raise QuietmicError(f"latency is auto, low, high or seconds, not {latency!r}", exit_code=2)
    return LiveOptions(
        preferred_input=microphones.device if microphones else "",
        channels=channels,
        latency=latency_s,
        jitter_s=jitter_ms / 1000 if jitter_ms else None,
        least_jitter_s=board.jitter_ms / 1000,
        n_hops_per_block=board.n_hops_per_block,
        **others,
    )
