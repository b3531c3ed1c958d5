"""Every figure of `/v1/model-routing/stats`: the contract's members, sums that add up, intervals that are right."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.ledger.test_record import CARDS, outcome, signals

from pointsman.ledger.cost import Prices
from pointsman.ledger.intervals import normal, wilson
from pointsman.ledger.report import FEWEST, Facts, as_json, report_of
from pointsman.ledger.tally import MOST, MOST_NEW, Tally
from pointsman.types import Attempt, Outcome, Usage
from pointsman.types_feedback import Feedback, Judged

CONTRACT = (
    "total_requests",
    "model_distribution",
    "average_latency_ms",
    "baseline_latency_ms",
    "latency_improvement_pct",
    "estimated_cost_savings_pct",
    "ab_test_ratio",
    "routing_enabled",
)
PRICES = Prices(CARDS)
FACTS = Facts(baseline_model="large", routing_enabled=True, ab_test_ratio=0.5)


def answered(model: str = "small", total_s: float = 1.0, tokens: int = 10, **changed: Any) -> Outcome:
    attempt = Attempt(deployment_id=model, model_id=model, started_s=0.0)
    usage = Usage(prompt_tokens=20, completion_tokens=tokens)
    return replace(outcome(), attempts=(attempt,), total_s=total_s, usage=usage, plan=None, **changed)


def tallied(*outcomes: Outcome) -> Tally:
    tally = Tally(("small", "large"), lambda: 5.0)
    for one in outcomes:
        tally.closed(one, PRICES.spent(one))
    return tally


def judged(value: float, replaces: float | None = None, model: str = "small") -> Judged:
    given = Feedback(request_id="r", value=value, source="score")
    return Judged(feedback=given, model_id=model, use_case="agent", intent="code", language="en", replaces=replaces)


def page(tally: Tally, facts: Facts = FACTS) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(as_json(report_of(tally, facts)))
    return decoded


def test_the_contracts_members_come_first_in_its_order() -> None:
    found = page(tallied(answered()))
    assert tuple(found)[: len(CONTRACT)] == CONTRACT
    assert next(iter(found["model_distribution"]["small"])) == "count"
    assert {"count", "percentage", "avg_latency_ms"} <= set(found["model_distribution"]["small"])


def test_nothing_yet_is_no_number_out_of_nothing() -> None:
    found = page(tallied())
    assert (found["total_requests"], found["average_latency_ms"]) == (0, 0.0)
    assert [found[name] for name in CONTRACT[3:6]] == [None, None, None]
    assert list(found["model_distribution"]) == ["small", "large"]


def test_shares_add_up() -> None:
    found = page(tallied(answered(), answered(), answered("large", 3.0), answered("gone")))
    shares = {name: (group["count"], group["percentage"]) for name, group in found["model_distribution"].items()}
    assert shares == {"small": (2, 50.0), "large": (1, 25.0), "unknown": (1, 25.0)}
    assert found["average_latency_ms"] == 1500.0
    assert found["intents"]["code"]["count"] == found["languages"]["en"]["count"] == 4


def test_only_whole_answers_of_models_have_a_latency() -> None:
    kept = replace(outcome(), attempts=(), cached_model="small", cache="hit", total_s=0.001, plan=None)
    failed = answered(total_s=50.0, status="error")
    found = page(tallied(answered(total_s=2.0), failed, kept))
    assert found["average_latency_ms"] == 2000.0
    assert (found["by_status"]["error"], found["cache"]["hit"]) == (1, 1)
    assert found["model_distribution"]["small"]["success_rate"] == pytest.approx(2 / 3, abs=1e-6)


def test_what_the_large_one_alone_would_have_taken() -> None:
    """It takes 1 s and 0.1 s a token; it wrote 10 to 19, the small one 4."""
    large = [answered("large", 1.0 + 0.1 * tokens, tokens) for tokens in range(10, 10 + FEWEST)]
    small = [answered("small", 0.5, 4) for _ in range(FEWEST)]
    found = page(tallied(*large, *small))
    mean_tokens = (sum(range(10, 20)) + 4 * FEWEST) / (2 * FEWEST)
    assert found["baseline_latency_ms"] == pytest.approx(1000 * (1.0 + 0.1 * mean_tokens))
    average_ms = (2450 + 500) / 2
    improved = 100 * (1 - average_ms / found["baseline_latency_ms"])
    assert found["latency_improvement_pct"] == pytest.approx(improved, abs=0.01)
    assert page(tallied(*large[1:], *small))["baseline_latency_ms"] is None


def test_money_is_held_against_the_large_one() -> None:
    found = page(tallied(answered(), answered("large")))
    assert found["cost"]["total"] == pytest.approx((30 * 1 + 30 * 10) / 1e6)
    assert found["cost"]["baseline"] == pytest.approx(60 * 10 / 1e6)
    assert found["estimated_cost_savings_pct"] == 45.0


def test_verdicts_count_once_however_often_they_change() -> None:
    tally = tallied(answered())
    for verdict in (judged(1.0), judged(0.5, 1.0), judged(0.0, model="large")):
        tally.judged(verdict)
    found = page(tally)
    assert (found["feedback"]["count"], found["feedback"]["mean"]) == (2, 0.25)
    assert found["model_distribution"]["small"]["feedback"] == 0.5
    assert found["languages"]["en"]["verdicts"] == 2


def test_arms_stand_under_their_experiment() -> None:
    one = outcome()
    found = page(tallied(one, one))["experiments"]
    assert (found["size"]["large"]["count"], found["size"]["large"]["percentage"]) == (2, 100.0)


def test_nobody_sees_what_another_spends() -> None:
    tally = tallied(replace(answered(), tenant="ann"), replace(answered(), tenant="bob"))
    assert list(page(tally)["keys"]) == ["ann", "bob"]
    assert list(page(tally, replace(FACTS, tenant="ann"))["keys"]) == ["ann"]
    assert page(tally, replace(FACTS, tenant=""))["keys"] == {}


def test_a_reset_begins_anew() -> None:
    tally = tallied(answered())
    tally.reset()
    found = page(tally, replace(FACTS, in_flight=1))
    assert (found["total_requests"], found["in_flight"], found["cost"]["total"]) == (0, 1, 0.0)


def test_what_callers_name_cannot_fill_memory() -> None:
    named = [replace(signals(), language=replace(signals().language, label=f"x{n}")) for n in range(3 * MOST)]
    found = page(tallied(*(answered(signals=one) for one in named)))["languages"]
    assert len(found) == MOST + 1
    assert found["other"]["count"] == 2 * MOST
    assert sum(group["count"] for group in found.values()) == 3 * MOST


def test_asking_often_changes_nothing() -> None:
    often, seldom = tallied(), tallied()
    for number in range(4 * MOST_NEW):
        one = answered(("small", "large")[number % 2], tenant=f"t{number % (2 * MOST_NEW)}")
        for tally in (often, seldom):
            tally.closed(one, PRICES.spent(one))
            tally.judged(judged(0.5, model="large"))
        page(often)
    found = page(seldom)
    assert found["cost"] == pytest.approx(page(often)["cost"])
    assert found | {"cost": {}} == page(often) | {"cost": {}}


def test_a_new_model_has_sums_of_its_own() -> None:
    tally = tallied(answered("new"))
    tally.know(("new",))
    tally.closed(answered("new"), PRICES.spent(answered("new")))
    assert {name: group["count"] for name, group in page(tally)["model_distribution"].items()} == {
        "small": 0, "large": 0, "unknown": 1, "new": 1,
    }  # fmt: skip


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_wilson_holds_the_mean_and_stays_in_bounds(values: list[float]) -> None:
    low, high = wilson(sum(values), len(values)) or (math.nan, math.nan)
    assert 0 <= low <= sum(values) / len(values) + 1e-9
    assert sum(values) / len(values) - 1e-9 <= high <= 1


def test_intervals_are_those_of_the_books() -> None:
    """Wilson 1927 for 8 of 10, as tabulated (0.4902, 0.9433); the normal one from its definition."""
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    values = [1.0, 2.0, 4.0, 5.0]
    deviation = math.sqrt(sum((value - 3) ** 2 for value in values) / 3)
    half = 1.959964 * deviation / 2
    assert normal(4, 12.0, 46.0) == pytest.approx((3 - half, 3 + half))
    assert (wilson(0, 0), normal(1, 1.0, 1.0)) == (None, None)
