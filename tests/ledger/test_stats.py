"""Totals are right and do not grow with traffic."""

from collections.abc import Iterable

from pointsman.ledger.cost import Spent
from pointsman.ledger.stats import Statistics, statistics_of
from pointsman.ledger.tally import Tally
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


def seen_of(outcomes: Iterable[Outcome] = (), in_flight: int = 0) -> Statistics:
    tally = Tally(("small", "large"), lambda: 1000.0)
    for one in outcomes:
        tally.closed(one, Spent(cost=0.0, baseline_cost=0.0, gpu_s=0.0))
    return statistics_of(tally, in_flight)


def test_totals() -> None:
    answered = [outcome(total_s=number / 1000) for number in range(1, 101)]
    fates = ("error", "client_closed", "refused")
    failed = [outcome("large", total_s=60.0, status=fate, planned="small") for fate in fates]
    seen = seen_of([*answered, *failed], in_flight=1)
    assert (seen.total_requests, seen.in_flight, seen.fallbacks, seen.since_unix_s) == (103, 1, 3, 1000.0)
    assert dict(seen.by_status) == {"success": 100, "client_error": 0, "refused": 1, "error": 1, "client_closed": 1}
    assert [(model.model_id, model.count) for model in seen.models] == [("small", 100), ("large", 3)]
    assert (seen.models[0].percentage, seen.models[0].avg_latency_ms) == (97.09, 50.5)
    assert (seen.average_latency_ms, seen.p50_latency_ms, seen.p95_latency_ms) == (50.5, 50.0, 95.0)
    assert (seen.prompt_tokens, seen.completion_tokens) == (206, 309)


def test_nothing_yet() -> None:
    seen = seen_of()
    assert (seen.total_requests, seen.models, seen.p50_latency_ms, seen.average_latency_ms) == (0, (), 0.0, 0.0)


def test_misspelt_names_and_old_latencies_are_forgotten() -> None:
    misspelt = [outcome("", asked=f"smal{number}", status="client_error") for number in range(3000)]
    seen = seen_of([*misspelt, *(outcome(total_s=9.0 if number < 2000 else 0.5) for number in range(3000))])
    assert {model.model_id for model in seen.models} == {"small", "unknown"}
    assert (seen.p50_latency_ms, seen.p95_latency_ms) == (500.0, 500.0)
