"""The breaker's table, as values."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.fleet.breaker import CLOSED, OPEN_S, WINDOW, BreakerState, mode_at, record, retry_in_s, trip
from pointsman.types import Breaker


def after(outcomes: str, now_s: float = 0.0, breaker: BreakerState = CLOSED) -> BreakerState:
    """`.` is a success, `x` a failure."""
    for outcome in outcomes:
        breaker = record(breaker, outcome == ".", now_s)
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
    assert record(steady, True, 5.0) is steady


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
    assert after("...", 11.0, opened) == CLOSED
    again = after("..x", 11.0, opened)
    assert mode_at(again, 20.9) is Breaker.OPEN
    assert mode_at(again, 21.0) is Breaker.HALF_OPEN


def test_a_trip_holds_as_long_as_it_says() -> None:
    assert mode_at(trip(50.0), 49.0) is Breaker.OPEN
    assert mode_at(trip(50.0), 50.0) is Breaker.HALF_OPEN


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 4))))
def test_whatever_happens_the_figures_make_sense(outcomes: list[tuple[bool, float]]) -> None:
    breaker, now_s = CLOSED, 0.0
    for ok, pause_s in outcomes:
        now_s += pause_s
        before = mode_at(breaker, now_s)
        breaker = record(breaker, ok, now_s)
        after_ = mode_at(breaker, now_s)
        assert 0 <= breaker.seen <= WINDOW
        assert breaker.window < 1 << WINDOW
        assert (retry_in_s(breaker, now_s) > 0) == (after_ is Breaker.OPEN)
        if ok:
            assert after_ is not Breaker.OPEN or before is Breaker.OPEN
        if before is Breaker.HALF_OPEN and not ok:
            assert after_ is Breaker.OPEN


def test_a_success_that_fills_the_window_does_not_open() -> None:
    breaker = CLOSED
    for number in range(WINDOW):  # more than half fail, never five in a row, and the last one succeeds
        breaker = record(breaker, number % 4 == 3, 0.0)
    assert mode_at(breaker, 0.0) is Breaker.CLOSED
    assert mode_at(record(breaker, False, 0.0), 0.0) is Breaker.OPEN
