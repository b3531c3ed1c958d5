"""Rows decided again: whom they would have gone to, what stays exactly as it was, why a row is left out."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pointsman.learning.replay import Again, Figure, Replayer, Report, report_of
from pointsman.ledger.cost import Prices
from pointsman.ledger.record import record_of
from pointsman.policy.bandit import SIZE
from pointsman.policy.catalogue import cards_of
from pointsman.policy.router import Router
from pointsman.settings import Settings, parse
from pointsman.testing.decisions import ask, cold, hot, measured, world
from pointsman.types import Attempt, Limits, Outcome, Request, Signals, Usage, World
from pointsman.types_learned import Learned
from pointsman.types_record import Record

MODELS = """
models:
  - {id: small, backend: openai, url: "http://h/1", quality: {general: 0.6, code: 0.4}, cost_per_mtok: 1}
  - {id: large, backend: openai, url: "http://h/2", quality: {general: 0.8, code: 0.8}, cost_per_mtok: 10}
"""
QUALITY = parse("routing: {strategy: quality}" + MODELS)
CHEAP = parse("routing: {strategy: cost}" + MODELS)
TRIES = parse("routing: {strategy: quality, bandit: {enabled: true, epsilon_max: 0.3, margin: 0.5}}" + MODELS)
SEEN = world(hot("small"), hot("large"))


def row(
    settings: Settings = QUALITY,
    request: Request | None = None,
    signals: Signals | None = None,
    seen: World = SEEN,
) -> Record:
    """A row of a request that the first candidate answered with 300 tokens."""
    request, signals = request or ask(), signals or measured()
    plan = Router(settings).decide(request, signals, seen)
    answered = plan.candidates[0]
    outcome = Outcome(
        request_id=request.id,
        kind=request.kind,
        asked_model=request.model,
        status="success",
        http_status=200,
        signals=signals,
        plan=plan,
        attempts=(Attempt(deployment_id=answered.deployment_id, model_id=answered.model_id, started_s=0.0),),
        usage=Usage(prompt_tokens=signals.prompt_tokens, completion_tokens=280),
        stream=False,
        total_s=2.0 if answered.model_id == "large" else 1.0,
        classify_s=0.0,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=1.0,
        first_byte_s=1.0,
        limits=request.limits,
        world=seen,
    )
    return record_of(outcome, Prices(cards_of(settings)).spent(outcome))


def rows(settings: Settings, count: int = 400) -> list[Record]:
    return [row(settings, ask(request_id=f"r{number}")) for number in range(count)]


def figure(report: Report, name: str) -> Figure:
    return next(one for one in report.figures if one.name == name)


def again(settings: Settings, record: Record) -> Again:
    found = Replayer(settings).again(record)
    assert isinstance(found, Again), found
    return found


def test_the_same_settings_change_nothing() -> None:
    report = report_of(rows(QUALITY), Replayer(QUALITY))
    assert [(one.from_model, one.to_model, one.requests) for one in report.moved] == [("large", "large", 400)]
    for one in report.figures:
        if not one.estimates.refused:
            assert (one.estimates.change.low, one.estimates.change.high) == pytest.approx((0, 0), abs=1e-12)
            assert one.estimates.support.stays == 1.0


def test_another_strategy_moves_requests_and_costs() -> None:
    """The log tried the small one now and then, so that its figures are known."""
    report = report_of(rows(TRIES), Replayer(CHEAP))
    assert {one.to_model for one in report.moved} == {"small"}
    cost = figure(report, "cost").estimates
    assert cost.dr.value == pytest.approx(300e-6)
    assert cost.old.value > 2000e-6
    assert cost.support.chance == pytest.approx(1.0)
    assert figure(report, "latency").estimates.dr.value == pytest.approx(1.0, abs=0.01)


def test_chances_are_replayed_not_draws() -> None:
    found = again(TRIES, row(TRIES))
    assert found.old == found.new
    assert sum(chance for _, chance in found.new) == pytest.approx(1.0)
    report = report_of(rows(TRIES), Replayer(TRIES))
    assert figure(report, "cost").estimates.change.value == pytest.approx(0.0, abs=300e-6)
    assert figure(report, "cost").estimates.support.mean_weight == pytest.approx(1.0)


def test_without_chance_and_without_answers_there_is_no_figure() -> None:
    report = report_of(rows(QUALITY), Replayer(CHEAP))
    assert report.strangers == ("small",)
    assert figure(report, "cost").estimates.refused
    assert figure(report, "cost").estimates.support.none == 1.0


def test_verdicts_are_estimated_where_there_are_some() -> None:
    judged = [
        replace(one, feedback=float(one.model_id == "large") if number % 2 else None)
        for number, one in enumerate(rows(TRIES))
    ]
    found = figure(report_of(judged, Replayer(CHEAP)), "verdicts").estimates
    assert found.dr.value == pytest.approx(0.0, abs=1e-9)
    assert found.old.value > 0.6
    assert found.outcomes == 200


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"cached_model": "small"}, "answered from the cache"),
        ({"status": "refused"}, "did not end in an answer (refused)"),
        ({"world": ""}, "says nothing of what was decided"),
        ({"plan": ""}, "says nothing of what was decided"),
        ({"signals": '{"use_case": 7}'}, "not a row of this version"),
        ({"kind": "poem"}, "not a row of this version"),
        ({"asked_model": "gone"}, "nobody could have answered (model_not_found)"),
    ],
)
def test_what_cannot_be_decided_again_says_why(changed: dict[str, Any], why: str) -> None:
    report = report_of([replace(row(), **changed), row()], Replayer(QUALITY))
    assert (report.rows, report.replayed) == (2, 1)
    assert report.left[0].why.startswith(why)


def test_limits_and_names_count_as_they_did() -> None:
    thrifty = ask(limits=Limits(max_cost_per_mtok=5.0))
    assert again(QUALITY, row(request=thrifty)).new == (("small", 1.0),)
    assert again(CHEAP, row(request=ask(model="large"))).new == (("large", 1.0),)


def test_a_model_that_is_new_is_there_as_after_a_start() -> None:
    grown = parse(
        "routing: {strategy: quality}"
        + MODELS
        + '  - {id: new, backend: openai, url: "http://h/3", quality: {general: 1}}'
    )
    record = row()
    alone = Replayer(grown).again(record)
    found = Replayer(grown, fresh=(hot("small"), hot("large"), hot("new"))).again(record)
    assert isinstance(alone, Again)
    assert isinstance(found, Again)
    assert alone.new == (("large", 1.0),)
    assert found.new == (("new", 1.0),)


def test_the_fleet_counts_as_it_was() -> None:
    balanced = parse("routing: {strategy: latency}" + MODELS)
    found = again(balanced, row(request=ask(), seen=world(hot("small"), cold("large", ready_in_s=60))))
    assert found.new == (("small", 1.0),)


def test_ties_fall_as_they_fell() -> None:
    """The words that broke them are not in the row."""
    equal = parse(MODELS.replace("0.8, code: 0.8", "0.6, code: 0.4").replace("mtok: 10", "mtok: 1"))
    for number in range(20):
        record = row(equal, ask(f"question {number}"))
        assert again(equal, record).new == ((again(equal, record).first, 1.0),)
    assert len({again(equal, row(equal, ask(f"question {number}"))).first for number in range(20)}) == 2
    assert again(equal, row(equal, ask(model="large"))).new == (("large", 1.0),)
    assert dict(again(equal, row(TRIES)).new) == {"small": 0.5, "large": 0.5}


def test_the_experiments_of_the_new_settings_split_the_traffic() -> None:
    pair = "experiments: [{name: size, kind: small_large, control: large, treatment: small, rollout: [0.2, 0.5]}]"
    trial = parse(f"routing: {{strategy: quality}}\n{pair}{MODELS}")
    assert dict(again(trial, row(TRIES)).new) == pytest.approx({"small": 0.2, "large": 0.8})
    assert again(trial, row(TRIES, signals=measured(complexity="low"))).new == (("small", 1.0),)
    cost = figure(report_of(rows(TRIES), Replayer(trial)), "cost").estimates
    assert cost.dr.value == pytest.approx(0.2 * 300e-6 + 0.8 * 3000e-6)


def test_what_verdicts_taught_counts() -> None:
    praise = Learned(model_id="small", weights=(0.5,) + (0.0,) * (SIZE - 1), n=500.0)
    found = Replayer(TRIES, learned=(praise,)).again(row(TRIES))
    assert isinstance(found, Again)
    assert found.new[0][0] == "small"


def test_a_report_is_the_same_every_time() -> None:
    log = rows(TRIES, 200)
    one, other = (msgspec.json.encode(report_of(log, Replayer(CHEAP))) for _ in range(2))
    assert one == other
