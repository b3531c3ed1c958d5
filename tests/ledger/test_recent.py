"""The console's memory: bounded, in order, numbered; an hour in buckets whose figures are the traffic's."""

import pytest
from msgspec.structs import replace

from pointsman.ledger.buckets import MOST, MOST_KEYS, OTHER, STEP_S, Buckets
from pointsman.ledger.lines import Event
from pointsman.ledger.recent import MOST_OUTCOMES, Recent, Ring
from pointsman.redact import Redactor
from pointsman.testing.decisions import measured
from pointsman.types import Attempt, Candidate, Kind, Outcome, Plan, Scored, Usage

NOON_S = 1_000_000.0


def outcome(model: str = "small", at_s: float = NOON_S, total_s: float = 0.1, **changed: object) -> Outcome:
    """One that began at `at_s`, meant for and answered by `model`."""
    candidates = (Candidate(deployment_id=model, model_id=model, score=1.0),) if model else ()
    made = Outcome(
        request_id="r",
        kind=Kind.CHAT,
        asked_model="auto",
        status="success",
        http_status=200,
        signals=measured(),
        plan=Plan(candidates=candidates, rejected=(), strategy="balanced", reason=""),
        attempts=(Attempt(deployment_id=model, model_id=model, started_s=0.0),) if model else (),
        usage=Usage(prompt_tokens=2, completion_tokens=3),
        stream=False,
        total_s=total_s,
        classify_s=0.0,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=0.0,
        first_byte_s=None,
        received_unix_s=at_s,
    )
    return replace(made, **changed)


def test_a_ring_numbers_what_it_keeps_and_forgets_the_oldest() -> None:
    ring: Ring[str] = Ring(3)
    assert ring.after(0, 10) == ()
    for letter in "abcde":
        ring.add(letter)
    assert ring.after(0, 10) == ((3, "c"), (4, "d"), (5, "e"))
    assert ring.after(3, 10) == ((4, "d"), (5, "e"))
    assert ring.after(0, 2) == ((4, "d"), (5, "e"))
    assert ring.after(5, 10) == ring.after(9, 10) == ()


def test_it_keeps_the_latest_outcomes_and_finds_them() -> None:
    recent = Recent(lambda: NOON_S)
    for number in range(MOST_OUTCOMES + 20):
        recent.closed(outcome(request_id=f"r{number}"))
    recent.closed(outcome(request_id="r500", status="error"))
    assert recent.outcomes.last == MOST_OUTCOMES + 21
    assert len(recent.outcomes.after(0, 10_000)) == MOST_OUTCOMES
    assert recent.find("r0") is None
    found = recent.find("r500")
    assert found is not None
    assert found.status == "error", "the newer of two that chose the same id"


def test_events_are_kept_without_secrets() -> None:
    recent = Recent(lambda: NOON_S, Redactor("hunter2hunter2"))
    recent.event(Event(name="model_died", message="it said: hunter2hunter2"))
    [(number, told)] = recent.events.after(0, 10)
    assert (number, told.number, told.at_unix_s) == (1, 1, NOON_S)
    assert "hunter2" not in told.event.message
    assert told.event.message.startswith("it said: ")


def test_buckets_count_what_there_was() -> None:
    buckets = Buckets()
    buckets.add(outcome(at_s=NOON_S))
    buckets.add(outcome(at_s=NOON_S + 1, total_s=0.4))
    buckets.add(outcome("large", at_s=NOON_S + STEP_S, plan=outcome("small").plan))
    buckets.add(outcome("large", at_s=NOON_S + STEP_S, cached_model="large", cache="hit", attempts=()))
    buckets.add(outcome("", at_s=NOON_S + STEP_S, status="refused", asked_model="anything"))
    seen = buckets.view(NOON_S + 30)
    first, second = seen.buckets
    language = measured().language.label
    assert (first.at_unix_s, second.at_unix_s) == (NOON_S, NOON_S + STEP_S)
    assert first.counts == (seen.keys.index(("small", "general", language, "success")), 2)
    assert (first.requests, first.tokens, first.fallbacks, first.errors, first.hits) == (2, 6, 0, 0, 0)
    assert (second.requests, second.tokens, second.fallbacks, second.errors, second.hits) == (3, 3, 1, 1, 1)
    assert ("", "general", language, "refused") in seen.keys, "a name that a caller chose is no label"


@pytest.mark.parametrize("total_s", [0.00001, 0.0021, 0.1, 3.7, 250.0])
def test_quantiles_are_near(total_s: float) -> None:
    buckets = Buckets()
    for _ in range(99):
        buckets.add(outcome(at_s=NOON_S - total_s, total_s=total_s))
    [bucket] = buckets.view(NOON_S + 1).buckets
    assert bucket.p50_ms == bucket.p95_ms == pytest.approx(1000 * max(total_s, 0.0001), rel=0.095)


def test_failures_are_no_latency() -> None:
    buckets = Buckets()
    buckets.add(outcome(status="error", total_s=60.0))
    assert buckets.view(NOON_S + 70).buckets[0].p50_ms is None


def test_an_hour_is_kept_and_no_more() -> None:
    buckets = Buckets()
    for number in range(MOST + 50):
        buckets.add(outcome(at_s=NOON_S + number * STEP_S))
    now_s = NOON_S + (MOST + 50) * STEP_S
    assert len(buckets.view(now_s).buckets) == MOST - 1
    assert buckets.view(now_s + 3600).buckets == ()


def test_no_caller_can_fill_it() -> None:
    buckets = Buckets()
    for number in range(5000):
        signals = replace(measured(), language=Scored(label=f"x{number}", p=1.0))
        buckets.add(outcome(signals=signals))
    seen = buckets.view(NOON_S + 1)
    assert len(seen.keys) == MOST_KEYS + 1
    [bucket] = seen.buckets
    counts = dict(zip(bucket.counts[::2], bucket.counts[1::2], strict=True))
    assert counts[seen.keys.index(OTHER)] == 5000 - MOST_KEYS
    assert bucket.requests == 5000
