"""The memory of a stream, as plain data."""

from copy import deepcopy
from dataclasses import dataclass

from quietmic.enhance.arrays import Array
from quietmic.enhance.beamform import BeamState
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.fullband import UpperState
from quietmic.enhance.network import State
from quietmic.enhance.offset import OffsetState
from quietmic.enhance.reference import ReferenceState
from quietmic.enhance.resample import ResamplerState
from quietmic.enhance.stft import StftState


@dataclass
class StreamState:
    """Everything that a stream remembers; `copy.deepcopy` gives a point to go back to.

    Attributes:
        of: the stream it belongs to: model, microphones, rate and band.
        to_model: resampler of the input; None at the model's rate.
        from_model: resampler of the output; None at the model's rate.
        pending: [n_mics, n] samples at the model's rate that do not fill a hop yet.
        offset: constant offsets of the microphones.
        stft: analysis and synthesis.
        network: the graph's states by name.
        beam: covariances; None with one microphone or a network without a beam.
        reference: which microphone is the reference; None with one microphone.
        upper: the band above the network's; None where there is none.
        n_in: samples in.
        n_out: samples out.
        non_finite: samples replaced by zero.
        is_flushed: the signal has ended.
    """

    of: str
    to_model: ResamplerState | None
    from_model: ResamplerState | None
    pending: Array
    offset: OffsetState
    stft: StftState
    network: State
    beam: BeamState | None
    reference: ReferenceState | None
    upper: UpperState | None
    n_in: int = 0
    n_out: int = 0
    non_finite: int = 0
    is_flushed: bool = False

    def __copy__(self) -> "StreamState":
        """A whole copy: half of one would change with the stream."""
        return deepcopy(self)

    def check(self, of: str) -> None:
        """Refuses to be the memory of another kind of stream.

        Raises:
            QuietmicError: it belongs to another model, number of microphones, rate or band.
        """
        if self.of != of:
            raise QuietmicError(f"a state of a stream of {self.of} does not fit one of {of}", exit_code=2)
