"""The spans of one Outcome: names, times, parents, and what must never be in them."""

from typing import Any

import msgspec

from pointsman.ledger.spans import Span, spans_of
from pointsman.testing.decisions import measured
from pointsman.types import Assignment, Attempt, Candidate, Kind, Outcome, Plan, Usage
from pointsman.types_trace import Trace

TRACE = Trace(trace_id="a" * 32, span_id="b" * 16, parent_id="c" * 16, is_sampled=True, is_recorded=True)
PLAN = Plan(
    candidates=(Candidate(deployment_id="small#0", model_id="small", score=0.9),),
    rejected=(),
    strategy="balanced",
    reason="small is enough",
    assignment=Assignment(experiment="pair", arm="small", propensity=0.5),
)
FAILED = Attempt(
    deployment_id="small#0",
    model_id="small",
    started_s=100.5,
    wait_s=0.25,
    ended_s=101.0,
    error="upstream_error",
    detail="You asked: SECRET",
)
ANSWERED = Attempt(deployment_id="large#0", model_id="large", started_s=101.5, first_byte_s=102.0, ended_s=102.0)
OUTCOME = Outcome(
    request_id="r1",
    kind=Kind.CHAT,
    asked_model="auto",
    status="success",
    http_status=200,
    signals=measured("code"),
    plan=PLAN,
    attempts=(FAILED, ANSWERED),
    usage=Usage(prompt_tokens=9, completion_tokens=4),
    stream=True,
    total_s=3.0,
    classify_s=0.1,
    decide_s=0.05,
    wait_s=0.25,
    upstream_s=2.0,
    first_byte_s=2.0,
    received_unix_s=5000.0,
    arrived_s=100.0,
    prompt="SECRET",
    trace=TRACE,
)


def spans(**changes: Any) -> list[Span]:
    outcome = msgspec.structs.replace(OUTCOME, **changes)
    return list(spans_of(outcome, {"large": "Large 8B"}, {"small": "llama_cpp", "large": "vllm"}))


def named(found: list[Span], name: str) -> Span:
    (span,) = [span for span in found if span.name == name]
    return span


def test_a_request_is_a_server_span_with_its_phases_and_attempts_inside() -> None:
    found = spans()
    assert [(span.name, span.kind) for span in found] == [
        ("chat auto", "server"),
        ("classify", "internal"),
        ("decide", "internal"),
        ("chat small", "client"),
        ("wait", "internal"),
        ("chat Large 8B", "client"),
    ]
    server = found[0]
    assert (server.span_id, server.parent_id) == (TRACE.span_id, TRACE.parent_id)
    assert (server.start_unix_s, server.end_unix_s) == (5000.0, 5003.0)
    by_id = {span.span_id: span for span in found}
    assert len(by_id) == len(found)
    for span in found[1:]:
        parent = by_id[span.parent_id]
        assert parent.start_unix_s <= span.start_unix_s <= span.end_unix_s <= parent.end_unix_s
    assert named(found, "wait").parent_id == named(found, "chat small").span_id


def test_times_are_those_of_the_request() -> None:
    found = spans()
    times = {span.name: (round(span.start_unix_s, 6), round(span.end_unix_s, 6)) for span in found}
    assert times["classify"] == (5000.35, 5000.45)
    assert times["decide"] == (5000.45, 5000.5)
    assert times["chat small"] == (5000.5, 5001.0)
    assert times["wait"] == (5000.5, 5000.75)
    assert times["chat Large 8B"] == (5001.5, 5003.0)  # until its last byte


def test_names_are_those_of_the_conventions() -> None:
    found = spans()
    server, answered, failed = (dict(named(found, n).attributes) for n in ("chat auto", "chat Large 8B", "chat small"))
    for told, asked, provider in ((server, "auto", "vllm"), (answered, "Large 8B", "vllm")):
        assert told["gen_ai.operation.name"] == "chat"
        assert told["gen_ai.request.model"] == asked
        assert told["gen_ai.response.model"] == "Large 8B"
        assert told["gen_ai.provider.name"] == provider
        assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (9, 4)
    assert failed["error.type"] == "upstream_error"
    assert "gen_ai.response.model" not in failed
    assert named(found, "chat small").is_fault
    assert not named(found, "chat auto").is_fault
    assert dict(named(found, "decide").attributes)["pointsman.experiment"] == "pair"
    assert dict(named(found, "classify").attributes)["pointsman.intent"] == "code"


def test_the_upstream_was_told_the_span_of_its_call() -> None:
    told = TRACE.of_call(FAILED.deployment_id, FAILED.started_s)
    assert named(spans(), "chat small").span_id == told.span_id


def test_no_prompt_and_no_upstreams_words_are_in_a_span() -> None:
    assert b"SECRET" not in msgspec.json.encode(spans())


def test_a_kept_answer_has_no_phases() -> None:
    found = spans(attempts=(), plan=None, cache="hit", cached_model="large", first_byte_s=None, usage=Usage())
    assert [span.name for span in found] == ["chat auto"]
    told = dict(found[0].attributes)
    assert told["pointsman.cache"] == "hit"
    assert told["gen_ai.response.model"] == "Large 8B"
    assert "gen_ai.usage.input_tokens" not in told


def test_a_refusal_is_no_fault_of_the_server_and_a_failure_is() -> None:
    refused = spans(attempts=(), plan=None, signals=None, status="refused", http_status=429, error="rate_limited")
    assert (refused[0].error, refused[0].is_fault) == ("rate_limited", False)
    failed = spans(attempts=(FAILED,), status="error", http_status=502, error="upstream_error")
    assert failed[0].is_fault


def test_what_a_caller_chose_is_cut() -> None:
    (server, *_) = spans(asked_model="m" * 5000, request_id="r" * 5000)
    assert len(msgspec.json.encode(server)) < 2000


def test_nothing_is_made_of_a_request_without_a_trace() -> None:
    assert spans(trace=None) == []
    assert spans(trace=msgspec.structs.replace(TRACE, is_recorded=False)) == []
