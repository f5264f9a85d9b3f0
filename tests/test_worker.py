"""The path from callback to callback on a fake PortAudio and a simulated clock: drift, losses, rates, a long run."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_portaudio import FakePortAudio, FakeStream, flags

from quietmic.devices.controls import Controls
from quietmic.devices.duplex import Duplex
from quietmic.devices.engine import Engine
from quietmic.devices.levels import Levels
from quietmic.devices.mixer import DelayLine, Mixer
from quietmic.devices.plan import plan_duplex
from quietmic.devices.sound import Sound
from quietmic.devices.stepdown import StepDown
from quietmic.devices.tally import Tally
from quietmic.devices.worker import Worker

HOP = 256
RATE = 16000


def passing_engine(n_mics: int = 1) -> Engine:
    """Gives microphone 0 back at once."""
    return Engine("pass", lambda block: block[0], lambda: None, n_mics=n_mics)


class Rig:
    """A worker between fake devices, stepped by the test."""

    def __init__(
        self,
        backend: FakePortAudio,
        channels: tuple[int, ...] = (0,),
        n_blocks: int = 2,
        engine: Engine | None = None,
        **choices: Any,
    ) -> None:
        self.now_s = 0.0
        self.messages: list[str] = []
        self.plan = plan_duplex(Sound(backend), RATE, channels, **choices)
        self.tally = Tally()
        self.engine = engine or passing_engine(len(self.plan.channels))
        self.mixer = Mixer(self.engine)
        self.step_down = StepDown(self.mixer, self.messages.append)
        self.controls = Controls(self.mixer, Path.cwd(), None, self.messages.append)
        self.duplex = Duplex(Sound(backend), self.plan, HOP / RATE, self.tally, clock=lambda: self.now_s)
        self.worker = Worker(
            self.duplex, self.mixer, self.step_down, Levels(HOP / RATE), self.controls, 0.032,
            self.messages.append, clock=lambda: self.now_s,
        )  # fmt: skip
        self.streams: list[FakeStream] = backend.streams
        self.duplex.start((n_blocks + (not self.duplex.one_clock)) * self.duplex.output_block)

    def tick(self, captured: np.ndarray, **raised: bool) -> np.ndarray:
        """One duplex callback and all the work it makes."""
        played = self.streams[0].tick(captured, flags(**raised))
        while self.worker.step():
            pass
        return played


def tone(n_samples: int, frequency_hz: float = 300.0, rate: int = RATE, n_channels: int = 1) -> np.ndarray:
    wave = 8000 * np.sin(2 * np.pi * frequency_hz * np.arange(n_samples) / rate)
    return np.repeat(wave.astype(np.int16)[:, None], n_channels, axis=1)


def test_one_stream_gives_every_sample_back_after_the_jitter_buffer() -> None:
    rig = Rig(FakePortAudio())
    captured = tone(40 * HOP)
    played = np.concatenate([rig.tick(captured[k : k + HOP]) for k in range(0, len(captured), HOP)])
    np.testing.assert_array_equal(played[2 * HOP :], captured[: -2 * HOP])
    assert rig.duplex.one_clock
    assert (rig.tally.underruns, rig.tally.overruns) == (0, 0)


def test_odd_blocks_change_nothing() -> None:
    rig = Rig(FakePortAudio(), n_blocks=4)
    captured = tone(30 * HOP)
    ends = np.minimum(np.cumsum(np.random.default_rng(0).integers(1, 2 * HOP, 100)), len(captured))
    played = np.concatenate([rig.tick(captured[a:b]) for a, b in pairwise([0, *ends])])
    np.testing.assert_array_equal(played[4 * HOP :], captured[: -4 * HOP])
    assert (rig.tally.underruns, rig.tally.overruns) == (0, 0)


def test_flags_and_missing_output_are_counted() -> None:
    rig = Rig(FakePortAudio())
    silence = np.zeros((HOP, 1), np.int16)
    rig.tick(silence, input_overflow=True)
    rig.tick(silence, output_underflow=True)
    assert (rig.tally.overruns, rig.tally.underruns) == (1, 1)
    for _ in range(5):  # the worker sleeps
        played = rig.streams[0].tick(silence + 1)
    np.testing.assert_array_equal(played, 0)
    assert rig.tally.underruns > 1


def test_chosen_channels_reach_the_engine_in_order() -> None:
    seen: list[np.ndarray] = []
    rig = Rig(FakePortAudio(), channels=(2, 0))

    def look(block: np.ndarray) -> np.ndarray:
        seen.append(block.copy())
        return block[0]

    rig.mixer.forced_bypass = True
    rig.tick(np.zeros((2 * HOP, 3), np.int16))
    rig.mixer.replace(Engine("look", look, lambda: None, n_mics=2))
    rig.mixer.forced_bypass = False
    captured = np.arange(3 * HOP, dtype=np.int16).reshape(HOP, 3)
    rig.tick(captured)
    np.testing.assert_array_equal(seen[0] * 32768, captured[:, [2, 0]].T)


@pytest.mark.parametrize("rate", [48000, 44100])
def test_a_device_with_a_rate_of_its_own_is_resampled_and_said(rate: int) -> None:
    backend = FakePortAudio(rates=(rate,))
    backend.least_outputs = 2
    rig = Rig(backend)
    assert (rig.plan.input_rate, rig.plan.n_output_channels) == (rate, 2)
    assert "does not offer 16000 Hz" in rig.plan.notes[0]
    captured, n_block = tone(48000, rate=rate), rig.duplex.input_block
    played = np.concatenate([rig.tick(captured[k : k + n_block]) for k in range(0, len(captured), n_block)])
    np.testing.assert_array_equal(played[:, 0], played[:, 1])
    late = round((rig.worker.latency_s - 0.03) * rate)  # beside the device's own
    error = played[12000:, 0].astype(float) - captured[12000 - late : len(captured) - late, 0]
    assert np.abs(error).max() < 0.2 * 8000  # a sample is 0.04
    assert rig.tally.underruns == 0


def test_missing_channels_are_left_out_and_said() -> None:
    rig = Rig(FakePortAudio(n_inputs=2), channels=(0, 1, 2, 3))
    assert rig.plan.channels == (0, 1)
    assert rig.plan.notes == ("Mic Array (hw:1,0) has no channel 2, 3: going on with 2 of 4",)


def simulate_two_clocks(rig: Rig, seconds: float, drift: float) -> float:
    """Runs input and output callbacks on their own clocks; the largest change of buffering after 30 s, seconds."""
    source, sink = rig.streams
    block_s = HOP / RATE
    captured, n_captured, n_played = tone(HOP), 0, 0
    least, most = np.inf, 0.0
    while rig.now_s < seconds:
        next_input, next_output = (n_captured + 1) * block_s, (n_played + 1) * block_s * (1 + drift)
        rig.now_s = min(next_input, next_output)
        if next_input <= next_output:
            source.capture(captured)
            n_captured += 1
            while rig.worker.step():
                pass
        else:
            sink.play(HOP)
            n_played += 1
        if rig.now_s > 30:
            buffered_s = rig.duplex.buffered_s()
            least, most = min(least, buffered_s), max(most, buffered_s)
    return most - least


@pytest.mark.parametrize(("drift", "minutes"), [pytest.param(200e-6, 10, marks=pytest.mark.slow), (-200e-6, 2)])
def test_two_clocks_200_ppm_apart(drift: float, minutes: int) -> None:
    rig = Rig(FakePortAudio(), output_name="usb")  # another card
    assert not rig.duplex.one_clock
    change_s = simulate_two_clocks(rig, 60 * minutes, drift)
    assert (rig.tally.underruns, rig.tally.overruns, rig.duplex.output_ring.n_dropped) == (0, 0, 0)
    assert change_s < 0.002  # without correction it would be 0.12 in ten minutes


def test_what_is_played_is_rounded_and_held_within_full_scale() -> None:
    """A sample beyond full scale that wraps is the loudest click there is."""
    values = np.array([1.5, -1.5, 1, -1, 0.4 / 32768, 0.6 / 32768, -0.6 / 32768, 0], np.float32)
    rig = Rig(FakePortAudio(), engine=Engine("loud", lambda block: np.tile(values, HOP // 8), lambda: None))
    played = [rig.tick(tone(HOP)) for _ in range(3)][-1]
    assert played[:8, 0].tolist() == [32767, -32768, 32767, -32768, 0, 1, -1, 0]


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("two_clocks", [False, True])
def test_the_stated_latency_is_that_of_a_click(rate: int, two_clocks: bool) -> None:
    """Beside the devices' own, which no fake has: the engine, both resamplers, the drift's, and all that waits."""
    backend = FakePortAudio(rates=(rate,))
    delayed = DelayLine(100)
    engine = Engine("late", lambda block: delayed.process(block[0]), lambda: None, delay=100)
    rig = Rig(backend, n_blocks=4, engine=engine, **({"output_name": "usb"} if two_clocks else {}))
    n_block = rig.duplex.input_block
    captured, played, stated_s = np.zeros((20 * n_block, 1), np.int16), [], []
    captured[8 * n_block + 7] = 20_000
    for block in np.split(captured, 20):
        rig.now_s += n_block / rate
        if two_clocks:
            rig.streams[0].capture(block)
            while rig.worker.step():
                pass
            stated_s.append(rig.worker.latency_s)
            played.append(rig.streams[1].play(n_block))
        else:
            played.append(rig.tick(block))
            stated_s.append(rig.worker.latency_s)
    found = int(np.argmax(np.concatenate(played)[:, 0]))
    device_s = 0.02 if two_clocks else 0.03
    assert (found - 8 * n_block - 7) / rate == pytest.approx(stated_s[8] - device_s, abs=2e-4)


def test_latency_that_a_stumble_left_is_taken_back_to_the_jitter_buffer() -> None:
    rig = Rig(FakePortAudio())
    rig.duplex.output_ring.write(np.zeros((2400, 1), np.int16))  # 0.15 s too much
    for _ in range(61 * RATE // HOP):
        rig.tick(np.zeros((HOP, 1), np.int16))
    assert rig.duplex.output_ring.fill == 2 * HOP + 2400 - 8 * HOP  # a ninth was in hand when it was looked at
    assert rig.tally.underruns == 0


def test_what_waited_for_a_slow_engine_is_dropped_when_it_is_bypassed() -> None:
    engine = Engine("slow", lambda block: block[0] * stumble(), lambda: None)
    rig = Rig(FakePortAudio(), engine=engine)

    def stumble() -> float:
        rig.now_s += 0.03
        return 1.0

    for _ in range(110):  # less than the two seconds that are always too late
        rig.streams[0].tick(tone(HOP))
    while not rig.mixer.forced_bypass:
        assert rig.worker.step()
    assert rig.duplex.input_ring.fill > 20 * HOP
    rig.worker.step()
    assert rig.duplex.input_ring.fill == HOP  # the jitter buffer's two, of which one was taken
    assert rig.tally.n_blocks_dropped > 20


def test_after_underruns_more_is_buffered_but_a_fifth_of_a_second_at_most() -> None:
    rig = Rig(FakePortAudio(), output_name="usb")
    for n_underruns, until_s, buffered_s in ((0, 60, 0.032), (1, 60, 0.048), (30, 260, 0.232)):
        for _ in range(n_underruns):
            rig.tally.underruns += 1
            rig.streams[0].capture(tone(HOP))
            rig.worker.step()
            rig.streams[1].play(HOP)
        simulate_two_clocks(rig, until_s, 0.0)
        assert rig.duplex.buffered_s() - HOP / RATE == pytest.approx(buffered_s, abs=2e-3)  # without the hop in hand


def test_devices_that_refuse_one_stream_get_two() -> None:
    backend = FakePortAudio()
    backend.refuses_duplex = True
    rig = Rig(backend)
    assert [stream.kind for stream in rig.streams] == ["input", "output"]
    assert not rig.duplex.one_clock


def test_what_is_seconds_late_is_dropped_and_said() -> None:
    rig = Rig(FakePortAudio())
    for _ in range(200):  # 3.2 s without the worker
        rig.streams[0].tick(tone(HOP))
    rig.tick(tone(HOP))
    assert rig.tally.n_blocks_dropped == 199
    assert "fell 3.2 s behind: dropped 199 blocks" in rig.messages
    assert rig.duplex.output_ring.fill == 2 * HOP


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(rig: Rig, seconds: float) -> tuple[int, int]:
    """(bytes after a tenth, bytes at the end) of resident memory over a run faster than real time."""
    captured = np.random.default_rng(0).integers(-3000, 3000, (HOP, rig.plan.n_input_channels)).astype(np.int16)
    n_hops = int(seconds * RATE / HOP)
    early = 0
    for hop in range(n_hops):
        rig.now_s += HOP / RATE
        rig.tick(captured)
        if hop == n_hops // 10:
            early = resident_bytes()
    return early, resident_bytes()


def check_soak(model: Path, seconds: float) -> None:
    from quietmic.cli.candidates import live_candidates

    rig = Rig(FakePortAudio())
    rig.mixer.forced_bypass = True
    rig.tick(tone(2 * HOP))
    rig.mixer.replace(live_candidates(str(model), band="narrow")[0].open(1, 1))
    rig.mixer.forced_bypass = False
    early, late = soak(rig, seconds)
    assert rig.mixer.engine.name == "passthrough"
    assert late - early < 2e6
    assert (rig.tally.underruns, rig.tally.overruns, rig.tally.n_blocks_dropped) == (0, 0, 0)
    assert rig.mixer.n_replaced == rig.mixer.engine.count_non_finite() == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat(passthrough_model: Path) -> None:
    check_soak(passthrough_model, seconds=120)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_for_an_hour(passthrough_model: Path) -> None:
    check_soak(passthrough_model, seconds=3600)
