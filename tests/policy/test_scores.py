"""Score terms: each on its own, and the weights of the strategies."""

import pytest
from msgspec.structs import replace

from pointsman.policy import scores
from pointsman.policy.ask import Ask, needs_of
from pointsman.settings import STRATEGIES, RoutingSettings, StrategyWeights
from pointsman.testing.decisions import ask, cold, hot, measured, world
from pointsman.types import Breaker, Complexity, DeploymentView, Kind, ModelCard, Signals, Tier

CARD = ModelCard(id="m", name="M", kinds=(Kind.CHAT,), quality=(("agent", 0.3), ("code", 0.7)), tokens_per_s=10.0)
HOT = hot("m")


def needs(signals: Signals | None = None, order: tuple[str, ...] = (), default: str = "", budget: int = 0) -> Ask:
    return needs_of(ask(), signals or measured(output_tokens=100), world(budget_bytes=budget), order, default)


def test_every_term_has_a_weight_and_every_weight_a_term() -> None:
    assert [name for name, _ in scores.TERMS]
    assert {name for name, _ in scores.TERMS} == set(StrategyWeights.model_fields)
    assert set(scores.WEIGHTS) == {*STRATEGIES, scores.LAST_RESORT}


@pytest.mark.parametrize(
    ("label", "value", "why"),
    [("code", 0.7, "0.7 for code"), ("general", 0.3, "0.3 for general"), ("video", 0.5, "no figure for video")],
)
def test_quality_is_the_intent_s_else_the_use_case_s(label: str, value: float, why: str) -> None:
    found = scores.quality(needs(measured(label)), CARD, HOT)
    assert found[0] == value
    assert why in found[1]


def test_preference_falls_with_the_place_and_stays_above_nothing() -> None:
    places = [
        scores.preference(needs(order=order), CARD, HOT)[0] for order in (("m",), ("a", "m"), ("a", "b", "m"), ("a",))
    ]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == 4
    assert places[-1] > 0
    assert scores.preference(needs(), CARD, HOT)[0] == scores.NEUTRAL


def test_the_default_model_gains_a_little_when_labels_are_unsure() -> None:
    plain = scores.preference(needs(order=("a", "m")), CARD, HOT)
    raised = scores.preference(needs(order=("a", "m"), default="m"), CARD, HOT)
    assert plain[0] < raised[0] < 1
    assert "default model" in raised[1]


def test_language_counts_as_far_as_it_is_sure() -> None:
    english = replace(CARD, languages=("en",))
    misses = [
        scores.language(needs(measured(language="fr", language_p=p)), english, HOT)[0] for p in (0.9, 0.5, 0.3, 0.0)
    ]
    assert misses == sorted(misses)
    assert misses[0] < misses[1] < misses[2]
    assert scores.language(needs(measured(language="fr")), CARD, HOT)[0] > misses[-1]
    assert scores.language(needs(measured(language="en")), english, HOT)[0] == 1
    assert scores.language(needs(measured(language="und")), english, HOT) == (scores.NEUTRAL, "language not known")


def test_cost_and_latency_are_absolute() -> None:
    assert [scores.cost(needs(), replace(CARD, cost_per_mtok=c), HOT)[0] for c in (0, 1, 3)] == [1, 0.5, 0.25]
    assert scores.latency(needs(), CARD, HOT) == (
        0.5,
        "about 10.0 s for the answer: 10 tokens a second (configured)",
    )
    assert scores.latency(needs(), replace(CARD, tokens_per_s=0), HOT) == (1.0, "speed not known yet")


def test_what_was_measured_counts_before_what_is_configured() -> None:
    unknown = replace(CARD, tokens_per_s=0)
    slow, fast = replace(HOT, latency_s=9.0), replace(HOT, latency_s=0.2)
    for card in (unknown, CARD):
        assert scores.latency(needs(), card, slow)[0] < scores.latency(needs(), card, fast)[0]
    assert scores.latency(needs(), unknown, slow)[1] == (
        "about 9.0 s for the answer: 9.00 s to begin (measured), its pace is not known"
    )
    measured_view = replace(slow, first_token_s=1.5, tokens_per_s=200.0)
    assert scores.latency(needs(), CARD, measured_view)[1] == (
        "about 2.0 s for the answer: 1.50 s to begin (measured), 200 tokens a second (measured)"
    )
    whole_answers_only = replace(slow, first_token_s=0.0, tokens_per_s=50.0)  # their time to begin is in the pace
    assert scores.latency(needs(), CARD, whole_answers_only)[1] == (
        "about 2.0 s for the answer: 50 tokens a second (measured)"
    )


def test_measured_speeds_that_hardly_differ_are_a_tie() -> None:
    views = [replace(HOT, first_token_s=0.3 + noise, tokens_per_s=100 - 50 * noise) for noise in (0.0, 0.01, 0.04)]
    assert len({scores.latency(needs(), CARD, view)[0] for view in views}) == 1
    assert (
        scores.latency(needs(), CARD, replace(HOT, first_token_s=1.3, tokens_per_s=100.0))[0]
        < (scores.latency(needs(), CARD, views[0])[0])
    )


def test_who_was_never_measured_is_tried_before_who_is_slow() -> None:
    unknown = replace(CARD, tokens_per_s=0)
    quick, slow = (replace(HOT, first_token_s=first_s, tokens_per_s=1e4) for first_s in (0.1, 5.0))
    untried, tried, lame = (scores.latency(needs(), unknown, view)[0] for view in (HOT, quick, slow))
    assert untried == tried > lame


def test_a_queue_makes_it_slower() -> None:
    waits = [replace(HOT, in_flight=n, queued=q) for n, q in ((0, 0), (1, 0), (2, 0), (2, 5))]
    values = [scores.latency(needs(), CARD, view)[0] for view in waits]
    assert values[0] == values[1] > values[2] > values[3]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (HOT, cold("m", ready_in_s=0)),
        (HOT, replace(HOT, ready_in_s=1)),
        (replace(HOT, tier=Tier.WARM, ready_in_s=2), cold("m", ready_in_s=2)),
        (cold("m", ready_in_s=2), cold("m", ready_in_s=20)),
        (replace(cold("m"), memory_bytes=5), replace(cold("m"), memory_bytes=50)),
    ],
)
def test_readiness(better: DeploymentView, worse: DeploymentView) -> None:
    need = needs(budget=10)
    assert 1 >= scores.readiness(need, CARD, better)[0] > scores.readiness(need, CARD, worse)[0] > 0


def test_a_start_under_way_has_its_memory_already() -> None:
    starting = replace(cold("m"), memory_bytes=50, state="starting")
    assert scores.readiness(needs(budget=10), CARD, starting)[0] == scores.readiness(needs(), CARD, starting)[0]


def test_readiness_says_that_another_must_leave() -> None:
    assert (
        "another model must leave" in scores.readiness(needs(budget=10), CARD, replace(cold("m"), memory_bytes=50))[1]
    )


@pytest.mark.parametrize(
    ("gpu_bytes", "must_leave"), [(((0, 5),), False), (((0, 7),), True), (((1, 9),), False), (((0, 1), (1, 11)), True)]
)
def test_every_gpu_must_have_room(gpu_bytes: tuple[tuple[int, int], ...], must_leave: bool) -> None:
    need = needs_of(ask(), measured(), world(gpus=((0, 10, 4), (1, 10, 0))), (), "")
    value, why = scores.readiness(need, CARD, replace(cold("m"), gpu_bytes=gpu_bytes))
    assert ("another model must leave" in why) is must_leave
    assert (value < scores.readiness(need, CARD, cold("m"))[0]) is must_leave


def test_load_and_health_fall_with_trouble() -> None:
    loads = [scores.load(needs(), CARD, replace(HOT, in_flight=n, queued=q))[0] for n, q in ((0, 0), (1, 0), (2, 3))]
    troubles = (
        HOT,
        replace(HOT, restarts=1),
        replace(HOT, restarts=1, last_error="died"),
        replace(HOT, breaker=Breaker.HALF_OPEN, restarts=1, last_error="died"),
        replace(HOT, breaker=Breaker.OPEN, retry_in_s=1),
        replace(HOT, breaker=Breaker.OPEN, retry_in_s=9),
    )
    healths = [scores.health(needs(), CARD, view)[0] for view in troubles]
    for values in (loads, healths):
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == len(values)
        assert values[0] == 1
        assert values[-1] > 0


def test_complexity_scales_the_weight_of_quality_alone() -> None:
    table = scores.weights_by_strategy(RoutingSettings.model_construct())
    low, medium, high = (table["balanced", complexity] for complexity in Complexity)
    assert low[0] < medium[0] < high[0]
    assert low[1:] == medium[1:] == high[1:]


def test_settings_replace_the_weights_they_name_and_no_others() -> None:
    default = scores.weights_by_strategy(RoutingSettings.model_construct())
    routing = RoutingSettings.model_validate({"weights": {"latency": {"cost": 7}}})
    changed = scores.weights_by_strategy(routing)
    cost_row = [name for name, _ in scores.TERMS].index("cost")
    key = ("latency", Complexity.MEDIUM)
    assert changed[key][cost_row] == 7
    assert [w for row, w in enumerate(changed[key]) if row != cost_row] == [
        w for row, w in enumerate(default[key]) if row != cost_row
    ]
    assert {k: w for k, w in changed.items() if k[0] != "latency"} == {
        k: w for k, w in default.items() if k[0] != "latency"
    }


def test_a_score_is_the_weighted_mean_of_its_terms() -> None:
    weights = tuple(float(n) for n in range(1, len(scores.TERMS) + 1))
    found = scores.score(needs(), CARD, HOT, weights)
    mean = sum(term.value * term.weight for term in found.terms) / sum(weights)
    assert found.score == pytest.approx(mean, abs=1e-6)
    assert tuple(term.weight for term in found.terms) == weights
    assert scores.score(needs(), CARD, HOT, (0.0,) * len(scores.TERMS)).score == 0
