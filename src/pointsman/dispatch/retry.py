"""What to do about a failed attempt, and what the caller hears when nothing is left. Pure: values, never an action.

Decision tree (numbers stand in the code):
1. the request itself is at fault, whoever is asked → fail
2. the deadline has passed → fail
3. a candidate was not asked yet → next, at once, whatever was spent: each has its first try. Passed over: the other
   instances of a model that declined the request, and everybody once `max_attempts` models have declined it
4. the attempts are used up → fail
5. a failure may pass, and the pause fits before the deadline → again, after a back-off: whoever was tried least, first
   those who asked for the shortest pause, then the earliest. A line that was left is gone back to at once
6. → fail

The last word: who would not take the request weighs nothing beside who could not, for that may pass.

Back-off: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015);
an upstream's Retry-After is a lower bound.
"""

from collections.abc import Mapping
from enum import StrEnum

from pointsman.dispatch.patience import LeftLine
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
from pointsman.types import Attempt, Value

# A request one model refuses for these reasons may suit another: its context is longer, its languages are more.
# A deployment that is not there any more was removed since the plan was made.
MODEL_DEPENDENT = frozenset({"context_length_exceeded", "unsupported_language", "invalid_media", "model_not_found"})
TOO_MANY, TOO_MUCH = 429, frozenset({429, 503})
"""Statuses of a server that is asked more than it can take."""


class Verdict(StrEnum):
    AGAIN = "again"
    NEXT = "next"
    FAIL = "fail"


class Decision(Value, frozen=True):
    """A verdict, the place of the candidate to ask, the pause before, and why."""

    verdict: Verdict
    why: str
    at: int = -1
    wait_s: float = 0.0


class Failed(Value, frozen=True):
    """A candidate that was asked: how often, and how that went last."""

    tries: int
    error: PointsmanError


class Situation(Value, frozen=True):
    """All that a verdict may depend on. `models`: of the candidates, in their order; `failed`: by place, those who
    were asked, in the order in which they first were; `last`: the place of the latest failure."""

    models: tuple[str, ...]
    failed: Mapping[int, Failed]
    last: int
    attempts: int
    remaining_s: float


def decide(situation: Situation, retry: RetrySettings, jitter: float) -> Decision:
    """The verdict. `jitter` is uniform in [0, 1)."""
    error = situation.failed[situation.last].error
    if is_callers_fault(error):
        return Decision(verdict=Verdict.FAIL, why="1: the request itself was refused")
    if isinstance(error, DeadlineExceeded) or situation.remaining_s <= 0:
        return Decision(verdict=Verdict.FAIL, why="2: the deadline has passed")
    if fresh := not_asked(situation.models, situation.failed, retry.max_attempts):
        return Decision(verdict=Verdict.NEXT, why="3: another candidate is left", at=fresh[0])
    if situation.attempts >= retry.max_attempts:
        return Decision(verdict=Verdict.FAIL, why=f"4: all {retry.max_attempts} attempts are used")
    for at in may_pass(situation.failed):
        wait_s = backoff_s(situation.failed[at], retry, jitter)
        if wait_s < situation.remaining_s:
            return Decision(verdict=Verdict.AGAIN, why="5: the failure may pass", at=at, wait_s=wait_s)
    return Decision(verdict=Verdict.FAIL, why="6: nobody else is left and trying again cannot help")


def is_callers_fault(error: PointsmanError) -> bool:
    """Whether every model would refuse the request. What one declined, or cannot do, another may take."""
    return isinstance(error, RequestError) and not (isinstance(error, Declined) or error.code in MODEL_DEPENDENT)


def not_asked(models: tuple[str, ...], failed: Mapping[int, Failed], max_declined: int) -> list[int]:
    """The places of those who may still have their first try."""
    declined = {models[at] for at, one in failed.items() if isinstance(one.error, Declined)}
    if len(declined) >= max_declined:
        return []
    return [at for at, model in enumerate(models) if at not in failed and model not in declined]


def may_pass(failed: Mapping[int, Failed]) -> list[int]:
    """The places of those who may be asked again, in that order. What was refused is waited for by the caller."""
    able = [at for at, one in failed.items() if one.error.retryable and _is_worth_another(one.error)]
    return sorted(able, key=lambda at: (failed[at].tries, _asked_s(failed[at].error), at))


def _is_worth_another(error: PointsmanError) -> bool:
    return isinstance(error, LeftLine) or not isinstance(error, Refused)


def backoff_s(failed: Failed, retry: RetrySettings, jitter: float) -> float:
    """Seconds to pause before its next try."""
    if isinstance(failed.error, LeftLine):
        return 0.0
    ceiling_s = min(retry.backoff_max_s, retry.backoff_s * 2.0 ** (failed.tries - 1))
    return max(jitter * ceiling_s, _asked_s(failed.error))


def _asked_s(error: PointsmanError) -> float:
    """The pause that it asked for."""
    return 0.0 if isinstance(error, LeftLine) else getattr(error, "retry_after_s", 0.0)


# ---------------------------------------------------------------- the last word


def last_word(situation: Situation, attempts: tuple[Attempt, ...]) -> PointsmanError:
    """What the caller hears.

    1. the request was at fault, or the deadline has passed → that  2. every model declined it → the first who did
    3. all others refused, or were asked too much → a refusal, with the longest pause that one of them asked for
    4. one attempt → its error  5. → the whole walk
    """
    last = situation.failed[situation.last].error
    if isinstance(last, DeadlineExceeded) or is_callers_fault(last):
        return last
    errors = [one.error for one in situation.failed.values()]
    pressing = [error for error in errors if not isinstance(error, RequestError)]
    if not pressing:
        return errors[0]
    walk = "; ".join(f"{attempt.deployment_id}: {attempt.error}" for attempt in attempts)
    if all(is_overload(error) for error in pressing):
        said = last.message if len(attempts) == 1 else f"All {len(attempts)} attempts were refused ({walk})"
        return _refusal(pressing, said)
    if len(attempts) == 1:
        return last
    return PlanExhausted(f"All {len(attempts)} attempts failed ({walk}); try again later", attempts=attempts)


def is_overload(error: PointsmanError) -> bool:
    """Whether it was asked more than it can take."""
    return isinstance(error, Refused) or (isinstance(error, UpstreamError) and error.upstream_status in TOO_MUCH)


def _refusal(errors: list[PointsmanError], said: str) -> Refused:
    """429 where all of them said that; our own last word where we refused as one."""
    last = errors[-1]
    if isinstance(last, Refused) and all(isinstance(error, Refused) for error in errors):
        return last
    wait_s = min(LONGEST_RETRY_AFTER_S, max(1.0, *(getattr(error, "retry_after_s", 0.0) for error in errors)))
    code = "rate_limit_exceeded" if all(_is_limit(error) for error in errors) else "queue_full"
    return Refused(f"{said}; try again in {wait_s:.0f} s", code=code, retry_after_s=wait_s)


def _is_limit(error: PointsmanError) -> bool:
    return error.http_status == TOO_MANY or getattr(error, "upstream_status", 0) == TOO_MANY
