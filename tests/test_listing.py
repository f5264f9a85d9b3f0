"""Devices are found by index, by name, by part of a name; what does not fit is said."""

import subprocess
import sys

import pytest
from fake_portaudio import FakePortAudio

from quietmic.devices.listing import find_device, format_devices
from quietmic.devices.sound import Sound
from quietmic.enhance.errors import QuietmicError


def test_devices_carry_channels_rates_and_defaults() -> None:
    devices = Sound(FakePortAudio(rates=(48000,))).list_devices()
    assert [(d.n_inputs, d.n_outputs, d.sample_rate) for d in devices] == [(4, 0, 48000), (0, 2, 48000), (0, 2, 48000)]
    assert [d.is_default_input for d in devices] == [True, False, False]
    assert format_devices(devices).splitlines()[1].startswith(">")


@pytest.mark.parametrize(
    ("wanted", "kind", "index"),
    [
        (None, "input", 0),
        (None, "output", 1),
        ("2", "output", 2),
        ("usb", "output", 2),
        ("Speaker", "output", 1),  # the whole name but for the card's number
        ("array", "input", 0),
    ],
)
def test_a_device_is_found(wanted: str | None, kind: str, index: int) -> None:
    assert find_device(Sound(FakePortAudio()).list_devices(), wanted, kind).index == index


@pytest.mark.parametrize(
    ("wanted", "message"), [("peaker", "2 output devices"), ("headset", "no output"), ("0", "no output")]
)
def test_what_does_not_fit_is_wrong_use(wanted: str, message: str) -> None:
    with pytest.raises(QuietmicError, match=message) as caught:
        find_device(Sound(FakePortAudio()).list_devices(), wanted, "output")
    assert caught.value.exit_code == 2


def test_duplex_imports_without_portaudio_and_torch() -> None:
    blocked = "import sys; sys.modules.update(sounddevice=None, torch=None, onnx=None, torchaudio=None)\n"
    code = blocked + "import quietmic.devices.duplex, quietmic.devices.session"
    subprocess.run([sys.executable, "-c", code], check=True)
