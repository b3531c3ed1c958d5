"""The verdict on a failed attempt, row by row, what holds for all of them, and what the caller hears at the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dispatch.patience import LeftLine
from pointsman.dispatch.retry import (
    Failed,
    Situation,
    Verdict,
    backoff_s,
    decide,
    last_word,
)
from pointsman.errors import (
    LONGEST_RETRY_AFTER_S,
    DeadlineExceeded,
    Declined,
    PlanExhausted,
    PointsmanError,
    Refused,
    RequestError,
    UpstreamError,
)
from pointsman.settings import RetrySettings
from pointsman.types import Attempt

RETRY = RetrySettings(max_attempts=4, backoff_s=0.1, backoff_max_s=5)
CUT = UpstreamError("cut", code="upstream_cut")
LONG = RequestError("too long", code="context_length_exceeded")
NO = Declined("no `response_format` here")
NEVER = Declined("no such parameter", code="invalid_value")
BAD = RequestError("bad", code="invalid_value")
BUSY = Refused("queue full", code="queue_full", retry_after_s=3)
LEFT = LeftLine("not its turn in 2 s", retry_after_s=2)
LATE = DeadlineExceeded("late")
MANY = UpstreamError("too many", upstream_status=429, retry_after_s=2)
MUCH = UpstreamError("too much", upstream_status=503, retry_after_s=20)


def after(
    *errors: PointsmanError, of: str = "abcdefgh", candidates: int = 3, attempts: int = 1, remaining_s: float = 10
) -> Situation:
    """Those errors, of the first candidates, once each; the last is the latest."""
    return Situation(
        models=tuple(of[:candidates]),
        failed={at: Failed(tries=1, error=error) for at, error in enumerate(errors)},
        last=len(errors) - 1,
        attempts=attempts,
        remaining_s=remaining_s,
    )


@pytest.mark.parametrize(
    ("situation", "verdict", "at"),
    [
        (after(BAD), Verdict.FAIL, -1),
        (after(LONG), Verdict.NEXT, 1),
        (after(LONG, candidates=1), Verdict.FAIL, -1),
        (after(NO), Verdict.NEXT, 1),
        (after(NEVER, NO), Verdict.NEXT, 2),
        (after(NEVER, NO, NO), Verdict.FAIL, -1),
        (after(NO, of="aab"), Verdict.NEXT, 2),  # another instance of the same model would say the same
        (after(NO, of="aaa"), Verdict.FAIL, -1),
        (after(NO, CUT, of="aab"), Verdict.NEXT, 2),
        (after(NO, NO, NO, NO, candidates=8), Verdict.FAIL, -1),  # so many models cannot all be wrong
        (after(CUT), Verdict.NEXT, 1),
        (after(CUT, remaining_s=0), Verdict.FAIL, -1),
        (after(CUT, attempts=4), Verdict.NEXT, 1),  # a first try is not a repeat
        (after(CUT, CUT, CUT, CUT, CUT, candidates=6, attempts=5), Verdict.NEXT, 5),
        (after(CUT, CUT, CUT, attempts=4), Verdict.FAIL, -1),
        (after(CUT, CUT, CUT), Verdict.AGAIN, 0),
        (after(CUT, candidates=1), Verdict.AGAIN, 0),
        (after(CUT, candidates=1, remaining_s=0.01), Verdict.FAIL, -1),
        (after(CUT, BUSY, candidates=2), Verdict.AGAIN, 0),
        (after(CUT, NO, candidates=2), Verdict.AGAIN, 0),
        (after(BUSY), Verdict.NEXT, 1),
        (after(BUSY, candidates=1), Verdict.FAIL, -1),
        (after(BUSY, NO, candidates=2), Verdict.FAIL, -1),
        (after(LEFT, BUSY, candidates=2), Verdict.AGAIN, 0),
        (after(MUCH, CUT, candidates=2), Verdict.AGAIN, 1),  # who asked for a pause comes after who did not
        (after(MUCH, candidates=1), Verdict.FAIL, -1),  # the pause is longer than the time that is left
        (after(LATE), Verdict.FAIL, -1),
    ],
)
def test_verdicts(situation: Situation, verdict: Verdict, at: int) -> None:
    decision = decide(situation, RETRY, jitter=0.9)
    assert (decision.verdict, decision.at) == (verdict, at)


def test_who_was_tried_least_is_next() -> None:
    failed = {0: Failed(tries=2, error=CUT), 1: Failed(tries=1, error=CUT)}
    situation = Situation(models=("a", "b"), failed=failed, last=0, attempts=3, remaining_s=10)
    assert decide(situation, RETRY, jitter=0).at == 1


errors = st.sampled_from(
    [
        CUT,
        LONG,
        BAD,
        BUSY,
        LATE,
        LEFT,
        NO,
        NEVER,
        MANY,
        UpstreamError("500"),
        UpstreamError("t", code="upstream_timeout"),
    ]
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    models = tuple(draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=7)))
    asked = draw(st.lists(st.sampled_from(range(len(models))), min_size=1, unique=True))
    failed = {at: Failed(tries=draw(st.integers(1, 5)), error=draw(errors)) for at in asked}
    attempts = sum(one.tries for one in failed.values())
    last, remaining_s = draw(st.sampled_from(asked)), draw(st.floats(-5, 50))
    return Situation(models=models, failed=failed, last=last, attempts=attempts, remaining_s=remaining_s)


@given(situations(), st.floats(0, 0.999))
def test_budgets_hold_whatever_happens(situation: Situation, jitter: float) -> None:
    decision = decide(situation, RETRY, jitter)
    assert decision.why
    if decision.verdict is Verdict.FAIL:
        return
    assert situation.remaining_s > 0
    if decision.verdict is Verdict.NEXT:
        assert decision.at not in situation.failed
        assert decision.wait_s == 0
    else:
        assert situation.attempts < RETRY.max_attempts
        assert situation.failed[decision.at].error.retryable
        assert 0 <= decision.wait_s < situation.remaining_s


@given(situations(), st.floats(0, 0.999))
def test_nobody_able_is_left_unasked(situation: Situation, jitter: float) -> None:
    latest = situation.failed[situation.last].error
    declined = {situation.models[at] for at, one in situation.failed.items() if isinstance(one.error, Declined)}
    fresh = [at for at, model in enumerate(situation.models) if at not in situation.failed and model not in declined]
    is_over = latest in (BAD, LATE) or situation.remaining_s <= 0 or len(declined) >= RETRY.max_attempts
    if fresh and not is_over:
        assert decide(situation, RETRY, jitter).at == fresh[0]


@given(st.integers(1, 60), st.floats(0, 0.999))
def test_the_back_off_grows_to_its_ceiling_and_honours_retry_after(tries: int, jitter: float) -> None:
    assert 0 <= backoff_s(Failed(tries=tries, error=CUT), RETRY, jitter) <= min(5, 0.1 * 2 ** (tries - 1))
    assert backoff_s(Failed(tries=tries, error=MUCH), RETRY, jitter) >= MUCH.retry_after_s
    assert backoff_s(Failed(tries=tries, error=LEFT), RETRY, jitter) == 0


# ---------------------------------------------------------------- what the caller hears


def said(situation: Situation) -> PointsmanError:
    attempts = tuple(
        Attempt(deployment_id=f"d{at}", model_id=situation.models[at], started_s=0.0, error=one.error.code)
        for at, one in situation.failed.items()
    )
    return last_word(situation, attempts)


@pytest.mark.parametrize(
    ("situation", "heard"),
    [
        (after(CUT), CUT),
        (after(BAD), BAD),
        (after(CUT, LATE), LATE),
        (after(NO), NO),
        (after(NEVER, NO, LONG), NEVER),
        (after(BUSY, NO), BUSY),
        (after(LEFT, BUSY), BUSY),
    ],
)
def test_the_last_word_is_one_of_theirs(situation: Situation, heard: PointsmanError) -> None:
    assert said(situation) is heard


@pytest.mark.parametrize("situation", [after(CUT, NO), after(NO, CUT), after(CUT, BUSY), after(MANY, CUT)])
def test_what_may_pass_outweighs_what_was_declined(situation: Situation) -> None:
    word = said(situation)
    assert isinstance(word, PlanExhausted)
    assert [attempt.error for attempt in word.attempts] == [one.error.code for one in situation.failed.values()]


@pytest.mark.parametrize(
    ("situation", "status", "code", "retry_after_s"),
    [
        (after(MANY), 429, "rate_limit_exceeded", 2),
        (after(MUCH), 503, "queue_full", 20),
        (after(MANY, MUCH), 503, "queue_full", 20),
        (after(MANY, NO), 429, "rate_limit_exceeded", 2),
        (after(MUCH, BUSY), 503, "queue_full", 20),
        (after(UpstreamError("x", upstream_status=503)), 503, "queue_full", 1),
        (after(UpstreamError("x", upstream_status=429, retry_after_s=9e9)), 429, "rate_limit_exceeded", 60),
    ],
)
def test_who_is_asked_too_much_is_not_broken(
    situation: Situation, status: int, code: str, retry_after_s: float
) -> None:
    word = said(situation)
    assert isinstance(word, Refused)
    assert (word.http_status, word.code, word.retry_after_s) == (status, code, retry_after_s)
    assert f"try again in {retry_after_s:.0f} s" in word.message
    assert word.retry_after_s <= LONGEST_RETRY_AFTER_S
