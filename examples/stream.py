"""Sound that comes in blocks, here those of a file: python examples/stream.py NOISY CLEAN."""

import sys

import soundfile

from quietmic import open_stream

with soundfile.SoundFile(sys.argv[1]) as source:
    stream = open_stream(n_mics=1, sample_rate=source.samplerate)
    with soundfile.SoundFile(sys.argv[2], "w", source.samplerate, channels=1) as target:
        to_drop = stream.delay  # samples by which the output lags the input
        while len(block := source.read(480, dtype="float32", always_2d=True)):
            ready = stream.process(block[:, 0])  # the first channel; any number of samples in, those that are ready out
            target.write(ready[to_drop:])
            to_drop -= min(to_drop, len(ready))
        target.write(stream.flush()[to_drop:])
live_ms = 1e3 * stream.delay / source.samplerate + 16  # a hop of 16 ms has to fill first
print(f"{source.frames} samples in time with the input; live they would come {live_ms:.0f} ms after it")
