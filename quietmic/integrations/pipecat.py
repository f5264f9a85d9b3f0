"""Noise filter for pipecat: what a transport hears is enhanced before voice activity detection and recognition."""

from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import FilterControlFrame, FilterEnableFrame

from quietmic import open_stream
from quietmic.integrations.session import Session


class QuietmicFilter(BaseAudioFilter):
    """Takes noise and late echo out of a caller's voice; goes into a transport's `audio_in_filter`.

    Sound is 16-bit, of one channel, at the transport's rate, in frames of any length; each comes back as long as it
    was. A `FilterEnableFrame` switches without a click and without a jump in time. Each transport needs a filter of
    its own; all of a process share the network.

    Example:
        >>> parameters = TransportParams(audio_in_enabled=True, audio_in_filter=QuietmicFilter())
    """

    def __init__(self, model: str = "default", attenuation_limit_db: float | None = None) -> None:
        """Opens the network, unless another filter has.

        Args:
            model: name of the catalogue, "default", or the path of an .onnx file.
            attenuation_limit_db: nothing is attenuated by more than this; None for no limit.

        Raises:
            QuietmicError: unknown model.
        """
        open_stream(model)
        self.model = model
        self.attenuation_limit_db = attenuation_limit_db
        self.enabled = True
        self._session: Session | None = None

    async def start(self, sample_rate: int) -> None:
        """Begins anew, at the transport's rate.

        Raises:
            QuietmicError: a rate or a limit that cannot be served.
        """
        self._session = Session(self.model, sample_rate, attenuation_limit_db=self.attenuation_limit_db)
        self._apply()

    async def stop(self) -> None:
        """Forgets what was heard."""
        self._session = None

    async def process_frame(self, frame: FilterControlFrame) -> None:
        """Switches enhancement on or off."""
        if isinstance(frame, FilterEnableFrame):
            self.enabled = frame.enable
            self._apply()

    async def filter(self, audio: bytes) -> bytes:
        """Enhanced samples, as many as came; as they are before `start` and after `stop`."""
        return self._session.process(audio) if self._session else audio

    def _apply(self) -> None:
        if self._session:
            self._session.limit_attenuation(self.attenuation_limit_db if self.enabled else 0.0)
