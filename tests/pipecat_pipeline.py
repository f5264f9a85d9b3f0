"""A pipecat pipeline whose caller speaks given frames, and what is heard behind its transport; needs pipecat."""

import asyncio

import numpy as np
from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import EndWorkerFrame, Frame, InputAudioRawFrame, StartFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner


class Caller(BaseInputTransport):
    """Speaks parts: 16-bit samples, or other frames, which wait until the sound before them is through."""

    def __init__(self, enhancer: BaseAudioFilter, rate: int, parts: list[np.ndarray | Frame], agent: "Agent") -> None:
        super().__init__(TransportParams(audio_in_enabled=True, audio_in_filter=enhancer))
        self.rate, self.parts, self.agent = rate, parts, agent

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.create_task(self.speak())

    async def speak(self) -> None:
        n_bytes = 0
        for part in self.parts:
            if isinstance(part, np.ndarray):
                n_bytes += part.nbytes
                await self.push_audio_frame(InputAudioRawFrame(part.tobytes(), self.rate, 1))
            else:
                await self.agent.has_heard(n_bytes)
                await self.process_frame(part, FrameDirection.DOWNSTREAM)
        await self.agent.has_heard(n_bytes)
        await self.push_frame(EndWorkerFrame())


class Agent(FrameProcessor):
    """Keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = bytearray()

    async def has_heard(self, n_bytes: int) -> None:
        while len(self.heard) < n_bytes:
            await asyncio.sleep(0.001)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            assert 2 * frame.num_frames == len(frame.audio)
            self.heard += frame.audio
        await self.push_frame(frame, direction)


async def hear(enhancer: BaseAudioFilter, rate: int, parts: list[np.ndarray | Frame]) -> np.ndarray:
    """[n_samples] that reach what stands behind the transport."""
    agent = Agent()
    pipeline = Pipeline([Caller(enhancer, rate, parts, agent), agent])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=rate))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await asyncio.wait_for(runner.run(), 60)
    return np.frombuffer(bytes(agent.heard), np.int16)
