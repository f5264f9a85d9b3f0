"""A pipecat pipeline that hears an enhanced caller: python examples/agents/pipecat_agent.py NOISY.wav HEARD.wav

The caller is a recording, and the agent writes down what it hears. With a transport of yours, and recognition in the
agent's place, the filter stays as it is. Needs `pip install "quietmic[pipecat]"`.
"""

import asyncio
import sys

import soundfile
from pipecat.frames.frames import EndFrame, EndWorkerFrame, Frame, InputAudioRawFrame, StartFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from quietmic.integrations.pipecat import QuietmicFilter


class RecordedCaller(BaseInputTransport):
    """Speaks 16-bit samples in frames of 20 ms."""

    def __init__(self, samples: bytes, sample_rate: int, parameters: TransportParams) -> None:
        super().__init__(parameters)
        self.samples, self.rate = samples, sample_rate

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.create_task(self.speak())

    async def speak(self) -> None:
        n_bytes = 2 * self.rate // 50
        for begin in range(0, len(self.samples), n_bytes):
            await self.push_audio_frame(InputAudioRawFrame(self.samples[begin : begin + n_bytes], self.rate, 1))
            await asyncio.sleep(0)  # a caller in real time would wait 20 ms


class Agent(FrameProcessor):
    """Writes down what it hears, until it has heard all."""

    def __init__(self, path: str, sample_rate: int, n_bytes: int) -> None:
        super().__init__()
        self.file = soundfile.SoundFile(path, "w", sample_rate, 1, "PCM_16")
        self.n_bytes = n_bytes

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.file.buffer_write(frame.audio, "int16")
            self.n_bytes -= len(frame.audio)
            if self.n_bytes <= 0:
                await self.push_frame(EndWorkerFrame())
        elif isinstance(frame, EndFrame):
            self.file.close()


async def main(source: str, target: str) -> None:
    """Plays a recording of one channel to the agent."""
    data, rate = soundfile.read(source, dtype="int16")
    samples = data.tobytes()
    parameters = TransportParams(audio_in_enabled=True, audio_in_filter=QuietmicFilter())  # here it goes in
    pipeline = Pipeline([RecordedCaller(samples, rate, parameters), Agent(target, rate, len(samples))])
    runner = WorkerRunner()
    await runner.add_workers(PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=rate)))
    await runner.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
