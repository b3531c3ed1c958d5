"""How long until …? Pure guesses from what was measured; what could not be measured yet is guessed from sizes.

Knows: one deployment's facts. Does not know: who else wants memory; a wait for room is not in these figures.
"""

from pointsman.fleet.breaker import mode_at
from pointsman.fleet.values import Deployment, Phase, Rules
from pointsman.types import Breaker

LOAD_OVERHEAD_S = 0.7
LOAD_BYTES_PER_S = 300e6
FETCH_BYTES_PER_S = 20e6
STOP_S = 0.5
FALL_ASLEEP_S = 1.0
WAKE_S = 2.0
MIN_RETRY_AFTER_S = 1.0
DRAIN_RETRY_AFTER_S = 5.0
HOPELESS_RETRY_AFTER_S = 60.0


def load_s(d: Deployment) -> float:
    """From the decision to load to the warm-up answer, the fetch of missing weights included."""
    if not d.spec.is_managed:
        return 0.0
    learned_s = LOAD_OVERHEAD_S + d.footprint_bytes / LOAD_BYTES_PER_S if d.load_s is None else d.load_s
    return learned_s + d.missing_bytes / FETCH_BYTES_PER_S


def wake_s(d: Deployment) -> float:
    """From the decision to wake it to the warm-up answer."""
    return WAKE_S if d.wake_s is None else d.wake_s


def ready_in_s(d: Deployment, now_s: float) -> float:
    """0 where it takes requests now."""
    match d.phase:
        case Phase.READY if d.closing is None:
            return 0.0
        case Phase.READY | Phase.STOPPING:
            return STOP_S + load_s(d)
        case Phase.FALLING_ASLEEP | Phase.ASLEEP:
            return wake_s(d) + FALL_ASLEEP_S * (d.phase is Phase.FALLING_ASLEEP)
        case Phase.STARTING | Phase.WAKING:
            whole_s = load_s(d) if d.phase is Phase.STARTING else wake_s(d)
            elapsed_s = now_s - d.since_s
            return max(whole_s - elapsed_s, 0.1 * elapsed_s)  # overdue: the later, the less we believe
        case _:
            return load_s(d) + (0.0 if d.may_hurry else max(0.0, d.retry_at_s - now_s))


def is_steady(d: Deployment, now_s: float) -> bool:
    """Whether the figures above stay the same until the next event."""
    return d.breaker.open_until_s is None and (
        d.phase in (Phase.READY, Phase.ASLEEP) or (d.phase is Phase.COLD and (d.may_hurry or d.retry_at_s <= now_s))
    )


def turn_in_s(d: Deployment, now_s: float, *, is_last_in_line: bool = False) -> float:
    """Until one more call could be made, or the last that waits can: 0 where at once, and it is well."""
    is_free = d.phase is Phase.READY and d.closing is None and not d.queue and d.in_flight < d.slots
    if is_free and mode_at(d.breaker, now_s) in (Breaker.CLOSED, Breaker.FORCED_CLOSED):
        return 0.0
    return slot_in_s(d, now_s, is_last_in_line=is_last_in_line)


def slot_in_s(d: Deployment, now_s: float, *, is_last_in_line: bool = False) -> float:
    """Until one more want would get its turn behind the present queue, or the last in it gets it; for Retry-After."""
    ahead = len(d.queue) + (not is_last_in_line)
    return max(MIN_RETRY_AFTER_S, ready_in_s(d, now_s) + d.hold_s * ahead / d.slots)


def backoff_s(rules: Rules, failures: int) -> float:
    """Exponential, without jitter: one child's restart collides with nobody's."""
    return float(min(rules.backoff_max_s, rules.backoff_s * 2.0 ** min(failures - 1, 30)))
