"""What is known of an audio file before it is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says.

    Attributes:
        n_channels: channels.
        n_samples: samples of each channel.
        sample_rate: Hz.
        format: container, as in "WAV".
        subtype: coding of the samples, as in "PCM_16".
        is_counted: the header counts the samples; else their number is a guess.
        bit_rate: mean bits per second of a lossy coding; None where that says nothing.
        has_constant_rate: every second has that many bits.
        tags: title, artist and the other common ones.
        n_pictures: still pictures, such as the cover of a record; 0 where the header was not asked for them.
    """

    n_channels: int
    n_samples: int
    sample_rate: int
    format: str
    subtype: str
    is_counted: bool = True
    bit_rate: int | None = None
    has_constant_rate: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    n_pictures: int = 0
