"""The learned limit: additive increase, multiplicative decrease."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.fleet.limit import SHRINK, Limit, first, stepped

LOW, HIGH = 2, 64


def after(limit: Limit, successes: int, now_s: float = 0.0) -> Limit:
    """That many successes, each at the limit."""
    for _ in range(successes):
        limit = stepped(limit, now_s, limit.slots, is_overloaded=False, began_s=now_s)
    return limit


def test_it_doubles_with_each_round_until_it_first_falls_then_gains_one_a_round() -> None:
    doubled = after(after(first(4, HIGH), 4), 8)
    assert doubled.slots == 16
    fallen = stepped(doubled, 5.0, 16, is_overloaded=True, began_s=4.0)
    assert fallen.value == 16 * SHRINK
    assert fallen.slots < after(fallen, fallen.slots + 1).slots == fallen.slots + 1


def test_a_limit_nobody_reaches_teaches_nothing() -> None:
    limit = first(LOW, HIGH)
    assert stepped(limit, 0.0, 1, is_overloaded=False, began_s=0.0) is limit


def test_one_burst_of_failures_counts_once() -> None:
    fallen = stepped(after(first(LOW, HIGH), 30), 5.0, 30, is_overloaded=True, began_s=4.0)
    assert stepped(fallen, 5.1, 20, is_overloaded=True, began_s=4.9) is fallen  # under way before it
    assert stepped(fallen, 5.1, 20, is_overloaded=True, began_s=5.05).value < fallen.value


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 80), st.booleans())))
def test_whatever_happens_it_stays_within_its_bounds(outcomes: list[tuple[float, int, bool]]) -> None:
    limit, now_s = first(LOW, HIGH), 0.0
    for pause_s, in_flight, is_overloaded in outcomes:
        now_s += pause_s
        moved = stepped(limit, now_s, in_flight, is_overloaded=is_overloaded, began_s=now_s - 1.0)
        assert LOW <= moved.value <= HIGH
        assert moved.value <= limit.value if is_overloaded else moved.value >= limit.value
        limit = moved


@given(st.integers(LOW, HIGH))
def test_it_finds_what_a_server_takes(able: int) -> None:
    """A server that says 429 to more than `able` at once, always asked as much as the limit allows."""
    limit, now_s, seen = first(LOW, HIGH), 0.0, []
    for _ in range(400):
        now_s += 0.1
        limit = stepped(limit, now_s, limit.slots, is_overloaded=limit.slots > able, began_s=now_s)
        seen.append(limit.slots)
    late = seen[200:]
    assert max(late) <= able + 1
    assert sum(late) / len(late) >= 0.6 * able
