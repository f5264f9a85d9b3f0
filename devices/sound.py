"""The sound systems of this machine: the cards, through PortAudio, and the sound server of a Linux desktop."""

import contextlib
from collections.abc import Iterator
from typing import Any

from quietmic.devices.listing import ALSA_NAMES_OF_SERVER, Device
from quietmic.devices.server.pactl import find_server, take_snapshot
from quietmic.enhance.errors import QuietmicError

_FIRST_ON_SERVER = 100
"""Devices of the server are numbered from here on, those of PortAudio as PortAudio does, from 0."""


def load_backend() -> Any:
    """The sounddevice module, by which PortAudio is reached.

    Raises:
        QuietmicError: sounddevice or the PortAudio library is not installed; the message names the repair.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise QuietmicError("live audio needs the package sounddevice: pip install 'quietmic[live]'") from error
    except OSError as error:
        raise QuietmicError("live audio needs PortAudio: apt-get install libportaudio2") from error
    return sounddevice


class Sound:
    """Lists devices, and loads PortAudio only when one of its devices may be meant.

    With both devices on the server PortAudio is never started: it opens every device while it lists them, ALSA's
    plugins for the server too, and these do not survive a server that dies.

    Attributes:
        server: "PulseAudio" or "PipeWire", None where there is none.
    """

    def __init__(self, backend: Any = None, server: str | None = None) -> None:
        """Takes what is there.

        Args:
            backend: the sounddevice module or something that behaves like it; None = loaded when it is needed.
            server: name of the sound server, see `find`.
        """
        self._backend, self.server = backend, server

    @classmethod
    def find(cls) -> "Sound":
        """That of this machine."""
        return cls(server=find_server())

    @property
    def backend(self) -> Any:
        """PortAudio; raises as load_backend does."""
        if self._backend is None:
            self._backend = load_backend()
        return self._backend

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What devices that refuse or have gone raise: PortAudio's own error is among it once that is in use."""
        return (QuietmicError, OSError, *((self._backend.PortAudioError,) if self._backend else ()))

    def listings(self) -> Iterator[list[Device]]:
        """Where to look for a device: the server's alone, and if that is not enough, all."""
        on_server = self._on_server()
        if on_server:
            yield on_server
        try:
            cards = self._cards()
        except QuietmicError:
            if not on_server:
                raise
        else:
            # The server is spoken to directly: ALSA's ways to it would be the same devices once more.
            hidden = ALSA_NAMES_OF_SERVER if on_server else ()
            yield on_server + [device for device in cards if device.name not in hidden]

    def list_devices(self) -> list[Device]:
        """All devices there are now.

        Raises:
            QuietmicError: there is no server and PortAudio is not installed.
        """
        devices: list[Device] = []
        for devices in self.listings():  # noqa: B007 - the last has them all
            pass
        return devices

    def _cards(self) -> list[Device]:
        backend = self.backend
        host_apis = [api["name"] for api in backend.query_hostapis()]
        default_input, default_output = backend.default.device
        return [
            Device(
                index=index,
                name=entry["name"],
                host_api=host_apis[entry["hostapi"]],
                n_inputs=entry["max_input_channels"],
                n_outputs=entry["max_output_channels"],
                sample_rate=round(entry["default_samplerate"]),
                is_default_input=index == default_input and not self.server,
                is_default_output=index == default_output and not self.server,
            )
            for index, entry in enumerate(backend.query_devices())
        ]

    def _on_server(self) -> list[Device]:
        if self.server is None:
            return []
        server = take_snapshot()
        nodes = [(node, True) for node in server.sources] + [(node, False) for node in server.sinks]
        return [
            Device(
                index=index,
                name=node.name,
                host_api=self.server,
                n_inputs=node.n_channels if is_source else 0,
                n_outputs=0 if is_source else node.n_channels,
                sample_rate=node.sample_rate,
                is_default_input=is_source and node.name == server.default_source,
                is_default_output=not is_source and node.name == server.default_sink,
                description=node.description,
                channel_map=node.channel_map,
                monitor_of=node.monitor_of,
            )
            for index, (node, is_source) in enumerate(nodes, _FIRST_ON_SERVER)
        ]

    def restart(self) -> None:
        """Makes PortAudio look for devices anew, if it is in use: it lists them once, when it is started.

        Raises:
            PortAudioError: it does not start.
        """
        if self._backend:
            with contextlib.suppress(self._backend.PortAudioError):  # it does not run if that failed the last time
                self._backend._terminate()
            self._backend._initialize()
