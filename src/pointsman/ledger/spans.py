"""One Outcome as the spans of a trace. Pure.

Names follow OpenTelemetry's semantic conventions for HTTP servers and for generative AI (`gen_ai.*`, in development
there); what they have no word for is `pointsman.*`.
Invariants: no prompt, no answer, no error text (an upstream's may quote the prompt) is ever in a span; what a caller
chose is cut to a length; children lie within their parent.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from pointsman.types import Attempt, Kind, Outcome, Signals, Value
from pointsman.types_trace import Trace, child_id

Attribute = tuple[str, str | int | float | bool]
OPERATION = {Kind.CHAT: "chat", Kind.COMPLETION: "text_completion", Kind.EMBEDDING: "embeddings"}
"""The conventions' words; other kinds keep ours."""
MAX_NAME_CHARS = 128


class Span(Value, frozen=True):
    """One span. Times are seconds since 1970; `error` is a code of `errors.TABLE`, empty where all went well."""

    name: str
    kind: Literal["server", "client", "internal"]
    trace_id: str
    span_id: str
    parent_id: str
    start_unix_s: float
    end_unix_s: float
    attributes: tuple[Attribute, ...] = ()
    error: str = ""
    is_fault: bool = False


def spans_of(outcome: Outcome, names: Mapping[str, str], providers: Mapping[str, str]) -> tuple[Span, ...]:
    """The request, and in it: classify, decide, each attempt with its wait. Nothing for a request without a trace.

    `names` and `providers` give a model's long name and its engine by its id.
    """
    trace = outcome.trace
    if trace is None or not trace.is_recorded:
        return ()
    shift_s = outcome.received_unix_s - outcome.arrived_s
    end_unix_s = outcome.received_unix_s + outcome.total_s
    server = Span(
        name=f"{_operation(outcome)} {outcome.asked_model[:MAX_NAME_CHARS]}",
        kind="server",
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=trace.parent_id,
        start_unix_s=outcome.received_unix_s,
        end_unix_s=end_unix_s,
        attributes=tuple(_of_request(outcome, names, providers)),
        error=outcome.error,
        is_fault=outcome.http_status >= 500,
    )
    phases = tuple(_phases(outcome, trace, shift_s))
    attempts = (
        span for one in outcome.attempts for span in _of_attempt(one, outcome, trace, shift_s, names, providers)
    )
    return (server, *phases, *attempts)


def _operation(outcome: Outcome) -> str:
    return OPERATION.get(outcome.kind, outcome.kind.value)


def _of_request(outcome: Outcome, names: Mapping[str, str], providers: Mapping[str, str]) -> Iterator[Attribute]:
    model = outcome.cached_model or outcome.answered_by
    yield "http.request.method", "POST"
    yield "http.response.status_code", outcome.http_status
    yield "gen_ai.operation.name", _operation(outcome)
    yield "gen_ai.request.model", outcome.asked_model[:MAX_NAME_CHARS]
    if model:
        yield "gen_ai.provider.name", providers.get(model, model)
        yield "gen_ai.response.model", names.get(model, model)
    if outcome.conversation:
        yield "gen_ai.conversation.id", outcome.conversation
    yield from _usage(outcome)
    if outcome.error:
        yield "error.type", outcome.error
    yield "pointsman.request_id", outcome.request_id[:MAX_NAME_CHARS]
    yield "pointsman.status", outcome.status
    yield "pointsman.cache", outcome.cache
    yield "pointsman.overhead_s", round(outcome.overhead_s, 6)
    if outcome.first_byte_s is not None:
        yield "pointsman.first_byte_s", round(outcome.first_byte_s, 6)
    if outcome.tenant:
        yield "pointsman.tenant", outcome.tenant[:MAX_NAME_CHARS]


def _usage(outcome: Outcome) -> Iterator[Attribute]:
    if outcome.usage.total_tokens:
        yield "gen_ai.usage.input_tokens", outcome.usage.prompt_tokens
        yield "gen_ai.usage.output_tokens", outcome.usage.completion_tokens
        if outcome.usage.is_estimated:
            yield "pointsman.tokens_estimated", True


def _phases(outcome: Outcome, trace: Trace, shift_s: float) -> Iterator[Span]:
    """Deciding ends where the first attempt begins; without one both stand at the request's beginning."""
    first_s = outcome.attempts[0].started_s if outcome.attempts else None
    decided_s = outcome.arrived_s + outcome.classify_s + outcome.decide_s if first_s is None else first_s
    classified_s = decided_s - outcome.decide_s
    if outcome.signals is not None and not outcome.cached_model:
        began_s = max(outcome.arrived_s, classified_s - outcome.classify_s)
        what = tuple(_of_signals(outcome.signals))
        yield _phase("classify", trace, began_s + shift_s, classified_s + shift_s, what)
    if outcome.plan is not None:
        plan, chance = outcome.plan, outcome.plan.assignment
        told: tuple[Attribute, ...] = (
            ("pointsman.strategy", plan.strategy),
            ("pointsman.candidates", len(plan.candidates)),
            ("pointsman.rejected", len(plan.rejected)),
        )
        told += (("pointsman.experiment", chance.experiment), ("pointsman.arm", chance.arm)) if chance else ()
        yield _phase("decide", trace, classified_s + shift_s, decided_s + shift_s, told)


def _of_signals(signals: Signals) -> Iterator[Attribute]:
    for name, scored in (
        ("use_case", signals.use_case),
        ("intent", signals.intent),
        ("language", signals.language),
        ("complexity", signals.complexity),
    ):
        yield f"pointsman.{name}", scored.label
        yield f"pointsman.{name}_p", round(scored.p, 3)
    yield "pointsman.stage", signals.stage


def _phase(name: str, trace: Trace, start_s: float, end_s: float, attributes: tuple[Attribute, ...]) -> Span:
    return Span(
        name=name,
        kind="internal",
        trace_id=trace.trace_id,
        span_id=child_id(trace.span_id, name),
        parent_id=trace.span_id,
        start_unix_s=start_s,
        end_unix_s=max(start_s, end_s),
        attributes=attributes,
    )


def _of_attempt(
    attempt: Attempt,
    outcome: Outcome,
    trace: Trace,
    shift_s: float,
    names: Mapping[str, str],
    providers: Mapping[str, str],
) -> Iterator[Span]:
    """The one that answered lasts until the answer's end; its first byte is an attribute."""
    started_s = attempt.started_s
    ended_s = attempt.ended_s if attempt.error else outcome.arrived_s + outcome.total_s
    model = names.get(attempt.model_id, attempt.model_id)
    told: list[Attribute] = [
        ("gen_ai.operation.name", _operation(outcome)),
        ("gen_ai.provider.name", providers.get(attempt.model_id, attempt.model_id)),
        ("gen_ai.request.model", model),
        ("pointsman.deployment", attempt.deployment_id),
        ("pointsman.is_hedge", attempt.is_hedge),
    ]
    if attempt.first_byte_s is not None:
        told.append(("pointsman.first_byte_s", round(attempt.first_byte_s - started_s, 6)))
    if attempt.error:
        told.append(("error.type", attempt.error))
    else:
        told += [("gen_ai.response.model", model), *_usage(outcome)]
    child = trace.of_call(attempt.deployment_id, attempt.started_s)
    yield Span(
        name=f"{_operation(outcome)} {model}",
        kind="client",
        trace_id=child.trace_id,
        span_id=child.span_id,
        parent_id=child.parent_id,
        start_unix_s=started_s + shift_s,
        end_unix_s=max(started_s, ended_s) + shift_s,
        attributes=tuple(told),
        error=attempt.error,
        is_fault=bool(attempt.error),
    )
    if attempt.wait_s > 0:
        yield _phase("wait", child, started_s + shift_s, started_s + attempt.wait_s + shift_s, ())
