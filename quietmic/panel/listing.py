"""The sound devices of this machine as a page offers them, listed in a process of its own.

PortAudio opens every device while it lists them, and does it once in the life of a process: in a process of its own a
device that was plugged in just now is there, and the run that goes on keeps its peace.
"""

from typing import Any

from quietmic.devices.sound import Sound
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.processes import map_in_processes


def offer_devices() -> dict[str, Any]:
    """Microphones and loudspeakers, whether there can be a virtual microphone, and why there is nothing."""
    try:
        return next(map_in_processes(_list_devices, ["the list of sound devices"], 1, "spawn"))
    except Exception as error:  # whatever the sound system does, files can be enhanced
        return {"inputs": [], "outputs": [], "virtual": False, "about": str(error) or type(error).__name__}


def _list_devices(job: str) -> dict[str, Any]:
    sound = Sound.find()
    try:
        devices, about = sound.list_devices(), ""
    except QuietmicError as error:
        devices, about = [], str(error)
    names = [device.name for device in devices]
    entries = [
        {
            "value": device.name if names.count(device.name) == 1 else str(device.index),
            "label": device.label,
            "n_inputs": device.n_inputs,
            "n_outputs": device.n_outputs,
        }
        for device in devices
        if not device.monitor_of
    ]
    return {
        "inputs": [entry for entry in entries if entry["n_inputs"]],
        "outputs": [entry for entry in entries if entry["n_outputs"]],
        "virtual": sound.server is not None,
        "about": about,
    }
