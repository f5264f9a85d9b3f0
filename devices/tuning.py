"""How much to buffer, from what was measured."""

from math import ceil

from quietmic.devices.engine import EngineTiming
from quietmic.devices.plan import DuplexPlan

_LEAST_BLOCKS, _MOST_BLOCKS = 2, 12
_BUSY_S = 0.005


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
    """What to ask of PortAudio: little, but a tenth of a second of a sound server on a busy machine.

    Servers pass blocks from process to process, and each of them may be late.
    """
    is_busy = timing.p99_s - timing.p50_s > _BUSY_S
    is_server = {plan.input.name, plan.output.name} & {"pulse", "pipewire", "default"}
    return 0.1 if is_busy and is_server else "low"
