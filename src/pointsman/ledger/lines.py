"""The values that become log lines. Pure.

Invariants: no prompt, no answer, no key, no error text (an upstream's may quote the prompt) is ever in a line: only
names, labels of closed sets, codes and numbers. The field order is part of the contract.
"""

from datetime import UTC, datetime
from typing import Literal

from pointsman.redact import Hide, redact
from pointsman.types import Attempt, Outcome, Scored, Value

Level = Literal["debug", "info", "warning", "error"]
LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
LEVEL_OF: dict[str, Level] = {
    "success": "info",
    "client_closed": "info",
    "client_error": "info",
    "refused": "warning",
    "error": "error",
}
MAX_NAME_CHARS = 128
"""Callers choose `model` and may choose the request id: neither may fill the log, or write a key into it."""


class AttemptLine(Value, frozen=True):
    """One attempt, without what the upstream said."""

    deployment: str
    model: str
    error: str
    wait_s: float
    first_byte_s: float | None


class RequestLine(Value, frozen=True):
    """The canonical line. Times in seconds; `*_p` are the classifier's probabilities; `cost` as the ledger's row
    has it, None where prices are not known."""

    ts: datetime
    level: Level
    event: str
    request_id: str
    tenant: str
    kind: str
    asked_model: str
    model: str
    fallback_from: str
    status: str
    http_status: int
    error: str
    use_case: str | None
    use_case_p: float | None
    intent: str | None
    intent_p: float | None
    language: str | None
    language_p: float | None
    complexity: str | None
    complexity_p: float | None
    strategy: str | None
    experiment: str | None
    arm: str | None
    cache: str
    attempts: tuple[AttemptLine, ...]
    stream: bool
    events: int
    reply_bytes: int
    prompt_tokens: int
    completion_tokens: int
    tokens_estimated: bool
    cost: float | None
    classify_s: float
    decide_s: float
    wait_s: float
    upstream_s: float
    first_byte_s: float | None
    total_s: float
    overhead_s: float


class Event(Value, frozen=True):
    """Something in the server's life: a `name` such as `model_loaded`, a sentence for people, details for machines."""

    name: str
    message: str = ""
    level: Level = "info"
    details: tuple[tuple[str, str | int | float | bool | None], ...] = ()


def line_of(outcome: Outcome, hide: Hide = redact, cost: float | None = None) -> RequestLine:
    """The canonical line of an Outcome, stamped with the moment it ended; `hide` sees whatever a caller chose."""
    signals, plan = outcome.signals, outcome.plan
    assignment = plan.assignment if plan else None
    use_case, use_case_p = _label(signals.use_case if signals else None)
    intent, intent_p = _label(signals.intent if signals else None)
    language, language_p = _label(signals.language if signals else None)
    complexity, complexity_p = _label(signals.complexity if signals else None)
    model = outcome.cached_model or outcome.answered_by
    return RequestLine(
        ts=datetime.fromtimestamp(outcome.received_unix_s + outcome.total_s, UTC),
        level=LEVEL_OF[outcome.status],
        event="request",
        request_id=hide(outcome.request_id)[:MAX_NAME_CHARS],
        tenant=outcome.tenant[:MAX_NAME_CHARS],
        kind=outcome.kind,
        asked_model=hide(outcome.asked_model[: 4 * MAX_NAME_CHARS])[:MAX_NAME_CHARS],
        model=model,
        fallback_from=outcome.fallback_from,
        status=outcome.status,
        http_status=outcome.http_status,
        error=outcome.error,
        use_case=use_case,
        use_case_p=use_case_p,
        intent=intent,
        intent_p=intent_p,
        language=language,
        language_p=language_p,
        complexity=complexity,
        complexity_p=complexity_p,
        strategy=plan.strategy if plan else None,
        experiment=assignment.experiment if assignment else None,
        arm=assignment.arm if assignment else None,
        cache=outcome.cache,
        attempts=tuple(_attempt(attempt) for attempt in outcome.attempts),
        stream=outcome.stream,
        events=outcome.events,
        reply_bytes=outcome.reply_bytes,
        prompt_tokens=outcome.usage.prompt_tokens,
        completion_tokens=outcome.usage.completion_tokens,
        tokens_estimated=outcome.usage.is_estimated,
        cost=cost,
        classify_s=round(outcome.classify_s, 6),
        decide_s=round(outcome.decide_s, 6),
        wait_s=round(outcome.wait_s, 6),
        upstream_s=round(outcome.upstream_s, 6),
        first_byte_s=_rounded(outcome.first_byte_s),
        total_s=round(outcome.total_s, 6),
        overhead_s=round(outcome.overhead_s, 6),
    )


def _attempt(attempt: Attempt) -> AttemptLine:
    first_byte_s = None if attempt.first_byte_s is None else attempt.first_byte_s - attempt.started_s
    return AttemptLine(
        deployment=attempt.deployment_id,
        model=attempt.model_id,
        error=attempt.error,
        wait_s=round(attempt.wait_s, 6),
        first_byte_s=_rounded(first_byte_s),
    )


def _label(scored: Scored | None) -> tuple[str | None, float | None]:
    return (None, None) if scored is None else (scored.label, round(scored.p, 3))


def _rounded(duration_s: float | None) -> float | None:
    return None if duration_s is None else round(duration_s, 6)
