"""The breaker's table, as values."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.fleet.breaker import (
    CLOSED,
    BreakerRules,
    BreakerState,
    force,
    hold,
    mode_at,
    record,
    renewed,
    retry_in_s,
    trip,
)
from pointsman.types import Breaker

RULES = BreakerRules()
STRICT = BreakerRules(slow_call_s=1.0, slow_call_rate=0.5)
OPEN_S, WINDOW = RULES.open_s, RULES.window


def after(
    outcomes: str, now_s: float = 0.0, breaker: BreakerState = CLOSED, rules: BreakerRules = RULES
) -> BreakerState:
    """`.` is a success, `s` a slow one, `x` a failure."""
    for outcome in outcomes:
        breaker = record(breaker, rules, outcome != "x", now_s, 2.0 if outcome == "s" else 0.1)
    return breaker


def test_five_failures_in_a_row_open_it_and_four_do_not() -> None:
    assert mode_at(after("xxxx"), 0) is Breaker.CLOSED
    assert mode_at(after("xxxx.xxxx"), 0) is Breaker.CLOSED
    assert mode_at(after("xxxxx"), 0) is Breaker.OPEN


def test_more_than_half_of_the_window_opens_it() -> None:
    half = "x." * 10
    assert mode_at(after(half), 0) is Breaker.CLOSED
    assert mode_at(after("xx." + "x." * 8 + "x"), 0) is Breaker.OPEN  # 11 of 20
    assert mode_at(after("x.x" + "x." * 7), 0) is Breaker.CLOSED  # 9 of 17: too few seen to tell


def test_old_outcomes_leave_the_window() -> None:
    assert after("x." * 9 + "." * WINDOW) == after("." * WINDOW)


def test_success_upon_success_changes_nothing_at_all() -> None:
    steady = after("." * WINDOW)
    assert record(steady, RULES, True, 5.0) is steady


def test_open_becomes_half_open_by_itself_and_says_when() -> None:
    opened = after("xxxxx", now_s=100.0)
    assert mode_at(opened, 100.0 + OPEN_S - 0.1) is Breaker.OPEN
    assert retry_in_s(opened, 104.0) == OPEN_S - 4.0
    assert mode_at(opened, 100.0 + OPEN_S) is Breaker.HALF_OPEN
    assert retry_in_s(opened, 200.0) == 0.0


def test_outcomes_while_open_prove_nothing() -> None:
    opened = after("xxxxx", now_s=100.0)
    assert after("...x.", 101.0, opened) is opened


def test_three_trials_close_it_and_one_failure_opens_it_again() -> None:
    opened = after("xxxxx")
    assert mode_at(after("..", 11.0, opened), 11.0) is Breaker.HALF_OPEN
    assert mode_at(after("...", 11.0, opened), 11.0) is Breaker.CLOSED
    again = after("..x", 11.0, opened)
    assert mode_at(again, 11.0 + 2 * OPEN_S - 0.1) is Breaker.OPEN
    assert mode_at(again, 11.0 + 2 * OPEN_S) is Breaker.HALF_OPEN
    assert "trial failed" in again.why


def test_it_stays_open_twice_as_long_each_time_up_to_a_ceiling() -> None:
    breaker, now_s, times_s = CLOSED, 0.0, []
    for _ in range(8):
        breaker = trip(breaker, RULES, now_s, "")
        times_s.append(retry_in_s(breaker, now_s))
        now_s += times_s[-1]
    assert times_s == [10, 20, 40, 80, 120, 120, 120, 120]


def test_a_whole_window_without_a_trip_forgets_the_trips() -> None:
    closed = after("...", 11.0, after("xxxxx"))
    assert retry_in_s(after("xxxxx", 12.0, closed), 12.0) == 2 * OPEN_S
    assert retry_in_s(after("." * WINDOW + "xxxxx", 12.0, closed), 12.0) == OPEN_S


def test_a_trip_holds_as_long_as_it_says() -> None:
    assert mode_at(hold(CLOSED, 50.0, "ill"), 49.0) is Breaker.OPEN
    assert mode_at(hold(CLOSED, 50.0, "ill"), 50.0) is Breaker.HALF_OPEN


def test_slow_calls_open_it_only_where_they_are_more_than_their_share() -> None:
    assert mode_at(after("s." * 10, rules=STRICT), 0) is Breaker.CLOSED
    opened = after("." * 9 + "s" * 11, rules=STRICT)
    assert mode_at(opened, 0) is Breaker.OPEN
    assert "11 of the last 20 calls took longer than 1 s" in opened.why
    assert mode_at(after("s" * 40), 0) is Breaker.CLOSED  # no bound is set: none is slow


def test_a_slow_trial_opens_it_again() -> None:
    assert mode_at(after("..s", 11.0, after("xxxxx"), STRICT), 11.0) is Breaker.OPEN


def test_thresholds_and_times_are_settings() -> None:
    rules = BreakerRules(failures_in_a_row=2, window=4, failure_rate=0.25, open_s=1.0, trials=1)
    assert mode_at(after("xx", rules=rules), 0) is Breaker.OPEN
    assert mode_at(after("x.x.", rules=rules), 0) is Breaker.CLOSED  # the last one succeeded
    assert mode_at(after("x..x", rules=rules), 0) is Breaker.OPEN
    assert mode_at(after(".", 1.0, after("xx", rules=rules), rules), 1.0) is Breaker.CLOSED


def test_forced_states_stay_whatever_happens_until_it_may_see_for_itself() -> None:
    for state in (Breaker.FORCED_OPEN, Breaker.FORCED_CLOSED):
        forced = force(state)
        assert after("xxxxx" + "." * 30, breaker=forced) is forced
        assert mode_at(renewed(forced), 1e9) is state
        assert mode_at(trip(forced, RULES, 0.0, ""), 0.0) is state
    assert force(None) is CLOSED


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 4))))
def test_whatever_happens_the_figures_make_sense(outcomes: list[tuple[bool, float]]) -> None:
    breaker, now_s = CLOSED, 0.0
    for ok, pause_s in outcomes:
        now_s += pause_s
        before = mode_at(breaker, now_s)
        breaker = record(breaker, RULES, ok, now_s)
        after_ = mode_at(breaker, now_s)
        assert 0 <= breaker.seen <= WINDOW
        assert breaker.failed < 1 << WINDOW
        assert (retry_in_s(breaker, now_s) > 0) == (after_ is Breaker.OPEN)
        if ok:
            assert after_ is not Breaker.OPEN or before is Breaker.OPEN
        if before is Breaker.HALF_OPEN and not ok:
            assert after_ is Breaker.OPEN


def test_a_success_that_fills_the_window_does_not_open() -> None:
    breaker = CLOSED
    for number in range(WINDOW):  # more than half fail, never five in a row, and the last one succeeds
        breaker = record(breaker, RULES, number % 4 == 3, 0.0)
    assert mode_at(breaker, 0.0) is Breaker.CLOSED
    assert mode_at(record(breaker, RULES, False, 0.0), 0.0) is Breaker.OPEN
