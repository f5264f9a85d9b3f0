"""A microphone live, with sounddevice: python examples/live.py [SECONDS].

`quietmic live` does more: devices with two clocks, devices that come and go, machines that are too slow.
"""

import sys
import time

import sounddevice

from quietmic import open_stream

RATE, BLOCK = 16000, 256
stream = open_stream(sample_rate=RATE)
end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 10)
with sounddevice.Stream(samplerate=RATE, blocksize=BLOCK, channels=1, dtype="float32") as card:
    while time.monotonic() < end:
        block, lost = card.read(BLOCK)  # waits for the microphone: [BLOCK, 1]
        ready = stream.process(block[:, 0])  # as many: a block is a hop; the first is silence
        card.write(ready[:, None])
        if lost:
            print("the microphone was faster than this machine", file=sys.stderr)
