"""Totals are right and do not grow with traffic."""

from pointsman.ledger.stats import Stats
from pointsman.testing.decisions import measured
from pointsman.types import Attempt, Candidate, Kind, Outcome, Plan, Usage


def outcome(
    model: str = "small", total_s: float = 0.1, status: str = "success", planned: str = "", asked: str = "auto"
) -> Outcome:
    attempts = (Attempt(deployment_id=model, model_id=model, started_s=0.0),) if model else ()
    candidates = (Candidate(deployment_id=planned, model_id=planned, score=1.0),) if planned else ()
    return Outcome(
        request_id="r",
        kind=Kind.CHAT,
        asked_model=asked,
        status=status,
        http_status=200,
        signals=measured(),
        plan=Plan(candidates=candidates, rejected=(), strategy="balanced", reason=""),
        attempts=attempts,
        usage=Usage(prompt_tokens=2, completion_tokens=3),
        stream=False,
        total_s=total_s,
        classify_s=0.0,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=0.0,
        first_byte_s=None,
    )


def test_totals() -> None:
    stats = Stats(("small", "large"), 1000.0, lambda: 1)
    for number in range(1, 101):
        stats.closed(outcome(total_s=number / 1000))
    for fate in ("error", "client_closed", "refused"):
        stats.closed(outcome("large", total_s=60.0, status=fate, planned="small"))
    seen = stats.snapshot()
    assert (seen.total_requests, seen.in_flight, seen.fallbacks, seen.since_unix_s) == (103, 1, 3, 1000.0)
    assert dict(seen.by_status) == {"success": 100, "client_error": 0, "refused": 1, "error": 1, "client_closed": 1}
    assert [(model.model_id, model.count) for model in seen.models] == [("small", 100), ("large", 3)]
    assert (seen.models[0].percentage, seen.models[0].avg_latency_ms) == (97.09, 50.5)
    assert (seen.average_latency_ms, seen.p50_latency_ms, seen.p95_latency_ms) == (50.5, 50.0, 95.0)
    assert (seen.prompt_tokens, seen.completion_tokens) == (206, 309)


def test_nothing_yet() -> None:
    seen = Stats(("small",), 0.0).snapshot()
    assert (seen.total_requests, seen.models, seen.p50_latency_ms, seen.average_latency_ms) == (0, (), 0.0, 0.0)


def test_misspelt_names_and_old_latencies_are_forgotten() -> None:
    stats = Stats(("small",), 0.0)
    for number in range(3000):
        stats.closed(outcome("", asked=f"smal{number}", status="client_error"))
        stats.closed(outcome(total_s=9.0 if number < 2000 else 0.5))
    seen = stats.snapshot()
    assert {model.model_id for model in seen.models} == {"small", "unknown"}
    assert (seen.p50_latency_ms, seen.p95_latency_ms) == (500.0, 500.0)
