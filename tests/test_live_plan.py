"""What a live run decides before it begins: models, devices, buffers, options."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fake_portaudio import FakePortAudio
from live_session import QUICK

from quietmic.cli.candidates import live_candidates
from quietmic.devices.board import find_board
from quietmic.devices.choice import Choice
from quietmic.devices.engine import Candidate, EngineTiming
from quietmic.devices.listing import Device
from quietmic.devices.live import plan_run
from quietmic.devices.options import LiveOptions, live_options
from quietmic.devices.plan import DuplexPlan, plan_duplex
from quietmic.devices.sound import Sound
from quietmic.devices.tuning import choose_jitter_s, choose_latency, more_latency
from quietmic.enhance import catalogue as catalog
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.served import Band


def test_models_are_opened_no_more_often_than_needed(passthrough_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = OnnxNetwork(passthrough_model).card
    names = ("first", "preferred", "default")
    entries = [catalog.ModelEntry(n, passthrough_model, n, replace(card, name=n), n == "default") for n in names]
    opened = []
    listed = []
    monkeypatch.setattr("quietmic.cli.candidates.list_models", lambda: listed.append(1) or entries)
    monkeypatch.setattr("quietmic.cli.candidates.OnnxNetwork", lambda path: opened.append(path) or OnnxNetwork(path))

    def names_of(*arguments: object, **choices: object) -> list[str]:
        return [candidate.name for candidate in live_candidates(*arguments, **choices)]  # type: ignore[arg-type]

    assert names_of(None, "preferred") == ["preferred", "default", "first"]
    assert names_of(None, "other") == ["default", "first", "preferred"]
    assert not opened
    assert names_of(str(passthrough_model), auto=True) == ["passthrough", "default", "first", "preferred"]
    assert not opened  # the card of a file is read without a session
    listed.clear()
    assert names_of(str(passthrough_model)) == ["passthrough"]
    assert not listed  # a damaged catalogue is no hindrance


@pytest.mark.parametrize(
    ("p99_s", "least_s", "jitter_s"),
    [
        (0.001, 0.0, 0.032),
        (0.011, 0.0, 0.048),
        (0.02, 0.0, 0.048),
        (0.001, 0.06, 0.064),
        (0.5, 0.0, 0.192),
    ],
)
def test_the_jitter_buffer_follows_the_measurement(p99_s: float, least_s: float, jitter_s: float) -> None:
    assert choose_jitter_s(EngineTiming(0.001, p99_s, 0), 0.016, least_s) == pytest.approx(jitter_s)


def test_a_busy_machine_asks_more_latency_of_a_server_only() -> None:
    def plan(host_api: str) -> DuplexPlan:
        device = Device(0, "any", host_api, 1, 1, 48000, True, True)
        return DuplexPlan(device, device, 16000, 16000, (0,), 1, 1, True)

    busy = EngineTiming(0.001, 0.02, 0)
    assert choose_latency(busy, plan("PipeWire")) == 0.05
    assert choose_latency(QUICK, plan("PipeWire")) == choose_latency(busy, plan("ALSA")) == "low"
    assert choose_latency(EngineTiming(0.019, 0.02, 0), plan("PipeWire")) == "low"  # slow, but steadily
    assert [more_latency(latency, plan("PulseAudio")) for latency in ("low", 0.05, 0.1, 0.2)] == [0.05, 0.1, 0.2, None]
    assert more_latency("low", plan("ALSA")) is None


@pytest.mark.parametrize(
    ("host_api", "source", "sink", "one_clock"),
    [
        ("ALSA", "USB Audio: - (hw:1,0)", "HDA Intel: ALC (hw:0,0)", False),
        ("ALSA", "USB Audio: - (hw:1,0)", "USB Audio: #1 (hw:1,1)", True),
        ("ALSA", "pulse", "pulse", True),
        ("Windows WASAPI", "Microphone (Realtek Audio)", "Speakers (Realtek Audio)", True),
        ("Windows WASAPI", "Microphone (USB PnP)", "CABLE Input (VB-Audio Virtual Cable)", False),
        ("Core Audio", "MacBook Pro Microphone", "MacBook Pro Speakers", True),
        ("Core Audio", "MacBook Pro Microphone", "BlackHole 2ch", False),
    ],
)
def test_two_cards_are_told_by_their_names(host_api: str, source: str, sink: str, one_clock: bool) -> None:
    backend = FakePortAudio()
    backend.names[:2] = source, sink
    backend.query_hostapis = lambda: [{"name": host_api}]  # type: ignore[method-assign]
    assert plan_duplex(Sound(backend), 16000, input_name="0", output_name="1").shared_clock is one_clock


def test_options_take_what_board_and_array_say() -> None:
    board = find_board("rpi-zero-2")
    options = live_options(board, array="respeaker-usb-4", jitter_ms=40.0, latency="0.2", duration_s=3.0)
    assert options.channels == (1, 2, 3, 4)
    assert (options.n_hops_per_block, options.least_jitter_s, options.jitter_s) == (2, 0.064, 0.04)
    assert (options.latency, options.duration_s, options.preferred_input) == (0.2, 3.0, "ReSpeaker 4 Mic Array")
    assert live_options(board, array="respeaker-usb-4", channels=(1, 3)).channels == (1, 3)
    for latency in ("soon", "nan", "inf", "-1"):  # no time: the sound system's own errors said less
        with pytest.raises(QuietmicError, match="latency"):
            live_options(board, latency=latency)


def loads_of(full: float, narrow: float) -> Callable[..., Choice]:
    """What a machine bears of every model: these loads at 48 and at 16 kHz."""

    def choose(candidates: Sequence[Candidate], n_mics: int, threads: int) -> Choice:
        loads = {c.name: full if c.sample_rate == 48000 else narrow for c in candidates[:1]}
        return Choice(candidates[0].name, "measured", loads)

    return choose


@pytest.mark.parametrize(
    ("rates", "band", "loads", "rate"),
    [
        ((48000, 16000), None, (0.2, 0.1), 48000),
        ((44100,), None, (0.2, 0.1), 48000),  # resampled, but what it brings is cleaned
        ((16000,), None, (0.2, 0.1), 16000),
        ((48000, 16000), None, (0.6, 0.4), 16000),
        ((48000, 16000), "narrow", (0.2, 0.1), 16000),
        ((16000,), "full", (0.6, 0.4), 48000),
    ],
)
def test_the_full_band_where_the_microphone_and_the_machine_allow_it(
    passthrough_model: Path, monkeypatch: pytest.MonkeyPatch, rates: tuple[int, ...], band: Band | None,
    loads: tuple[float, float], rate: int,
) -> None:  # fmt: skip
    """People heard themselves without sibilants, as live ran in the narrow band unless asked."""
    monkeypatch.setattr("quietmic.devices.live.choose_model", loads_of(*loads))
    candidates = live_candidates(str(passthrough_model), band=band)
    sound = Sound(FakePortAudio(rates))
    for picks in (True, False):
        plan, same_rate, model = plan_run(sound, LiveOptions(), candidates, find_board("desktop"), picks)
        wanted = rate if picks or rates == (16000,) or band else 48000
        assert {c.sample_rate for c in same_rate} == {wanted} and model.open(1, 1).sample_rate == wanted
        assert plan.input_rate == (wanted if wanted in rates else rates[0])
