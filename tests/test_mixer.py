"""Bypass, mute, replacement and a failing engine: nothing jumps, nothing clicks."""

import time

import numpy as np
import pytest

from quietmic.devices.engine import AlignedEngine, Engine, measure_engine
from quietmic.devices.mixer import Mixer
from quietmic.devices.stepdown import StepDown

HOP = 256


class Delay:
    """An engine that only delays, like a pass-through network, and may give its first samples late."""

    def __init__(self, delay: int = HOP, n_held: int = 0, gain: float = 1.0) -> None:
        self.delay, self.n_held, self.gain = delay, n_held, gain
        self.reset()

    def reset(self) -> None:
        self.ready = np.zeros(self.delay, np.float32)
        self.n_owed = self.n_held

    def process(self, block: np.ndarray) -> np.ndarray:
        self.ready = np.concatenate((self.ready, self.gain * block[0]))
        n = block.shape[1] - min(self.n_owed, block.shape[1])
        self.n_owed -= block.shape[1] - n
        out, self.ready = self.ready[:n], self.ready[n:]
        return out

    def engine(self, name: str = "delay") -> Engine:
        return Engine(name, self.process, self.reset, delay=self.delay)


def run(mixer: Mixer, signal: np.ndarray) -> np.ndarray:
    return np.concatenate([mixer.process(signal[None, k : k + HOP])[0] for k in range(0, len(signal), HOP)])


@pytest.fixture
def tone() -> np.ndarray:
    return np.sin(np.arange(40 * HOP) * 2 * np.pi * 200 / 16000).astype(np.float32)


@pytest.mark.parametrize("n_held", [0, 100, 256])
def test_bypass_of_a_pass_through_changes_nothing_at_all(tone: np.ndarray, n_held: int) -> None:
    delay = Delay(n_held=n_held)
    assert measure_engine(delay.engine(), 0.0).n_held == n_held
    mixer = Mixer(delay.engine(), n_held)
    parts = []
    for step, part in enumerate(np.split(tone, 8)):
        mixer.bypass = step % 2 == 1
        parts.append(run(mixer, part))
    out = np.concatenate(parts)
    assert mixer.latency == HOP + n_held
    np.testing.assert_allclose(out[mixer.latency :], tone[: -mixer.latency], atol=1e-6)


def test_bypass_and_mute_fade_without_a_click(tone: np.ndarray) -> None:
    mixer = Mixer(Delay(gain=0.1).engine())
    parts = []
    for step, part in enumerate(np.split(tone, 8)):
        mixer.bypass, mixer.muted = step in (2, 3), step == 5
        parts.append(run(mixer, part))
    out = np.concatenate(parts)
    # The steepest step of the tone is 0.079; a click would be up to 0.9.
    assert np.abs(np.diff(out)).max() < 0.085
    quarter = len(tone) // 8
    assert np.abs(out[int(2.5 * quarter) : 4 * quarter]).max() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(out[int(5.5 * quarter) : 6 * quarter]).max() == 0.0
    assert np.abs(out[int(7.5 * quarter) :]).max() == pytest.approx(0.1, abs=1e-3)


def test_another_engine_fades_in_after_it_has_settled(tone: np.ndarray) -> None:
    mixer = Mixer(Delay(gain=1.0).engine())
    run(mixer, tone[: 4 * HOP])
    mixer.forced_bypass = True
    run(mixer, tone[4 * HOP : 8 * HOP])
    assert mixer.is_dry
    mixer.replace(Delay(gain=0.5).engine("half"))
    mixer.forced_bypass = False
    out = run(mixer, np.tile(tone, 2)[8 * HOP :])
    assert mixer.engine.name == "half"
    assert np.abs(np.diff(out)).max() < 0.085
    settled = int(0.25 * 16000)
    assert np.abs(out[2 * HOP : settled]).max() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(out[settled + 4 * HOP :]).max() == pytest.approx(0.5, abs=1e-3)


def test_a_non_finite_hop_is_replaced_by_the_microphone(tone: np.ndarray) -> None:
    delay = Delay()
    mixer = Mixer(delay.engine())
    run(mixer, tone[: 2 * HOP])
    delay.ready[:] = np.nan
    out = run(mixer, tone[2 * HOP : 3 * HOP])
    np.testing.assert_allclose(out, tone[HOP : 2 * HOP], atol=1e-6)
    assert mixer.n_replaced == HOP
    assert np.isfinite(run(mixer, tone[3 * HOP :])).all()


def test_a_next_model_that_does_not_load_is_said_and_the_sound_goes_on(tone: np.ndarray) -> None:
    messages: list[str] = []

    def refuse() -> Engine | None:
        raise OSError("no such file")

    mixer = Mixer(Delay(gain=0.5).engine())
    step_down = StepDown(mixer, messages.append, refuse)
    end = time.monotonic() + 20
    while step_down.bypassed_s.get("too slow", 0.0) <= 1:
        assert time.monotonic() < end, messages
        out = run(mixer, tone[:HOP])
        step_down.after_hop(0.03 if not mixer.forced_bypass else 0.001)
        time.sleep(0.001 if step_down.reason == "loading a smaller model" else 0)
    assert messages[1:] == [
        "another model cannot be used: no such file",
        "delay is the smallest model and still too slow: bypassed, next try in 10 s",
    ]
    assert np.abs(out).max() > 0.9


def test_a_person_changes_the_model_while_the_sound_goes_on() -> None:
    messages: list[str] = []
    mixer = Mixer(Delay(gain=0.5).engine())
    step_down = StepDown(mixer, messages.append)
    tone = np.ones(HOP, np.float32)

    def run_until(message: str) -> np.ndarray:
        parts, end = [], time.monotonic() + 20
        while message not in messages or len(parts) < 60:
            assert time.monotonic() < end, messages
            parts.append(run(mixer, tone))
            step_down.after_hop(0.001)
            time.sleep(0.001)
        return np.concatenate([*parts, run(mixer, np.ones(60 * HOP, np.float32))])

    run(mixer, tone)
    step_down.change(lambda: Delay(gain=0.25).engine("quarter"))
    out = run_until("changed to quarter")
    assert out[HOP] == 0.5 and out[-1] == pytest.approx(0.25)  # the old one is heard while the new one is loaded
    assert out.min() > 0.2 and np.abs(np.diff(out)).max() < 0.01  # never silence, never a jump
    assert step_down.n_steps == 0 and set(step_down.bypassed_s) == {"changing the model"}

    def refuse() -> Engine:
        raise OSError("no such file")

    step_down.change(refuse)
    out = run_until("another model cannot be used: no such file")
    np.testing.assert_allclose(out, 0.25)


def test_a_changed_model_counts_as_late_as_it_was_measured(tone: np.ndarray) -> None:
    messages: list[str] = []
    mixer = Mixer(Delay().engine())
    step_down = StepDown(mixer, messages.append)
    step_down.change(lambda: Delay(n_held=100).engine("late"))
    end = time.monotonic() + 20
    while not messages:
        assert time.monotonic() < end
        run(mixer, tone[:HOP])
        step_down.after_hop(0.001)
    out = run(mixer, np.tile(tone, 2))
    assert mixer.latency == HOP + 100
    np.testing.assert_allclose(out[-20 * HOP :], tone[20 * HOP - mixer.latency : -mixer.latency], atol=1e-6)


def test_fades_take_20_ms_in_a_straight_line_and_end_where_they_should() -> None:
    """Between a microphone of 1 and an engine that gives 0, what is heard is the fade itself."""
    fade = np.arange(1, 321) / 320
    ones = np.ones(2 * HOP, np.float32)
    for switch_on, switch_off, before in (
        (lambda mixer: setattr(mixer, "bypass", True), lambda mixer: setattr(mixer, "bypass", False), 0.0),
        (lambda mixer: setattr(mixer, "forced_bypass", True), None, 0.0),
        (lambda mixer: setattr(mixer, "muted", True), lambda mixer: setattr(mixer, "muted", False), 1.0),
        (lambda mixer: mixer.silence(True), lambda mixer: mixer.silence(False), 1.0),
    ):
        mixer = Mixer(Delay(delay=0, gain=before).engine())
        assert (run(mixer, ones) == before).all()
        rise = np.concatenate([fade, np.ones(2 * HOP - 320)])
        switch_on(mixer)
        np.testing.assert_allclose(run(mixer, ones), before + (1 - 2 * before) * rise, atol=1e-6)
        if switch_off:
            switch_off(mixer)
            np.testing.assert_allclose(run(mixer, ones), 1 - before + (2 * before - 1) * rise, atol=1e-6)


def test_an_engine_that_failed_starts_anew() -> None:
    resets: list[int] = []
    outputs = [np.nan, 0.5]
    mixer = Mixer(Engine("bad", lambda block: outputs.pop(0) * block[0], lambda: resets.append(1)))
    assert run(mixer, np.ones(HOP, np.float32)).tolist() == [1.0] * HOP
    assert (len(resets), mixer.n_replaced) == (1, HOP)
    assert run(mixer, np.ones(HOP, np.float32)).tolist() == [0.5] * HOP


def test_an_engine_that_gives_too_little_is_filled_up_from_the_front() -> None:
    """What comes late stays late: zeros first, and no sample lost or twice."""
    delay = Delay(delay=0, n_held=100)
    aligned = AlignedEngine(delay.engine(), 0)
    ramp = np.arange(1.0, 3 * HOP + 1, dtype=np.float32)
    out = np.concatenate([aligned.process(hop[None]) for hop in np.split(ramp, 3)])
    assert out.tolist() == [0.0] * 100 + ramp[:-100].tolist()
    aligned = AlignedEngine(Delay(delay=10, n_held=0).engine(), 30)
    assert aligned.latency == 40
    first = aligned.process(ramp[None, :HOP])
    assert first.tolist() == [0.0] * 40 + ramp[: HOP - 40].tolist()
    aligned.reset()
    assert aligned.process(ramp[None, :HOP]).tolist() == first.tolist()


def test_measuring_leaves_an_engine_fresh() -> None:
    delay = Delay(delay=5)
    measure_engine(delay.engine(), 0.0)
    assert not delay.process(np.zeros((1, 5), np.float32)).any()


def test_pauses_between_tries_double_up_to_160_s_and_what_is_bypassed_adds_up() -> None:
    messages: list[str] = []
    hop = np.ones((1, 3200), np.float32)  # a fifth of a second
    mixer = Mixer(Engine("slow", lambda block: block[0], lambda: None, hop_length=3200))
    step_down = StepDown(mixer, messages.append)
    bypassed = 0
    for _ in range(3000):
        bypassed += mixer.forced_bypass
        mixer.process(hop)
        step_down.after_hop(0.0 if mixer.forced_bypass else 0.6)
    pauses = [text.partition("next try in ")[2] for text in messages if "too slow" in text]
    assert pauses[:6] == ["10 s", "20 s", "40 s", "80 s", "160 s", "160 s"]
    assert messages.count("trying slow again") == len(pauses) - 1
    assert 3000 - bypassed >= 3 * len(pauses) - 2  # each try is judged anew, not by what was late before
    assert step_down.bypassed_s == pytest.approx({"too slow": 0.2 * bypassed})


@pytest.mark.parametrize("delay", [100, 300])
def test_bypass_is_as_late_as_the_engine_in_use(tone: np.ndarray, delay: int) -> None:
    """Another engine of the same delay leaves no gap in what is heard meanwhile."""
    mixer = Mixer(Delay(delay=100).engine())
    mixer.bypass = True
    before = run(mixer, tone[: 4 * HOP])
    mixer.replace(Delay(delay=delay).engine())
    out = np.concatenate([before, run(mixer, tone[4 * HOP :])])
    begin = 4 * HOP if delay == 100 else 4 * HOP + delay
    np.testing.assert_array_equal(out[begin:], tone[begin - delay : -delay])
