"""How to read a request: how it ended, which model answers, whom it stands in for, in which experiment.

Invariant: every function returns a member of a closed vocabulary or a name out of what it reads; none invents a label.
"""

import asyncio
from typing import NamedTuple

from pointsman.errors import DRAINING, TABLE, PointsmanError
from pointsman.ledger.watch import WatchedEvents
from pointsman.types import Attempt, Plan

STATUSES = ("success", "client_error", "refused", "error", "client_closed")
REFUSALS = frozenset({"rate_limit_exceeded", "queue_full", "out_of_memory_budget", "draining"})
CLIENT_CLOSED = 499


class Ending(NamedTuple):
    """How a request ended: one of STATUSES, the HTTP status the caller saw (499: none), an error code or ""."""

    status: str
    http_status: int
    code: str


def ending_of(error: BaseException | None, reply_status: int | None, stream: WatchedEvents | None) -> Ending:
    """The one ending. `error` is what unwound the request, else what the stream raised and someone caught.

    1. The client left: success where the stream was complete all the same, else client_closed. Where the server stops
       and cut it short, as in 2.
    2. An error: by its code; the caller saw 200 where a stream had begun.
    3. No error: a terminal error event, a stream nobody read to its end, an error status relayed, or success.
    """
    error = error if error is not None or stream is None else stream.failure
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        if stream is not None and stream.ended:
            return Ending("success", 200, "")
        return _cut(stream) if error.args == (DRAINING,) else _closed()
    if error is not None or reply_status is None:
        code = error.code if isinstance(error, PointsmanError) and error.code in TABLE else "internal_error"
        return Ending(status_of(code), 200 if stream is not None and stream.events else TABLE[code].http_status, code)
    return _ending_of_reply(reply_status, stream)


def _ending_of_reply(reply_status: int, stream: WatchedEvents | None) -> Ending:
    if stream is not None:
        fault = stream.fault()
        if fault is not None:
            code = fault if fault in TABLE else "upstream_error"
            return Ending(status_of(code), reply_status, code)
        if not stream.ended:
            return _closed()
    if reply_status >= 400:
        code = "upstream_rejected" if reply_status < 500 else "upstream_error"
        return Ending(status_of(code), reply_status, code)
    return Ending("success", reply_status, "")


def _cut(stream: WatchedEvents | None) -> Ending:
    is_begun = stream is not None and stream.events
    return Ending(status_of(DRAINING), 200 if is_begun else TABLE[DRAINING].http_status, DRAINING)


def _closed() -> Ending:
    return Ending("client_closed", CLIENT_CLOSED, "")


def status_of(code: str) -> str:
    """The status an error code counts under: whose turn it is to act."""
    if code in REFUSALS:
        return "refused"
    return "client_error" if TABLE[code].http_status < 500 else "error"


def answered_by(attempts: tuple[Attempt, ...] | list[Attempt]) -> str:
    """The id of the model that answered; "" where none did."""
    return attempts[-1].model_id if attempts and not attempts[-1].error else ""


def fallback_from(plan: Plan | None, model_id: str) -> str:
    """The model meant to answer where another did; "" where it did itself. Another instance of it is no fallback."""
    meant = plan.meant if plan else ""
    return meant if model_id and model_id != meant else ""


def experiment_of(plan: Plan | None) -> str | None:
    """`experiment:arm`, where one had a say in the plan."""
    if plan is None or plan.assignment is None:
        return None
    return f"{plan.assignment.experiment}:{plan.assignment.arm}"
