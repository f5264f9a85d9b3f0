"""What to ask of the devices, decided before any of them is opened."""

import re
from dataclasses import dataclass
from typing import Any

from quietmic.devices.listing import Device, find_again, find_device
from quietmic.devices.server.virtual import SPEAKER
from quietmic.devices.sound import Sound
from quietmic.enhance.errors import QuietmicError

SAMPLE_TYPE = "int16"
"""What the cards are asked for: every card speaks it, and the callback needs no conversion."""


@dataclass(frozen=True)
class DuplexPlan:
    """Devices, rates and channels of one run.

    Attributes:
        input: device to listen to.
        output: device to play to.
        input_rate: Hz.
        output_rate: Hz.
        channels: of the input, those that are the microphones, the reference first.
        n_input_channels: channels opened.
        n_output_channels: channels opened; all play the same.
        shared_clock: one duplex stream is to be tried, without drift correction.
        notes: what differs from what was wanted, in words.
    """

    input: Device
    output: Device
    input_rate: int
    output_rate: int
    channels: tuple[int, ...]
    n_input_channels: int
    n_output_channels: int
    shared_clock: bool
    notes: tuple[str, ...] = ()


def _card(device: Device) -> str | None:
    """The card behind a device as far as its name tells, None where it does not.

    ALSA writes "USB Audio: - (hw:1,0)", Windows "Microphone (USB Audio)", macOS "MacBook Pro Microphone".
    """
    if device.host_api == "ALSA":
        match = re.search(r"\(hw:(\w+),", device.name)
        return match.group(1) if match else None
    inside = re.search(r"\((.+)\)$", device.name)
    return inside.group(1) if inside else device.name.split()[0]


def _have_one_clock(source: Device, sink: Device) -> bool:
    """False where the names tell two cards, or two sound systems."""
    cards = _card(source), _card(sink)
    if source.is_on_server or sink.is_on_server:
        return False
    return source.host_api == sink.host_api and (None in cards or cards[0] == cards[1])


def _accepts(backend: Any, device: Device, kind: str, n_channels: int, sample_rate: int) -> bool:
    check = backend.check_input_settings if kind == "input" else backend.check_output_settings
    try:
        check(device=device.index, channels=n_channels, dtype=SAMPLE_TYPE, samplerate=sample_rate)
    except (backend.PortAudioError, ValueError):
        return False
    return True


def _settle(sound: Sound, device: Device, kind: str, n_channels: int, sample_rate: int) -> tuple[int, int]:
    """(channels, rate) that a device accepts: the wanted ones if it can, else more channels, else its own rate.

    Raises:
        QuietmicError: it accepts nothing of what it says it has.
    """
    if device.is_on_server:  # which resamples; the channels of a microphone are taken as they are, and not mixed
        return (device.n_inputs if kind == "input" else 1), sample_rate
    n_max = device.n_inputs if kind == "input" else device.n_outputs
    counts = sorted({n for n in (n_channels, 2, n_max) if n_channels <= n <= n_max})
    for rate in (sample_rate, device.sample_rate):
        for n in counts:
            if _accepts(sound.backend, device, kind, n, rate):
                return n, rate
    raise QuietmicError(f"{device.name} accepts neither {sample_rate} Hz nor its own {device.sample_rate} Hz")


def _find_pair(
    sound: Sound, input_name: str | None, output_name: str | None, preferred_input: str
) -> tuple[Device, Device]:
    """(input, output): on the sound server if both are there, else wherever they are."""
    failure: QuietmicError | None = None
    for devices in sound.listings():
        try:
            wanted = input_name
            if wanted is None and preferred_input and any(preferred_input in d.label and d.n_inputs for d in devices):
                wanted = preferred_input
            return find_device(devices, wanted, "input"), find_device(devices, output_name, "output")
        except QuietmicError as error:
            failure = error
    raise failure or QuietmicError("there is no sound device")


def plan_duplex(
    sound: Sound,
    sample_rate: int,
    channels: tuple[int, ...] = (0,),
    input_name: str | None = None,
    output_name: str | None = None,
    two_clocks: bool = False,
    preferred_input: str = "",
) -> DuplexPlan:
    """Chooses devices, rates and channels.

    Args:
        sound: the sound systems.
        sample_rate: the model's, Hz.
        channels: wanted input channels, the reference first.
        input_name: index or part of the name of the microphone, None = the default.
        output_name: index or part of the name of the loudspeaker, None = the default.
        two_clocks: correct drift even where the devices look like one card.
        preferred_input: part of the name of the device taken when none is named and this one is there.

    Raises:
        QuietmicError: no such device, or it has none of the channels, or the input would hear the output.
    """
    source, sink = _find_pair(sound, input_name, output_name, preferred_input)
    notes = []
    if source.monitor_of == sink.name:
        raise QuietmicError(f"{source.label} gives what is played to {sink.label}: it would hear itself", exit_code=2)
    if source.monitor_of not in ("", SPEAKER):
        notes.append(f"{source.label} is no microphone: it gives what is played to {source.monitor_of!r}")
    usable = tuple(c for c in channels if c < source.n_inputs)
    if not usable:
        raise QuietmicError(f"{source.label} has {source.n_inputs} channels, none of those wanted", exit_code=2)
    if usable != channels:
        missing = ", ".join(str(c) for c in channels if c not in usable)
        notes.append(f"{source.label} has no channel {missing}: going on with {len(usable)} of {len(channels)}")
    n_inputs, input_rate = _settle(sound, source, "input", max(usable) + 1, sample_rate)
    n_outputs, output_rate = _settle(sound, sink, "output", 1, sample_rate)
    for device, rate in ((source, input_rate), (sink, output_rate)):
        if rate != sample_rate:
            notes.append(f"{device.name} does not offer {sample_rate} Hz: resampling, it runs at {rate} Hz")
    one_clock = not two_clocks and input_rate == output_rate and _have_one_clock(source, sink)
    return DuplexPlan(source, sink, input_rate, output_rate, usable, n_inputs, n_outputs, one_clock, tuple(notes))


def plan_on(sound: Sound, sample_rate: int, old: DuplexPlan, source: str, sink: str, two_clocks: bool) -> DuplexPlan:
    """A plan for other devices of the same kind, with the channels of an old one.

    Args:
        sound: the sound systems.
        sample_rate: the model's, Hz.
        old: what was in use.
        source: name or index of the microphone.
        sink: name or index of the loudspeaker.
        two_clocks: as for plan_duplex.

    Raises:
        QuietmicError: they are not there, or have fewer channels, or the input would hear the output.
    """
    plan = plan_duplex(sound, sample_rate, old.channels, source, sink, two_clocks)
    if len(plan.channels) != len(old.channels):
        raise QuietmicError(f"{plan.input.label} has too few channels")
    return plan


def plan_again(sound: Sound, sample_rate: int, old: DuplexPlan, two_clocks: bool) -> DuplexPlan:
    """A plan for the devices of an old one, which were lost.

    Args:
        sound: the sound systems, started anew.
        sample_rate: the model's, Hz.
        old: what was in use.
        two_clocks: as for plan_duplex.

    Raises:
        QuietmicError: they are not there, or have fewer channels.
    """
    failure: QuietmicError | None = None
    for devices in sound.listings():
        try:
            source, sink = find_again(devices, old.input, "input"), find_again(devices, old.output, "output")
        except QuietmicError as error:
            failure = error
            continue
        return plan_on(sound, sample_rate, old, str(source.index), str(sink.index), two_clocks)
    raise failure or QuietmicError("there is no sound device")
