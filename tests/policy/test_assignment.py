"""Arms: stable, nested, in the right shares; and what they make of a plan."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.policy.experiments import Assigner, place_of, window_arm
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Breaker, Limits, Plan
from pointsman.types_trial import Trial

MODELS = "models: [{id: 3b, backend: openai, url: 'http://a'}, {id: 8b, backend: openai, url: 'http://b'}]"
PAIR = Trial(name="pair", kind="small_large", control="8b", treatment="3b", ratio=0.5)
SETTINGS = parse(MODELS)
BOTH = world(hot("3b"), hot("8b"))


def decided(trial: Trial, text: str = "Hello!", complexity: str = "medium", **asked: object) -> Plan:
    present = replace(BOTH, experiments=(trial,))
    router = Assigner(Router(SETTINGS), SETTINGS.routing)
    return router.decide(ask(text, **asked), measured(complexity=complexity), present)  # type: ignore[arg-type]  # by name


def first(plan: Plan) -> str:
    return plan.candidates[0].model_id


def test_easy_goes_to_the_small_and_hard_to_the_large_without_chance() -> None:
    for ratio in (0.0, 1.0):
        easy, hard = (decided(replace(PAIR, ratio=ratio), complexity=level) for level in ("low", "high"))
        assert (first(easy), first(hard)) == ("3b", "8b")
        assert easy.assignment is None
        assert hard.assignment is None
        assert [one.model_id for one in easy.candidates] == ["3b", "8b"]


@pytest.mark.parametrize(("ratio", "arm", "model"), [(0.0, "large", "8b"), (1.0, "small", "3b")])
def test_the_ends_of_the_ratio(ratio: float, arm: str, model: str) -> None:
    plan = decided(replace(PAIR, ratio=ratio), "what is it?")
    assert plan.assignment is not None
    assert (plan.assignment.experiment, plan.assignment.arm, plan.assignment.propensity) == ("pair", arm, 1.0)
    assert first(plan) == model
    assert "Experiment `pair`" in plan.reason


def test_shares_are_the_ratio_and_arms_are_nested() -> None:
    queries = [f"question number {number} about something" for number in range(4000)]
    places = [place_of("pair", ask(query)) for query in queries]
    share = sum(place < 0.3 for place in places) / len(places)
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 4000)
    for query, place in list(zip(queries, places, strict=True))[:200]:
        low, high = (first(decided(replace(PAIR, ratio=ratio), query)) for ratio in (0.3, 0.8))
        assert (low, high) != ("3b", "8b")
        assert (low == "3b") == (place < 0.3)
    other = [place_of("another", ask(query)) < 0.3 for query in queries]
    both = sum(a and b < 0.3 for a, b in zip(other, places, strict=True)) / len(places)
    assert abs(both - 0.09) < 0.03


@given(
    st.text(min_size=1), st.sampled_from([str.upper, lambda text: f"  {text}\n", lambda text: text.replace(" ", "  ")])
)
def test_spelling_of_case_and_space_does_not_matter(text: str, otherwise: object) -> None:
    assert callable(otherwise)
    if otherwise(text).casefold().split() == text.casefold().split():
        assert place_of("pair", ask(text)) == place_of("pair", ask(otherwise(text)))


def test_the_place_is_the_same_in_every_process_and_version() -> None:
    assert place_of("pair", ask("What is the capital of France?")) == pytest.approx(PLACE, abs=1e-12)


PLACE = 0.3244732914006543


def test_what_the_caller_chose_is_no_experiment() -> None:
    assert decided(PAIR, model="8b").assignment is None
    assert decided(PAIR, limits=Limits(strategy="cost")).assignment is None
    assert decided(replace(PAIR, labels=("code",))).assignment is None
    assert decided(replace(PAIR, labels=("general",))).assignment is not None


PAIRED = "experiments: [{name: pair, kind: small_large, control: 8b, treatment: 3b}]"


@pytest.mark.parametrize(
    ("file", "model"),
    [(MODELS, "3b"), (f"{MODELS}\n{PAIRED}", "8b"), (f"{MODELS}\n{PAIRED}\nrouting: {{default_model: 3b}}", "3b")],
)
def test_with_routing_off_there_is_no_experiment_and_auto_is_the_large_one(file: str, model: str) -> None:
    settings = parse(file, environ={"ENABLE_MODEL_ROUTING": "false"})
    router = Assigner(Router(settings), settings.routing)
    for trial in (replace(PAIR, ratio=1.0), Trial(name="new", kind="canary", control=model, treatment="8b", ratio=1.0)):
        plan = router.decide(ask(), measured(complexity="medium"), replace(BOTH, experiments=(trial,)))
        assert (first(plan), plan.assignment) == (model, None)
        assert "Experiment" not in plan.reason


def test_who_names_an_objective_has_chosen_too() -> None:
    settings = parse(f"{MODELS}\nrouting: {{objectives: {{dear: {{strategy: quality, models: [8b]}}}}}}")
    router = Assigner(Router(settings), settings.routing)
    canary = Trial(name="new", kind="canary", control="8b", treatment="3b", ratio=1.0)
    plan = router.decide(ask(model="dear"), measured(), replace(BOTH, experiments=(canary,)))
    assert (first(plan), plan.assignment) == ("8b", None)


def test_a_key_with_an_objective_is_in_no_experiment() -> None:
    keys = f"keys: [{{name: team, sha256: {'b' * 64}, objective: dear}}]"
    settings = parse(f"{MODELS}\n{keys}\nrouting: {{objectives: {{dear: {{strategy: quality, models: [8b]}}}}}}")
    router = Assigner(Router(settings), settings.routing)
    present = replace(BOTH, experiments=(replace(PAIR, ratio=1.0),))
    plan = router.decide(replace(ask(), tenant="team"), measured(complexity="medium"), present)
    assert (first(plan), plan.assignment) == ("8b", None)
    assert first(router.decide(ask(), measured(complexity="medium"), present)) == "3b"


def test_a_broken_arm_keeps_its_requests() -> None:
    broken = replace(BOTH, deployments=(replace(hot("3b"), breaker=Breaker.OPEN), hot("8b")))
    router = Assigner(Router(SETTINGS), SETTINGS.routing)
    plan = router.decide(ask(), measured(), replace(broken, experiments=(replace(PAIR, ratio=1.0),)))
    assert first(plan) == "8b"
    assert plan.assignment is not None
    assert plan.assignment.arm == "small"
    unable = router.decide(ask(), measured(), world(hot("8b"), ticket=1))
    assert unable.assignment is None


def test_a_canary_takes_a_share_of_what_names_its_control() -> None:
    canary = Trial(name="new", kind="canary", control="8b", treatment="3b", ratio=1.0)
    plan = decided(canary, model="8b")
    assert [one.model_id for one in plan.candidates] == ["3b", "8b"]
    assert plan.assignment is not None
    assert plan.assignment.arm == "treatment"
    kept = decided(replace(canary, ratio=0.0), model="8b")
    assert [one.model_id for one in kept.candidates] == ["8b"]
    assert kept.assignment is not None
    assert kept.assignment.arm == "control"
    assert decided(canary, model="3b").assignment is None


@pytest.mark.parametrize("complexity", ["low", "medium", "high"])
def test_once_rolled_back_the_small_one_is_not_even_a_stand_in_by_the_pair(complexity: str) -> None:
    over = replace(PAIR, ratio=0.0, is_over=True)
    plan = decided(over, complexity=complexity)
    assert first(plan) == "8b"
    assert plan.assignment is not None
    assert plan.assignment.arm == "large"
    assert "rolled back" in plan.reason
    three = parse(MODELS[:-1] + ", {id: 13b, backend: openai, url: 'http://c'}]\nrouting: {default_model: 13b}")
    present = world(hot("3b"), hot("8b"), hot("13b"))
    router = Assigner(Router(three), three.routing)
    alone = router.decide(ask("Hello!"), measured(complexity=complexity), present)
    plan = router.decide(ask("Hello!"), measured(complexity=complexity), replace(present, experiments=(over,)))
    rest = [one.model_id for one in alone.candidates if one.model_id != "8b"]
    assert [one.model_id for one in plan.candidates] == ["8b", *rest]  # who stands in, the router says


def test_a_shadow_changes_no_answer() -> None:
    shadow = Trial(name="dark", kind="shadow", control="8b", treatment="3b", ratio=1.0)
    plan = decided(shadow, model="8b")
    assert [one.model_id for one in plan.candidates] == ["8b"]
    assert plan.assignment is not None
    assert plan.assignment.arm == "control"
    assert decided(replace(shadow, ratio=0.0), model="8b").assignment is None


def test_switchback_windows_come_in_pairs_of_either_order() -> None:
    pairs = {tuple(window_arm("s", 2 * pair + half) for half in (0, 1)) for pair in range(50)}
    assert pairs == {("control", "treatment"), ("treatment", "control")}
    turn = Trial(name="s", kind="switchback", control="8b", treatment="3b", ratio=0.5, arm="treatment")
    plan = decided(turn, model="8b")
    assert first(plan) == "3b"
    assert plan.assignment is not None
    assert plan.assignment.propensity == 0.5
