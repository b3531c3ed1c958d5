"""What to do about a failed attempt. Pure: a verdict with its reason, never an action.

Decision tree (numbers stand in the code):
1. the caller is at fault, and no other model could see it differently → fail
2. the deadline or the attempts are used up → fail
3. another candidate is left → next, at once
4. the failure may pass, and the pause fits before the deadline → retry here after a back-off
5. → fail

Back-off: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015);
an upstream's Retry-After is a lower bound.
"""

from enum import StrEnum

from pointsman.errors import DeadlineExceeded, PointsmanError, Refused, RequestError
from pointsman.settings import RetrySettings
from pointsman.types import Value

# A request one model refuses for these reasons may suit another: its context is longer, its languages are more.
MODEL_DEPENDENT = frozenset({"context_length_exceeded", "unsupported_language", "invalid_media"})


class Verdict(StrEnum):
    RETRY = "retry"
    NEXT = "next"
    FAIL = "fail"


class Decision(Value, frozen=True):
    """A verdict, the pause before acting on it, and why."""

    verdict: Verdict
    why: str
    wait_s: float = 0.0


class Situation(Value, frozen=True):
    """All that a verdict may depend on."""

    error: PointsmanError
    tries_here: int
    attempts: int
    candidates_left: int
    remaining_s: float


def decide(situation: Situation, retry: RetrySettings, jitter: float) -> Decision:
    """The verdict. `jitter` is uniform in [0, 1)."""
    error = situation.error
    if isinstance(error, RequestError) and not (error.code in MODEL_DEPENDENT and situation.candidates_left):
        return Decision(verdict=Verdict.FAIL, why="1: the request itself was refused")
    if isinstance(error, DeadlineExceeded) or situation.remaining_s <= 0:
        return Decision(verdict=Verdict.FAIL, why="2: the deadline has passed")
    if situation.attempts >= retry.max_attempts:
        return Decision(verdict=Verdict.FAIL, why=f"2: all {retry.max_attempts} attempts are used")
    if situation.candidates_left:
        return Decision(verdict=Verdict.NEXT, why="3: another candidate is left")
    wait_s = backoff_s(situation.tries_here, retry, jitter, error)
    if error.retryable and not isinstance(error, Refused) and wait_s < situation.remaining_s:
        return Decision(verdict=Verdict.RETRY, why="4: the failure may pass", wait_s=wait_s)
    return Decision(verdict=Verdict.FAIL, why="5: nobody else is left and trying again cannot help")


def backoff_s(tries: int, retry: RetrySettings, jitter: float, error: PointsmanError) -> float:
    """Seconds to pause before try number `tries` + 1 at one deployment."""
    ceiling_s = min(retry.backoff_max_s, retry.backoff_s * 2.0 ** (tries - 1))
    return max(jitter * ceiling_s, getattr(error, "retry_after_s", 0.0))
