"""How much to buffer, from what was measured."""

from math import ceil

from quietmic.devices.engine import EngineTiming
from quietmic.devices.plan import DuplexPlan

_LEAST_BLOCKS, _MOST_BLOCKS = 2, 12
_BUSY_S = 0.005
_BUSY_SERVER_S = 0.05
_STEPS_S = (0.05, 0.1, 0.2)


def choose_jitter_s(timing: EngineTiming, block_s: float, least_s: float) -> float:
    """Buffering that the measured hops call for: one block and a half more than the 99th percentile.

    Args:
        timing: of the engine on this machine.
        block_s: seconds in a block of the card.
        least_s: never less than this, seconds.
    """
    n_blocks = max(ceil(1.5 * timing.p99_s / block_s) + 1, ceil(least_s / block_s), _LEAST_BLOCKS)
    return min(n_blocks, _MOST_BLOCKS) * block_s


def choose_latency(timing: EngineTiming, plan: DuplexPlan) -> float | str:
    """What to ask of the devices: little, but more of a sound server on a busy machine.

    Servers pass blocks from process to process, and each of them may be late.
    """
    is_busy = timing.p99_s - timing.p50_s > _BUSY_S
    is_server = plan.input.is_on_server or plan.output.is_on_server
    return _BUSY_SERVER_S if is_busy and is_server else "low"


def more_latency(latency: float | str, plan: DuplexPlan) -> float | None:
    """The next larger latency to ask of a sound server when this one lost too much; None where there is none."""
    if not (plan.input.is_on_server or plan.output.is_on_server):
        return None
    return next((step_s for step_s in _STEPS_S if step_s > 1.5 * server_latency_s(latency)), None)


def server_latency_s(latency: float | str) -> float:
    """Seconds to ask of a sound server for "low", "high" or a number of seconds."""
    return {"low": 0.02, "high": 0.1}[latency] if isinstance(latency, str) else latency
