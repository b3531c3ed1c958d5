"""The verdict on a failed attempt, row by row, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dispatch.retry import Situation, Verdict, backoff_s, decide
from pointsman.errors import DeadlineExceeded, PointsmanError, Refused, RequestError, UpstreamError
from pointsman.settings import RetrySettings

RETRY = RetrySettings(max_attempts=4, backoff_s=0.1, backoff_max_s=5)
CUT = UpstreamError("cut", code="upstream_cut")
LONG = RequestError("too long", code="context_length_exceeded")
BAD = RequestError("bad", code="invalid_value")
BUSY = Refused("queue full", code="queue_full", retry_after_s=3)
LATE = DeadlineExceeded("late")


@pytest.mark.parametrize(
    ("error", "attempts", "left", "remaining_s", "verdict"),
    [
        (BAD, 1, 3, 10, Verdict.FAIL),
        (LONG, 1, 3, 10, Verdict.NEXT),
        (LONG, 1, 0, 10, Verdict.FAIL),
        (CUT, 1, 3, 10, Verdict.NEXT),
        (CUT, 1, 3, 0, Verdict.FAIL),
        (CUT, 4, 3, 10, Verdict.FAIL),
        (CUT, 1, 0, 10, Verdict.RETRY),
        (CUT, 1, 0, 0.01, Verdict.FAIL),
        (BUSY, 1, 1, 10, Verdict.NEXT),
        (BUSY, 1, 0, 10, Verdict.FAIL),
        (LATE, 1, 3, 10, Verdict.FAIL),
    ],
)
def test_verdicts(error: PointsmanError, attempts: int, left: int, remaining_s: float, verdict: Verdict) -> None:
    situation = Situation(error=error, tries_here=1, attempts=attempts, candidates_left=left, remaining_s=remaining_s)
    assert decide(situation, RETRY, jitter=0.9).verdict is verdict


errors = st.sampled_from(
    [CUT, LONG, BAD, BUSY, LATE, UpstreamError("500"), UpstreamError("t", code="upstream_timeout")]
)


@given(errors, st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.floats(-5, 50), st.floats(0, 0.999))
def test_budgets_hold_whatever_happens(
    error: PointsmanError, tries: int, attempts: int, left: int, remaining_s: float, jitter: float
) -> None:
    situation = Situation(
        error=error, tries_here=tries, attempts=attempts, candidates_left=left, remaining_s=remaining_s
    )
    decision = decide(situation, RETRY, jitter)
    if decision.verdict is not Verdict.FAIL:
        assert attempts < RETRY.max_attempts
        assert remaining_s > 0
    if decision.verdict is Verdict.NEXT:
        assert left
    if decision.verdict is Verdict.RETRY:
        assert error.retryable
        assert 0 <= decision.wait_s < remaining_s
    assert decision.why


@given(st.integers(1, 60), st.floats(0, 0.999))
def test_the_back_off_grows_to_its_ceiling_and_honours_retry_after(tries: int, jitter: float) -> None:
    assert 0 <= backoff_s(tries, RETRY, jitter, CUT) <= min(RETRY.backoff_max_s, 0.1 * 2 ** (tries - 1))
    assert backoff_s(tries, RETRY, jitter, BUSY) >= BUSY.retry_after_s
