"""What a LiveKit agent hears of a noisy participant: python examples/agents/livekit_agent.py NOISY.wav HEARD.wav

A recording is played as a track, and heard through an AudioStream with the filter, which is how an agent's session
hears a participant; no server is needed for it. An agent of yours hands the filter over when its session starts:

    options = room_io.RoomOptions(
        audio_input=room_io.AudioInputOptions(noise_cancellation=lambda parameters: QuietmicProcessor())
    )
    await session.start(room=context.room, agent=agent, room_options=options)

Needs `pip install "quietmic[livekit]"`.
"""

import asyncio
import sys

import soundfile
from livekit import rtc

from quietmic.integrations.livekit import QuietmicProcessor


async def hear(track: rtc.Track, sample_rate: int, path: str) -> None:
    """Writes down what comes from a track, as an agent hears it."""
    stream = rtc.AudioStream.from_track(
        track=track, sample_rate=sample_rate, frame_size_ms=50, noise_cancellation=QuietmicProcessor()
    )
    with soundfile.SoundFile(path, "w", sample_rate, 1, "PCM_16") as file:
        try:
            async for event in stream:
                file.buffer_write(event.frame.data, "int16")
        finally:
            await stream.aclose()


async def main(source: str, target: str) -> None:
    """Plays a recording of one channel, at its pace."""
    samples, rate = soundfile.read(source, dtype="int16")
    caller = rtc.AudioSource(rate, 1)
    track = rtc.LocalAudioTrack.create_audio_track("caller", caller)
    hearing = asyncio.create_task(hear(track, rate, target))
    n_frame = rate // 100
    for begin in range(0, len(samples) - n_frame + 1, n_frame):
        await caller.capture_frame(rtc.AudioFrame(samples[begin : begin + n_frame].tobytes(), rate, 1, n_frame))
    await caller.wait_for_playout()
    hearing.cancel()
    await asyncio.wait([hearing])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
