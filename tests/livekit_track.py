"""A LiveKit track that plays given samples, heard through an AudioStream without a server; needs livekit."""

import asyncio

import numpy as np
from livekit import rtc


def cut_frames(pcm: np.ndarray, rate: int, n_frame: int) -> list[rtc.AudioFrame]:
    """Frames of 16-bit samples [n_samples, n_channels], the last one shorter."""
    parts = [pcm[begin : begin + n_frame] for begin in range(0, len(pcm), n_frame)]
    return [rtc.AudioFrame(part.tobytes(), rate, part.shape[1], len(part)) for part in parts]


async def hear(processor: rtc.FrameProcessor, pcm: np.ndarray, rate: int) -> np.ndarray:
    """[n_heard, n_channels] of a track that plays these samples."""
    n_channels = pcm.shape[1]
    source = rtc.AudioSource(rate, n_channels)
    track = rtc.LocalAudioTrack.create_audio_track("caller", source)
    stream = rtc.AudioStream.from_track(
        track=track, sample_rate=rate, num_channels=n_channels, frame_size_ms=20, noise_cancellation=processor
    )
    heard: list[np.ndarray] = []

    async def listen() -> None:
        async for event in stream:
            heard.append(np.array(event.frame.data).reshape(-1, n_channels))

    listening = asyncio.create_task(listen())
    for frame in cut_frames(pcm, rate, rate // 100):
        await source.capture_frame(frame)
    await source.wait_for_playout()
    await asyncio.sleep(0.3)
    await stream.aclose()
    listening.cancel()
    return np.concatenate(heard)
