"""A circuit breaker as a value: is a deployment worth asking? Pure; the words are resilience4j's.

Knows: the outcomes of the last calls. Does not know: whose calls, nor who obeys: the router reads it through the World,
the machine asks how many trials it lets through.

closed     → open       after `failures_in_a_row`, or where more than a share of the last `window` outcomes (all seen)
                        failed or were slow
open       → half_open  when its time is up, by itself: `mode_at` reads it
half_open  → closed     after `trials` good ones; → open again at the first failed or slow one, for twice as long
any        → forced_open, forced_closed, until an operator says otherwise: outcomes change nothing then
Outcomes heard while open are of calls from before, or of a last resort: they prove nothing and are ignored. Trips are
forgotten, and with them the longer times, once a whole window has passed without one.
"""

from typing import Self

from pointsman.settings_fleet import BreakerSettings
from pointsman.types import Breaker, Value

MOST_DOUBLINGS = 30


class BreakerRules(Value, frozen=True):
    """`settings_fleet.BreakerSettings` as a value."""

    failures_in_a_row: int = 5
    window: int = 20
    failure_rate: float = 0.5
    slow_call_s: float | None = None
    slow_call_rate: float = 0.5
    open_s: float = 10.0
    open_max_s: float = 120.0
    trials: int = 3

    @classmethod
    def of(cls, settings: BreakerSettings) -> Self:
        return cls(
            failures_in_a_row=settings.failures_in_a_row,
            window=settings.window,
            failure_rate=settings.failure_rate,
            slow_call_s=settings.slow_call_s,
            slow_call_rate=settings.slow_call_rate,
            open_s=settings.open_s,
            open_max_s=settings.open_max_s,
            trials=settings.trials,
        )


class BreakerState(Value, frozen=True):
    """`failed`, `slow` hold one bit an outcome, the newest lowest; `in_row` counts failures without a success between
    them; `open_until_s` is None while closed; `trips`: since the last whole window without one; `why` it opened."""

    failed: int = 0
    slow: int = 0
    seen: int = 0
    in_row: int = 0
    open_until_s: float | None = None
    trials_passed: int = 0
    trips: int = 0
    why: str = ""
    forced: Breaker | None = None


CLOSED = BreakerState()


def mode_at(breaker: BreakerState, now_s: float) -> Breaker:
    """The state as of now."""
    if breaker.forced is not None:
        return breaker.forced
    if breaker.open_until_s is None:
        return Breaker.CLOSED
    return Breaker.OPEN if now_s < breaker.open_until_s else Breaker.HALF_OPEN


def retry_in_s(breaker: BreakerState, now_s: float) -> float:
    """Until an open breaker lets trials through; 0 otherwise."""
    return 0.0 if breaker.open_until_s is None else max(0.0, breaker.open_until_s - now_s)


def record(
    breaker: BreakerState, rules: BreakerRules, ok: bool, now_s: float, first_byte_s: float | None = None
) -> BreakerState:
    """The breaker after one more outcome; the same object where nothing changed."""
    if breaker.forced is not None:
        return breaker
    is_slow = ok and is_slow_call(rules, first_byte_s)
    if breaker.open_until_s is not None:
        is_open = now_s < breaker.open_until_s
        return breaker if is_open else _after_trial(breaker, rules, ok, is_slow, now_s)
    is_spotless = not (breaker.failed or breaker.slow or breaker.trips)
    if ok and not is_slow and is_spotless and breaker.seen == rules.window:
        return breaker
    mask = (1 << rules.window) - 1
    seen = min(breaker.seen + 1, rules.window)
    after = BreakerState(
        failed=(breaker.failed << 1 | (not ok)) & mask,
        slow=(breaker.slow << 1 | is_slow) & mask,
        seen=seen,
        in_row=0 if ok else breaker.in_row + 1,
        trips=0 if seen == rules.window else breaker.trips,
    )
    if ok and not is_slow:  # a success that fills the window is no reason to open
        return after
    why = _why_open(after, rules)
    return trip(breaker, rules, now_s, why) if why else after


def is_slow_call(rules: BreakerRules, first_byte_s: float | None) -> bool:
    """Whether a call that succeeded took longer than it may."""
    return rules.slow_call_s is not None and first_byte_s is not None and first_byte_s > rules.slow_call_s


def trip(breaker: BreakerState, rules: BreakerRules, now_s: float, why: str) -> BreakerState:
    """Open now, whatever the outcomes were; for twice as long as the last time."""
    open_s = min(rules.open_max_s, rules.open_s * 2.0 ** min(breaker.trips, MOST_DOUBLINGS))
    return BreakerState(open_until_s=now_s + open_s, trips=breaker.trips + 1, why=why, forced=breaker.forced)


def hold(breaker: BreakerState, until_s: float, why: str) -> BreakerState:
    """Open until then: a health probe says so."""
    return BreakerState(open_until_s=until_s, trips=breaker.trips, why=why, forced=breaker.forced)


def renewed(breaker: BreakerState) -> BreakerState:
    """As of a deployment nothing is known of; what an operator said stands."""
    return CLOSED if breaker.forced is None else BreakerState(forced=breaker.forced)


def force(state: Breaker | None) -> BreakerState:
    """Stay so whatever happens; None: closed, and by itself from now on."""
    return CLOSED if state is None else BreakerState(forced=state, why="an operator said so")


def _after_trial(breaker: BreakerState, rules: BreakerRules, ok: bool, is_slow: bool, now_s: float) -> BreakerState:
    if not ok or is_slow:
        return trip(breaker, rules, now_s, f"a trial {'was slow' if is_slow else 'failed'}: {breaker.why}"[:200])
    if breaker.trials_passed + 1 >= rules.trials:
        return BreakerState(trips=breaker.trips)
    return BreakerState(
        open_until_s=breaker.open_until_s,
        trials_passed=breaker.trials_passed + 1,
        trips=breaker.trips,
        why=breaker.why,
    )


def _why_open(breaker: BreakerState, rules: BreakerRules) -> str:
    """Empty where it may stay closed."""
    if breaker.in_row >= rules.failures_in_a_row:
        return f"{breaker.in_row} calls in a row failed"
    if breaker.seen < rules.window:
        return ""
    failed, slow = breaker.failed.bit_count(), breaker.slow.bit_count()
    if failed > rules.failure_rate * rules.window:
        return f"{failed} of the last {rules.window} calls failed"
    if slow > rules.slow_call_rate * rules.window:
        return f"{slow} of the last {rules.window} calls took longer than {rules.slow_call_s:g} s"
    return ""
