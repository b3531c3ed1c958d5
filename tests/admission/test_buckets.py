"""A token bucket as one number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.admission.buckets import Rate, charge, take


def test_a_burst_then_the_rate() -> None:
    rate, full_at_s = Rate(per_s=2.0, burst=3.0), 0.0
    for _ in range(3):
        taken = take(full_at_s, 10.0, rate)
        assert taken.wait_s == 0
        full_at_s = taken.full_at_s
    refused = take(full_at_s, 10.0, rate)
    assert refused.wait_s == pytest.approx(0.5)
    assert refused.full_at_s == full_at_s
    assert take(full_at_s, 10.0 + refused.wait_s, rate).wait_s == 0


def test_more_than_the_burst_is_had_when_the_bucket_is_full() -> None:
    assert take(0.0, 10.0, Rate(per_s=1.0, burst=2.0), 5.0).wait_s == 0
    assert take(10.5, 10.0, Rate(per_s=1.0, burst=2.0), 5.0).wait_s == pytest.approx(0.5)


def test_a_debt_is_waited_for() -> None:
    rate = Rate.per_minute(60, burst=10)
    assert take(charge(0.0, 5.0, rate, 25), 5.0, rate).wait_s == pytest.approx(16.0)


@given(
    st.floats(0.1, 100),
    st.integers(1, 20),
    st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_never_more_than_burst_and_rate_allow(per_s: float, burst: int, gaps: list[float]) -> None:
    rate, now_s, full_at_s, granted = Rate(per_s=per_s, burst=burst), 100.0, 0.0, []
    for gap in gaps:
        now_s += gap
        taken = take(full_at_s, now_s, rate)
        full_at_s = taken.full_at_s
        if not taken.wait_s:
            granted.append(now_s)
    for first, start_s in enumerate(granted):
        for last in range(first, len(granted)):
            allowed = burst + per_s * (granted[last] - start_s)
            assert last - first + 1 <= allowed + 1e-6


@given(st.floats(0.1, 100), st.integers(1, 20), st.floats(0, 1000))
def test_the_wait_told_is_the_wait_needed(per_s: float, burst: int, debt: float) -> None:
    rate = Rate(per_s=per_s, burst=burst)
    full_at_s = charge(0.0, 50.0, rate, debt)
    wait_s = take(full_at_s, 50.0, rate).wait_s
    assert take(full_at_s, 50.0 + wait_s, rate).wait_s == pytest.approx(0, abs=1e-6)
    if wait_s > 0.01:
        assert take(full_at_s, 50.0 + wait_s * 0.9, rate).wait_s > 0
