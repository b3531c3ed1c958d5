"""The bandit: bounded chances that add up and are kept, who is never tried, what verdicts teach."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from pointsman.policy import bandit
from pointsman.policy.bandit import Evidence, Features, corrected, expected, features_of, learned_of, nothing, taught
from pointsman.policy.router import Router
from pointsman.settings import BanditSettings, parse
from pointsman.testing.decisions import ask, cold, hot, measured, world
from pointsman.types import Breaker, Candidate, Limits, Plan, Request, World
from pointsman.types_learned import Learned
from pointsman.types_trial import Trial

THREE = """
routing:
  fallbacks: {b: [a]}
  bandit: {enabled: true, epsilon_max: 0.2, margin: 0.1}
models:
  - {id: a, backend: openai, url: "http://h/1", quality: {general: 0.8}}
  - {id: b, backend: openai, url: "http://h/2", quality: {general: 0.7}}
  - {id: c, backend: openai, url: "http://h/3", quality: {general: 0.7}}
"""
ROUTER = Router(parse(THREE))
ALL_HOT = world(hot("a"), hot("b"), hot("c"))
PLAIN = features_of("general", "en", "medium", 20, 0.5)


def decided(request: Request | None = None, seen: World = ALL_HOT, router: Router = ROUTER) -> Plan:
    return router.decide(request or ask(), measured(), seen)


def firsts(seen: World, count: int = 4000) -> Counter[str]:
    plans = (decided(ask(request_id=f"r{number}"), replace(seen, ticket=number)) for number in range(count))
    return Counter(plan.candidates[0].model_id for plan in plans)


def lesson(evidence: Evidence, difference: float, times: int, features: Features = PLAIN) -> Evidence:
    for _ in range(times):
        evidence = taught(evidence, features, difference, half_life=1000)
    return evidence


# ---------------------------------------------------------------- chances


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(0, 1),
    st.floats(0, 1),
    st.lists(st.floats(0, 5000), min_size=8, max_size=8),
)
def test_chances_add_up_and_stay_within_bounds(
    scores: list[float], epsilon: float, margin: float, counts: list[float]
) -> None:
    scores.sort(reverse=True)
    ranked = tuple(Candidate(deployment_id=f"m{n}", model_id=f"m{n}", score=score) for n, score in enumerate(scores))
    learned = [Learned(model_id=f"m{n}", weights=(), n=count) for n, count in enumerate(counts)]
    settings = BanditSettings(enabled=True, epsilon_max=epsilon, margin=margin)
    odds = bandit.odds_of(ranked, {one.deployment_id for one in ranked}, learned, settings)
    assert sum(chance for _, chance in odds) == pytest.approx(1.0 if odds else 0.0)
    assert sum(chance for _, chance in odds[1:]) <= epsilon + 1e-12
    assert all(scores[0] - scores[int(name[1:])] <= margin + 1e-12 for name, _ in odds)
    if odds:
        assert odds[0][0] == "m0"


def test_the_logged_propensity_is_the_share_that_is_seen() -> None:
    seen = firsts(ALL_HOT)
    assignment = decided().assignment
    assert assignment
    odds = dict(assignment.odds)
    assert 0 < odds["b"] == odds["c"] <= 0.1
    for model_id, chance in odds.items():
        assert abs(seen[model_id] / 4000 - chance) < 4 * (chance * (1 - chance) / 4000) ** 0.5


def test_what_is_known_to_be_worse_is_tried_less() -> None:
    knows_b = tuple(Learned(model_id=name, weights=(0.0,) * bandit.SIZE, n=n) for name, n in (("b", 900.0), ("c", 0.0)))
    assignment = decided(seen=replace(ALL_HOT, learned=knows_b)).assignment
    assert assignment
    assert dict(assignment.odds)["b"] < dict(assignment.odds)["c"] / 2


def test_the_same_request_is_decided_the_same() -> None:
    for number in range(50):
        request = ask(request_id=f"r{number}")
        assert decided(request) == decided(request)


def test_who_is_tried_says_so() -> None:
    plans = (decided(ask(request_id=f"r{number}")) for number in range(200))
    tried = next(plan for plan in plans if plan.candidates[0].model_id == "b")
    assert tried.assignment
    assert tried.assignment.arm == "b"
    assert tried.assignment.propensity == dict(tried.assignment.odds)["b"]
    assert "b is tried all the same, to learn from it (10.0% likely)" in tried.reason
    assert sorted(one.model_id for one in tried.candidates) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("request_", "seen"),
    [
        (ask(model="b"), ALL_HOT),
        (ask(limits=Limits(models=("a",))), ALL_HOT),
        (ask(limits=Limits(strategy="round_robin")), ALL_HOT),
        (ask(limits=Limits(strategy="fixed")), ALL_HOT),
        (ask(), replace(ALL_HOT, held_by="a")),
        (ask(), replace(ALL_HOT, experiments=(Trial(name="t", kind="canary", control="a", treatment="c", ratio=0.5),))),
        (ask(), world(hot("a"), cold("b"), cold("c"))),
        (ask(), world(hot("a"), *(replace(hot(name), breaker=Breaker.HALF_OPEN) for name in "bc"))),
        (ask(), world(*(replace(hot(name), breaker=Breaker.OPEN) for name in "abc"))),
    ],
)
def test_nobody_is_tried(request_: Request, seen: World) -> None:
    for number in range(60):
        assert decided(replace(request_, id=f"r{number}"), seen).assignment is None


def test_off_changes_nothing() -> None:
    off = Router(parse(THREE.replace("enabled: true", "enabled: false")))
    taught_c = (Learned(model_id="c", weights=(0.9,) + (0.0,) * (bandit.SIZE - 1), n=100.0),)
    plan = decided(seen=replace(ALL_HOT, learned=taught_c), router=off)
    assert plan.candidates[0].model_id == "a"
    assert "learned" not in {term.name for term in plan.candidates[0].terms}


# ---------------------------------------------------------------- learning


def test_verdicts_change_who_is_first() -> None:
    assert decided().candidates[0].model_id == "a"
    praised = learned_of(lesson(nothing("c"), 0.2, 600, features_of("general", "en", "medium", 20, 0.7)))
    seen = replace(ALL_HOT, learned=(praised,))
    assert firsts(seen, 200).most_common(1)[0][0] == "c"
    term = next(term for term in decided(seen=seen).candidates[0].terms if term.name == "learned")
    assert "verdicts say +0." in term.why


def test_many_verdicts_are_believed_and_few_are_not() -> None:
    few, many = (learned_of(lesson(nothing("a"), 0.4, times)) for times in (10, 3000))
    assert 0 < expected(few, PLAIN) < 0.1
    assert expected(many, PLAIN) == pytest.approx(0.4, abs=0.03)


def test_what_is_learned_of_one_language_says_little_of_another() -> None:
    evidence = nothing("a")
    for language, difference in (("hi", -0.5), ("en", 0.1)) * 3000:
        evidence = taught(evidence, features_of("general", language, "low", 20, 0.5), difference, 5000)
    learned = learned_of(evidence)
    assert expected(learned, features_of("general", "hi", "low", 20, 0.5)) < -0.35
    assert expected(learned, features_of("general", "en", "low", 20, 0.5)) > -0.1


def test_the_past_is_forgotten() -> None:
    turned = lesson(lesson(nothing("a"), 0.5, 3000), -0.5, 3000)
    assert expected(learned_of(turned), PLAIN) < -0.3
    assert turned.n < 1500


def test_a_changed_verdict_counts_as_it_is_now() -> None:
    wrong, right = (learned_of(lesson(nothing("a"), difference, 1)) for difference in (0.5, -0.5))
    mended = learned_of(corrected(lesson(nothing("a"), 0.5, 1), PLAIN, -1.0))
    assert mended.n == right.n
    assert expected(mended, PLAIN) == pytest.approx(expected(right, PLAIN))
    assert expected(wrong, PLAIN) > 0


@given(st.text(), st.text(), st.sampled_from(["low", "medium", "high"]), st.integers(-5, 10**7), st.floats(0, 1))
def test_any_request_has_features(label: str, language: str, complexity: str, tokens: int, quality: float) -> None:
    features = features_of(label, language, complexity, tokens, quality)
    assert all(0 <= place < bandit.SIZE and abs(value) <= 1 for place, value in features)
    assert len({place for place, _ in features}) == len(features)
