"""Noise filter for LiveKit agents: what a participant says is enhanced before the agent hears it."""

from livekit import rtc

from quietmic import open_stream
from quietmic.integrations.session import Session


class QuietmicProcessor(rtc.FrameProcessor[rtc.AudioFrame]):
    """Takes noise and late echo out of a participant's voice; goes into `noise_cancellation`.

    Frames may have any rate, length and number of channels, of which each is enhanced on its own; every frame comes
    back as long as it was. With another track, rate or number of channels it begins anew. Tracks that are heard at
    the same time need a processor each; all of a process share the network.

    Example:
        >>> room_io.AudioInputOptions(noise_cancellation=lambda parameters: QuietmicProcessor())
    """

    def __init__(self, model: str = "default", attenuation_limit_db: float | None = None) -> None:
        """Opens the network, unless another processor has.

        Args:
            model: name of the catalogue, "default", or the path of an .onnx file.
            attenuation_limit_db: nothing is attenuated by more than this; None for no limit.

        Raises:
            QuietmicError: unknown model.
        """
        open_stream(model)
        self.model = model
        self.attenuation_limit_db = attenuation_limit_db
        self._enabled = True
        self._publication_sid = ""
        self._session: Session | None = None

    @property
    def enabled(self) -> bool:
        """Whether frames are enhanced; LiveKit hands over none while they are not."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        # Frames are missing in between, so that what was heard before must not come out after them.
        self._enabled = value
        self._session = None

    def process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        """The frame enhanced, as long as it was; as it is where `enabled` is false.

        Raises:
            QuietmicError: a rate or a limit that cannot be served; LiveKit logs it and passes the frame on as it is.
        """
        if not self._enabled:
            return frame
        session = self._session
        if session is None or (session.sample_rate, session.n_channels) != (frame.sample_rate, frame.num_channels):
            limit_db = self.attenuation_limit_db
            session = self._session = Session(self.model, frame.sample_rate, frame.num_channels, limit_db)
        n_samples = frame.samples_per_channel
        pcm = session.process(frame.data[: n_samples * frame.num_channels])  # a buffer may be longer than its frame
        return rtc.AudioFrame(pcm, frame.sample_rate, frame.num_channels, n_samples, userdata=frame.userdata)

    def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        return self.process(frame)

    def _on_stream_info_updated(self, *, room_name: str, participant_identity: str, publication_sid: str) -> None:
        if publication_sid != self._publication_sid:
            self._publication_sid = publication_sid
            self._session = None

    def _close(self) -> None:
        self._session = None
