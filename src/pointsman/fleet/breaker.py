"""A circuit breaker as a value: is a deployment worth asking? Pure; the words are resilience4j's.

Knows: the outcomes of the last calls. Does not know: whose calls, nor who obeys; the router reads it through the World.

closed     → open       after 5 failures in a row, or more than half of the last 20 outcomes (20 seen)
open       → half_open  when its time is up, by itself: `mode_at` reads it
half_open  → closed     after 3 successes; → open again at the first failure
Outcomes heard while open are of calls from before, or of a last resort: they prove nothing and are ignored.
"""

from pointsman.types import Breaker, Value

FAILURES_IN_A_ROW = 5
WINDOW = 20
OPEN_S = 10.0
TRIALS = 3

_MASK = (1 << WINDOW) - 1


class BreakerState(Value, frozen=True):
    """`window` holds one bit an outcome, 1 for a failure, the newest lowest; `in_row` counts failures without a success
    between them; `open_until_s` is None while closed."""

    window: int = 0
    seen: int = 0
    in_row: int = 0
    open_until_s: float | None = None
    trials_passed: int = 0


CLOSED = BreakerState()


def mode_at(breaker: BreakerState, now_s: float) -> Breaker:
    """The state as of now."""
    if breaker.open_until_s is None:
        return Breaker.CLOSED
    return Breaker.OPEN if now_s < breaker.open_until_s else Breaker.HALF_OPEN


def retry_in_s(breaker: BreakerState, now_s: float) -> float:
    """Until an open breaker lets trials through; 0 otherwise."""
    return 0.0 if breaker.open_until_s is None else max(0.0, breaker.open_until_s - now_s)


def record(breaker: BreakerState, ok: bool, now_s: float) -> BreakerState:
    """The breaker after one more outcome; the same object where nothing changed."""
    mode = mode_at(breaker, now_s)
    if mode is Breaker.OPEN:
        return breaker
    if mode is Breaker.HALF_OPEN:
        return _after_trial(breaker, ok, now_s)
    if ok and not breaker.window and breaker.seen == WINDOW:
        return breaker
    window = (breaker.window << 1 | (not ok)) & _MASK
    seen = min(breaker.seen + 1, WINDOW)
    in_row = 0 if ok else breaker.in_row + 1
    is_failing = in_row >= FAILURES_IN_A_ROW or (seen == WINDOW and window.bit_count() * 2 > WINDOW)
    if is_failing and not ok:  # a success that fills the window is no reason to open
        return trip(now_s + OPEN_S)
    return BreakerState(window=window, seen=seen, in_row=in_row)


def trip(until_s: float) -> BreakerState:
    """Open until then, whatever the outcomes were: a health probe says so."""
    return BreakerState(open_until_s=until_s)


def _after_trial(breaker: BreakerState, ok: bool, now_s: float) -> BreakerState:
    if not ok:
        return trip(now_s + OPEN_S)
    if breaker.trials_passed + 1 >= TRIALS:
        return CLOSED
    return BreakerState(open_until_s=breaker.open_until_s, trials_passed=breaker.trials_passed + 1)
