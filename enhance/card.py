"""The facts of a model: its STFT and its card. Everyone else reads them from here."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from quietmic.enhance.errors import QuietmicError

CARD_KEY = "quietmic_card"
"""Metadata key of the ONNX file under which the card lies as JSON."""

FORMAT_VERSION = 1


def is_count(value: object) -> bool:
    """Whether a value is a whole number above 0; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True)
class StftConfig:
    """Short-time Fourier transform of a model; the only place where these numbers stand.

    Attributes:
        sample_rate: Hz.
        n_fft: length of the transform, samples.
        hop_length: samples between frames; a whole fraction of win_length.
        win_length: length of the window, samples; at most n_fft.
        window: "sqrt_hann", periodic, for analysis and synthesis.
    """

    sample_rate: int = 16000
    n_fft: int = 512
    hop_length: int = 256
    win_length: int = 512
    window: str = "sqrt_hann"

    def __post_init__(self) -> None:
        numbers = (self.sample_rate, self.n_fft, self.hop_length, self.win_length)
        if not all(is_count(number) for number in numbers):
            raise ValueError("sample_rate, n_fft, hop_length and win_length must be whole numbers above 0")
        if self.window != "sqrt_hann":
            raise ValueError(f"unknown window {self.window!r}")
        if self.win_length > self.n_fft or self.win_length % self.hop_length or self.hop_length == self.win_length:
            raise ValueError("win_length must be at most n_fft and a multiple of hop_length, at least two hops")

    @property
    def n_freqs(self) -> int:
        """Number of frequencies of a spectrum, 0 Hz and half the sample rate included."""
        return self.n_fft // 2 + 1


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it costs and what it was measured at; travels inside the ONNX file.

    Attributes:
        name: begins with the family, as in "tcn" or "fullsubnet-small".
        stft: the transform it was trained with.
        max_mics: largest number of microphones accepted.
        look_ahead: frames of the future that the output needs.
        parent: name of the model it was compressed from, None for an uncompressed one.
        parent_sha256: of the parent's file.
        recipe: how it was compressed, None for an uncompressed one.
        parameters: number of trained values.
        macs_per_second: multiply-accumulates per second of audio, one microphone.
        metrics: figures with the data they were measured on.
        training_data: corpora and their licences.
        licence: of the weights.
        notes: anything else a user should know.
        format_version: of this card and of the graph's signature.
    """

    name: str
    stft: StftConfig
    max_mics: int
    look_ahead: int
    parent: str | None
    parent_sha256: str | None
    recipe: dict[str, Any] | None
    parameters: int
    macs_per_second: int
    metrics: dict[str, Any] = field(default_factory=dict)
    training_data: dict[str, Any] = field(default_factory=dict)
    licence: str = "MIT"
    notes: str = ""
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """JSON text of the card, the STFT's numbers included."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Card from its JSON text; fields unknown to this version are ignored.

        Raises:
            QuietmicError: not a card, one of a newer format, or one that says what no model of this format can be.
        """
        try:
            values = json.loads(text)
            version = values.get("format_version", FORMAT_VERSION)
            if version > FORMAT_VERSION:
                raise QuietmicError(
                    f"the model's format is {version}, this quietmic reads {FORMAT_VERSION}: update quietmic"
                )
            known = {f.name for f in fields(cls)}
            values = {key: value for key, value in values.items() if key in known}
            card = cls(**values | {"stft": StftConfig(**values["stft"])})
            card.check()
            return card
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise QuietmicError(f"the model's card is unreadable ({error}): export the model again") from error

    def check(self) -> None:
        """Finds a card that cannot be true.

        Raises:
            ValueError: another transform than that of this format, or a field of another kind.
        """
        if self.stft != StftConfig():
            raise ValueError(f"models of format {FORMAT_VERSION} have {StftConfig()}, not {self.stft}")
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise ValueError(f"name is {self.name!r}, but it must be a word")
        if not is_count(self.max_mics):
            raise ValueError(f"max_mics is {self.max_mics!r}, but it must be a whole number above 0")
        for name in ("look_ahead", "parameters", "macs_per_second"):
            value = getattr(self, name)
            if value != 0 and not is_count(value):
                raise ValueError(f"{name} is {value!r}, but it must be a whole number from 0 on")
        for name in ("metrics", "training_data"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} must be a table")
        for name in ("licence", "notes"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a text")
        for name, kind in (("parent", str), ("parent_sha256", str), ("recipe", dict)):
            if not isinstance(getattr(self, name), kind | None):
                raise ValueError(f"{name} is {getattr(self, name)!r}")
