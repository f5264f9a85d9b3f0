"""The figures of a live run."""

from typing import TYPE_CHECKING, Any

from quietmic.devices.commands import NO_LIMIT

if TYPE_CHECKING:
    from quietmic.devices.session import Session


def summarize(session: "Session") -> dict[str, Any]:
    """Figures of a run so far, for JSON; seconds unless the name says otherwise."""
    mixer, tally, plan = session.mixer, session.tally, session.plan
    p50_s, p99_s = tally.hop_times_s()
    hop_s = mixer.engine.hop_s
    delay_s = hop_s + mixer.latency / mixer.engine.sample_rate  # a sample first waits for its hop
    bypassed_s = dict(session.step_down.bypassed_s)
    return {
        "model": mixer.engine.name,
        "n_mics": mixer.engine.n_mics,
        "input": plan.input.name,
        "output": plan.output.name,
        "input_rate": plan.input_rate,
        "output_rate": plan.output_rate,
        "channels": list(plan.channels),
        "one_clock": session.one_clock,
        "duration_s": session.seconds,
        "processed_s": tally.n_hops * hop_s,
        "lost_s": session.lost_s,
        "rested_s": session.rest.seconds,
        "hop_ms": 1e3 * hop_s,
        "hop_p50_ms": 1e3 * p50_s,
        "hop_p99_ms": 1e3 * p99_s,
        "rtf": p50_s / hop_s,
        "rtf_p99": p99_s / hop_s,
        "missed_deadlines": session.step_down.n_missed,
        "underruns": tally.underruns,
        "overruns": tally.overruns,
        "blocks_dropped": tally.n_blocks_dropped,
        "algorithmic_delay_ms": 1e3 * delay_s,
        "latency_asked": session.latency,
        "jitter_ms": 1e3 * session.jitter_s,
        "latency_ms": 1e3 * session.latency_s,
        "input_db": session.levels.input_db,
        "output_db": session.levels.output_db,
        "noise_reduction_db": session.levels.noise_reduction_db(),
        "bypassed_s": sum(bypassed_s.values()),
        "bypassed_by_reason_s": bypassed_s,
        "steps_down": session.step_down.n_steps,
        "reconnects": session.n_reconnects,
        "non_finite": mixer.n_replaced + mixer.engine.count_non_finite(),
        "messages": [{"at_s": at_s, "text": text} for at_s, text in list(session.messages)],
    }


def describe_state(session: "Session") -> dict[str, Any]:
    """How a run is at the moment, for panels and scripts."""
    limit_db = session.controls.limit_db
    return {
        "state": session.state,
        "model": session.mixer.engine.name,
        "input": session.plan.input.label,
        "output": session.plan.output.label,
        "bypass": session.mixer.bypass,
        "mute": session.mixer.muted,
        "recording": session.controls.is_recording,
        "limit_db": None if limit_db == NO_LIMIT else limit_db,
        "latency_ms": 1e3 * session.latency_s,
        "lost_s": session.lost_s,
    }
