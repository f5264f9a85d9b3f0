"""Filters inside voice frameworks: the stream's samples, whatever rate and frames they send."""

import asyncio
import os
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from quietmic import QuietmicError, open_stream
from quietmic.enhance.files.audio import read
from quietmic.integrations.session import Session, to_pcm

ROOT = Path(__file__).resolve().parent.parent
RATES = (8000, 16000, 22050, 24000, 44100, 48000)
MODEL = "tcn-tiny"


def caller(rate: int, n_channels: int = 1) -> np.ndarray:
    """A second, [n_samples, n_channels] of 16 bits, of a voice in noise, or of what sounds like it at this rate."""
    noisy = read(ROOT / "recordings" / "mono_street_noisy.wav")[0][0]
    parts = [noisy[16_000 + 20_000 * channel :][:rate] for channel in range(n_channels)]
    return to_pcm(np.stack(parts))


def cut(pcm: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Frames of these sizes over and over, the last one shorter."""
    ends = list(accumulate(sizes * (len(pcm) // sum(sizes) + 1)))
    return [part for part in np.split(pcm, ends) if len(part)]


def through_stream(pcm: np.ndarray, rate: int, lag: int, model: str = MODEL) -> np.ndarray:
    """What the public stream makes of each channel, as late as a session gives it."""
    outputs = []
    for channel in pcm.T.astype(np.float32) / 32768:
        stream = open_stream(model, sample_rate=rate)
        ready = np.concatenate([np.zeros(lag - stream.delay), stream.process(channel), stream.flush()])
        outputs.append(ready[: len(channel)])
    return to_pcm(np.stack(outputs))


def differs(first: np.ndarray, second: np.ndarray) -> int:
    """Largest difference in steps of 16 bits; matrix products of other lengths may round the last one otherwise."""
    assert first.shape == second.shape
    return int(np.abs(first.astype(np.int32) - second).max())


@pytest.mark.parametrize("rate", RATES)
def test_every_frame_comes_back_as_long_as_it_was(rate: int, passthrough_model: Path) -> None:
    pcm = caller(rate, 2)
    for sizes in ((rate // 100,), (rate // 50,), (rate // 20,), (1, 7, 255, 256, 257, 3000)):
        session = Session(str(passthrough_model), rate, 2)
        frames = cut(pcm, sizes)
        heard = [session.process(frame.tobytes()) for frame in frames]
        assert [len(part) for part in heard] == [frame.nbytes for frame in frames]
        got = np.frombuffer(b"".join(heard), np.int16).reshape(-1, 2)
        assert differs(got, through_stream(pcm, rate, session.lag, str(passthrough_model))) <= 1
        assert session.lag <= (0.032 if rate == 16000 else 0.045) * rate  # what docs/voice-agents.md tells


def test_sessions_share_a_network_and_nothing_else() -> None:
    """Two callers by turns hear what each would hear alone."""
    assert open_stream(MODEL).network is open_stream(MODEL, sample_rate=48000).network
    first, second = caller(16000, 2).T[:, :, None]
    alone = [Session(MODEL, 16000).process(np.ascontiguousarray(pcm).tobytes()) for pcm in (first, second)]
    sessions = Session(MODEL, 16000), Session(MODEL, 16000)
    heard = [bytearray(), bytearray()]
    for frames in zip(cut(first, (320,)), cut(second, (320,)), strict=True):
        for session, frame, got in zip(sessions, frames, heard, strict=True):
            got += session.process(frame.tobytes())
    for got, wanted in zip(heard, alone, strict=True):
        assert differs(np.frombuffer(bytes(got), np.int16), np.frombuffer(wanted, np.int16)) <= 1


def test_loud_samples_are_clipped_and_do_not_wrap() -> None:
    assert to_pcm(np.array([[1.5, -1.5, 0.5, 1.4 / 32768]])).tolist() == [[32767], [-32768], [16384], [1]]


# --- pipecat ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "sizes"), [(8000, (160,)), (16000, (320,)), (24000, (480, 13)), (48000, (960,))])
def test_a_pipecat_transport_hears_the_stream(rate: int, sizes: tuple[int, ...]) -> None:
    pytest.importorskip("pipecat", reason="needs the extra pipecat")
    from pipecat_pipeline import hear

    from quietmic.integrations.pipecat import QuietmicFilter

    pcm = caller(rate)
    heard = asyncio.run(hear(QuietmicFilter(MODEL), rate, cut(pcm, sizes)))
    lag = Session(MODEL, rate).lag
    assert differs(heard[:, None], through_stream(pcm, rate, lag)) <= 1


def test_pipecat_switches_the_filter_without_a_jump() -> None:
    """Off means the caller as he is, as late as the enhanced one, so that nothing is lost or heard twice."""
    pytest.importorskip("pipecat", reason="needs the extra pipecat")
    from pipecat.frames.frames import FilterEnableFrame
    from pipecat_pipeline import hear

    from quietmic.integrations.pipecat import QuietmicFilter

    pcm = caller(16000)
    frames = [FilterEnableFrame(False), *cut(pcm, (320,))]
    heard = asyncio.run(hear(QuietmicFilter(MODEL), 16000, frames))
    lag = Session(MODEL, 16000).lag
    assert differs(heard[lag:], pcm[:-lag, 0]) <= 1


def test_a_pipecat_filter_begins_anew_with_its_transport() -> None:
    pytest.importorskip("pipecat", reason="needs the extra pipecat")
    from quietmic.integrations.pipecat import QuietmicFilter

    async def twice() -> list[bytes]:
        enhancer, heard = QuietmicFilter(MODEL), []
        for _ in range(2):
            await enhancer.start(16000)
            heard.append(await enhancer.filter(caller(16000).tobytes()))
            await enhancer.stop()
        assert await enhancer.filter(b"as it is") == b"as it is"
        return heard

    first, second = asyncio.run(twice())
    assert first == second
    with pytest.raises(QuietmicError, match="no model named"):
        QuietmicFilter("nonsense")


# --- LiveKit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "n_channels"), [(16000, 1), (24000, 1), (48000, 2)])
def test_a_livekit_stream_hears_the_stream(rate: int, n_channels: int) -> None:
    rtc = pytest.importorskip("livekit.rtc", reason="needs the extra livekit")
    from livekit_track import hear

    from quietmic.integrations.livekit import QuietmicProcessor

    came: list[rtc.AudioFrame] = []

    class Recording(QuietmicProcessor):
        def process(self, frame):
            came.append(frame)
            return super().process(frame)

    heard = asyncio.run(hear(Recording(MODEL), caller(rate, n_channels), rate))
    noisy = np.concatenate([np.array(frame.data).reshape(-1, n_channels) for frame in came])
    assert np.abs(noisy).max() > 1000  # the caller was there
    lag = Session(MODEL, rate).lag
    assert differs(heard, through_stream(noisy, rate, lag)[: len(heard)]) <= 1


def test_a_livekit_processor_takes_frames_of_every_kind() -> None:
    """Another rate or number of channels begins anew; a buffer may be longer than its frame; what it carries stays."""
    rtc = pytest.importorskip("livekit.rtc", reason="needs the extra livekit")
    from livekit_track import cut_frames

    from quietmic.integrations.livekit import QuietmicProcessor

    processor = QuietmicProcessor(MODEL)
    for rate, n_channels in ((48000, 1), (48000, 2), (8000, 2), (48000, 1)):
        pcm = caller(rate, n_channels)
        lag = Session(MODEL, rate).lag
        heard = [processor.process(frame) for frame in cut_frames(pcm, rate, rate // 20 + 11)]
        got = np.concatenate([np.array(frame.data).reshape(-1, n_channels) for frame in heard])
        assert differs(got, through_stream(pcm, rate, lag)) <= 1
    long = rtc.AudioFrame(bytes(2000), 8000, 1, 160, userdata={"from": "here"})
    made = processor.process(long)
    assert (len(made.data), made.samples_per_channel, made.userdata) == (160, 160, {"from": "here"})


def test_a_livekit_processor_that_was_off_begins_anew() -> None:
    """While it is off LiveKit hands over nothing: the end of what was said before came out when it was on again."""
    pytest.importorskip("livekit.rtc", reason="needs the extra livekit")
    from livekit_track import cut_frames

    from quietmic.integrations.livekit import QuietmicProcessor

    first, *others = cut_frames(caller(16000), 16000, 4000)
    processor = QuietmicProcessor(MODEL)
    fresh = bytes(processor.process(first).data)
    assert bytes(processor.process(others[0]).data) != fresh
    processor.enabled = False
    assert not processor.enabled
    assert processor.process(others[0]) is others[0]
    processor.enabled = True
    assert bytes(processor.process(first).data) == fresh
    with pytest.raises(QuietmicError, match="no model named"):
        QuietmicProcessor("nonsense")


# --- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "package"), [("pipecat_agent", "pipecat"), ("livekit_agent", "livekit.rtc")])
def test_the_examples_run(name: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason=f"needs the extra {package.split('.')[0]}")
    source, target = ROOT / "recordings" / "mono_street_noisy.wav", tmp_path / "heard.wav"
    command = [sys.executable, str(ROOT / "examples" / "agents" / f"{name}.py"), str(source), str(target)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    noisy, (enhanced, rate) = read(source)[0][0], read(target)
    assert rate == 16000
    assert enhanced.shape[1] >= len(noisy) - rate // 2
    assert enhanced.std() < 0.9 * noisy.std()
