"""The application on a real PortAudio and a virtual card: what comes out is what a file would have given."""

import sys
from contextlib import closing
from pathlib import Path
from time import sleep
from typing import Any

import make_models
import numpy as np
import pytest
from test_live_rest import check_ordinary
from virtual_card import SAMPLE_RATE, Application, VirtualCard, aligned_si_sdr_db, card, needs_card, to_pcm

from quietmic import open_stream

pytestmark = needs_card
__all__ = ["card"]


def babble(seconds: float, n_channels: int = 1, seed: int = 0) -> Any:
    """[n_channels, n_samples] of noise that comes and goes like syllables."""
    rng = np.random.default_rng(seed)
    n = int(seconds * SAMPLE_RATE)
    envelope = 0.1 + np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
    return (0.05 * envelope * rng.standard_normal((n_channels, n))).astype(np.float32)


def enhance(model: Path, samples: Any) -> Any:
    """[n_samples] as a batch gives it, delay removed."""
    stream = open_stream(str(model), n_mics=len(samples))
    heard = to_pcm(samples).astype(np.float32) / 32768
    whole = np.concatenate((stream.process(heard), stream.flush()))
    return whole[stream.delay :][: samples.shape[1]]


ATTEMPTS = 3  # a machine busy with other things may hold any program up for longer than the jitter allows for


@pytest.mark.parametrize(
    ("n_channels", "seconds"), [(1, 6), (4, 3), (8, 3), pytest.param(1, 30, marks=pytest.mark.slow)]
)
def test_live_equals_batch(tmp_path: Path, model_folder: Path, n_channels: int, seconds: int) -> None:
    model = model_folder / "beam.onnx" if n_channels > 1 else model_folder / "tenth.onnx"
    noisy = babble(seconds, n_channels)
    for attempt in range(ATTEMPTS):
        (folder := tmp_path / str(attempt)).mkdir()
        with closing(VirtualCard(folder)) as card:
            channels = ("--channels", ",".join(map(str, range(n_channels))))
            microphones = ("--array", "respeaker-4") if n_channels == 4 else channels  # which names the same four
            app = card.start("--model", str(model), *microphones)
            app.wait_for("->")
            check_ordinary(app.process.pid)
            card.feed_through(noisy)
            app.press("q")
            figures = app.finish()
            n_lost_by_card = card.stop()
        if not n_lost_by_card and not figures["underruns"]:
            break  # what was held up is told; what is not told must be whole
    assert (n_lost_by_card, figures["underruns"]) == (0, 0)
    assert (figures["blocks_dropped"], figures["overruns"], figures["n_mics"]) == (0, 0, n_channels)
    assert figures["one_clock"] is True
    si_sdr_db, _ = aligned_si_sdr_db(enhance(model, noisy), card.played())
    assert si_sdr_db > 40, figures


def test_a_click_comes_out_after_the_stated_latency(card: VirtualCard, passthrough_model: Path) -> None:
    app = card.start("--model", str(passthrough_model))
    app.wait_for("->")
    clicks = np.zeros((1, 3 * SAMPLE_RATE), np.float32)
    clicks[0, 8000::16000] = 0.9
    card.feed_through(clicks)
    app.press("q")
    figures = app.finish()
    played = card.played()
    at = np.flatnonzero(np.abs(played) > 0.5)
    np.testing.assert_array_equal(np.diff(at), 16000)
    latency_ms = 1e3 * (at[0] - 8000) / SAMPLE_RATE
    assert figures["algorithmic_delay_ms"] == 32  # as in `bench`
    assert latency_ms == pytest.approx(figures["latency_ms"], abs=2)


def test_bypass_fades_without_a_jump(card: VirtualCard, model_folder: Path) -> None:
    app = card.start("--model", str(model_folder / "tenth.onnx"), "--duration", "20")
    app.wait_for("->")
    time = np.arange(4 * SAMPLE_RATE)
    tone = 0.5 * np.sin(2 * np.pi * 200 * time / SAMPLE_RATE).astype(np.float32)
    card.feed(tone[None])
    sleep(1.2)
    app.press("b")
    sleep(1.2)
    app.press("b")
    sleep(2)
    app.press("q")
    figures = app.finish()
    played = card.played()
    begin = np.flatnonzero(np.abs(played) > 0.04)[0] + SAMPLE_RATE // 10
    heard = played[begin : begin + int(3.6 * SAMPLE_RATE)]
    loud = np.abs(heard) > 0.06
    assert 0.8 < figures["bypassed_by_reason_s"]["key"] < 2
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.01)
    assert 0.8 < np.ptp(np.flatnonzero(loud)) / SAMPLE_RATE < 2
    assert np.abs(np.diff(heard)).max() < 0.045  # the tone's own steepest step is 0.039; a cut would be 0.45
    # The tone goes through zero at the same places before, during and after: the delay is the same.
    crossings = np.flatnonzero((heard[:-1] < 0) & (heard[1:] >= 0))
    np.testing.assert_allclose(np.diff(crossings), 80, atol=1)


def slow_program(folder: Path, *names: str) -> list[str]:
    """The application with these models in its catalogue, the largest first."""
    for place, name in enumerate(names):
        card = make_models.make_card(name, macs_per_second=1000 - place)
        make_models.make_passthrough(folder / f"{name}.onnx", card)
    return [sys.executable, str(Path(__file__).with_name("slow_live.py")), str(folder)]


def hear_the_end(card: VirtualCard, app: Application) -> tuple[Any, dict[str, Any]]:
    """[n_samples] of what is heard from a second after now on for two seconds, and the figures of the run."""
    begin = len(card.played()) + SAMPLE_RATE
    card.wait_for_played(begin + 2 * SAMPLE_RATE)
    app.press("q")
    return card.played()[begin : begin + 2 * SAMPLE_RATE], app.finish()


def test_a_machine_too_slow_goes_on_in_bypass_and_says_so(card: VirtualCard, tmp_path: Path) -> None:
    program = slow_program(tmp_path, "slow")
    app = card.start("--model", str(tmp_path / "slow.onnx"), program=program)
    app.wait_for("->")
    noisy = babble(60)
    card.feed(noisy)
    app.wait_for("too slow for slow: bypassed, next try in 10 s")
    heard, figures = hear_the_end(card, app)
    assert figures["bypassed_by_reason_s"]["too slow"] > 2
    assert aligned_si_sdr_db(heard, noisy[0])[0] > 40  # what is heard in bypass is whole


def test_a_machine_too_slow_steps_down_if_allowed(card: VirtualCard, tmp_path: Path) -> None:
    program = slow_program(tmp_path, "slow", "quick")
    app = card.start("--model", str(tmp_path / "slow.onnx"), "--auto", program=program)
    app.wait_for("->")
    noisy = babble(60)
    card.feed(noisy)
    app.wait_for("stepped down to quick")
    heard, figures = hear_the_end(card, app)
    assert (figures["model"], figures["steps_down"]) == ("quick", 1)
    assert any("stepped down to quick" in message["text"] for message in figures["messages"])
    assert figures["bypassed_by_reason_s"]["loading a smaller model"] > 0.2
    assert aligned_si_sdr_db(heard, noisy[0])[0] > 40
