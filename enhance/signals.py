"""Whole signals through the stream: as many samples out as in, in time with the input."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietmic.enhance.arrays import Array
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.network import share_network
from quietmic.enhance.samples import to_float32
from quietmic.enhance.served import MAX_MICS, Band, check_served
from quietmic.enhance.stereo import LISTEN_S, LinkedStream, open_pair
from quietmic.enhance.stream import Stream

BLOCK_S = 2
"""Seconds of a file that go through the network at once: one takes a tenth more time, four a fiftieth less."""

_logger = logging.getLogger(__name__)


def denoise(
    samples: NDArray[Any],
    sample_rate: int,
    model: str = "default",
    attenuation_limit_db: float | None = None,
    band: Band = "full",
    array: bool = True,
) -> Array:
    """Speech without its noise and late echo, as long as the input and in time with it.

    For a recording that lies in memory; `open_stream` is for sound that still comes in, `denoise_file` for files. The
    model stays open in this process, so that the next call does not load it again.

    Args:
        samples: floats, full scale 1: [n_samples] of one microphone, or [n_mics, n_samples] of up to eight
            microphones that hear the same scene.
        sample_rate: Hz, 8000..192000; other than the model's 16000, the signal is resampled both ways.
        model: name of the catalogue (`list_models`), "default", or the path of an .onnx file.
        attenuation_limit_db: nothing is attenuated by more than this; None for no limit.
        band: "full" cleans what a signal above 16 kHz holds beyond the model's band, too; "narrow" gives the model's
            band alone, below 7.6 kHz.
        array: several channels are the microphones of one scene and give one channel; with False each comes back
            denoised, the two of a stereo recording by one mask, so that a voice stays where it stands between them.

    Returns:
        [n_samples] float32; with several microphones the talker as the first of them would hear him. With
        `array=False` the shape of the input.

    Raises:
        ValueError: samples of another shape, or that are no floats.
        QuietmicError: unknown model, or a number of microphones, a rate, a limit or a band that cannot be served.

    Example:
        >>> noisy = np.random.default_rng(0).normal(0, 0.1, 96000)  # two seconds of nothing but noise
        >>> clean = denoise(noisy, sample_rate=48000)
        >>> clean.shape, bool(clean[48000:].std() < 0.01 * noisy.std())
        ((96000,), True)
    """
    given = np.asarray(samples)
    if given.ndim not in (1, 2):
        raise ValueError(f"samples of shape {given.shape}, but they are [n_samples] or [n_mics, n_samples]")
    if given.ndim == 2 and given.shape[0] > max(MAX_MICS, given.shape[1]):
        raise ValueError(f"samples of shape {given.shape}, but microphones come first: denoise(samples.T, ...)")
    signal = np.atleast_2d(to_float32(given))
    network, n_mics = share_network(find_model(model)), len(signal) if array else 1
    check_served(network, n_mics, sample_rate, attenuation_limit_db, band)

    def make() -> Stream:
        return Stream(network, n_mics, rate, attenuation_limit_db, band)

    rate = int(sample_rate)
    if len(signal) == 2 and not array:
        streams = open_pair(make, "auto", cut_blocks(signal[:, : LISTEN_S * rate], rate), rate)[1]
    else:
        streams = [make() for _ in range(1 if array else len(signal))]
    enhanced = np.concatenate([*enhance_signal(streams, cut_blocks(signal, rate))], axis=1)
    if n_bad := sum(stream.non_finite for stream in streams):
        _logger.warning("%d samples were NaN or infinite and count as silence", n_bad)
    return enhanced[0] if array or given.ndim == 1 else enhanced


def cut_blocks(signal: Array, sample_rate: int) -> Iterable[Array]:
    """What a file is enhanced by: blocks of `BLOCK_S` seconds of a signal [n_channels, n_samples]."""
    length = BLOCK_S * sample_rate
    return (signal[:, start : start + length] for start in range(0, signal.shape[1], length))


def enhance_signal(streams: Sequence[Stream | LinkedStream], blocks: Iterable[Array]) -> Iterable[Array]:
    """Enhanced blocks in time with the input: the streams' delay is cut off, the tail flushed.

    Args:
        streams: one for all channels (an array, or two that are linked), or one for each channel.
        blocks: [n_channels, n_samples] each.

    Yields:
        [n_outputs, n_ready]; as many samples in all as went in.
    """
    to_drop = streams[0].delay
    for block in blocks:
        channels = [block] if len(streams) == 1 else list(block)
        ready = np.vstack([stream.process(part) for stream, part in zip(streams, channels, strict=True)])
        drop = min(to_drop, ready.shape[1])
        to_drop -= drop
        yield ready[:, drop:]
    yield np.vstack([stream.flush() for stream in streams])[:, to_drop:]
