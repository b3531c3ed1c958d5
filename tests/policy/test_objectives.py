"""A name for a way to choose: its strategy, weights, models and limits; the request's own limits win."""

import pytest
from msgspec.structs import replace

from pointsman.errors import ConfigError
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Limits, Request

MODELS = """
models:
  - {id: cheap, backend: openai, url: "http://h/1", quality: {general: 0.4}, cost_per_mtok: 0.1}
  - {id: middle, backend: openai, url: "http://h/2", quality: {general: 0.6}, cost_per_mtok: 1}
  - {id: dear, backend: openai, url: "http://h/3", quality: {general: 0.9}, cost_per_mtok: 9}
aliases: {gpt-4o: dear}
"""
OBJECTIVES = """
routing:
  objectives:
    thrifty: {strategy: cost}
    finest: {strategy: quality, models: [cheap, middle]}
    frugal: {strategy: quality, max_cost_per_mtok: 2}
    odd: {weights: {quality: 0, cost: 9}}
"""
ROUTER = Router(parse(MODELS + OBJECTIVES))
SEEN = world(hot("cheap"), hot("middle"), hot("dear"))


@pytest.mark.parametrize(
    ("name", "first"), [("thrifty", "cheap"), ("finest", "middle"), ("frugal", "middle"), ("odd", "cheap")]
)
def test_each_chooses_its_own_way(name: str, first: str) -> None:
    plan = ROUTER.decide(ask(model=name), measured(), SEEN)
    assert plan.candidates[0].model_id == first
    assert plan.reason.startswith(f"Chosen as `{name}` says.")


def test_models_it_leaves_out_are_rejected_by_name() -> None:
    plan = ROUTER.decide(ask(model="finest"), measured(), SEEN)
    assert [(one.model_id, one.code, one.why) for one in plan.rejected] == [
        ("dear", "not_named", "is none of the models of `finest`")
    ]


def test_the_request_s_own_limits_win() -> None:
    plan = ROUTER.decide(ask(model="frugal", limits=Limits(max_cost_per_mtok=10)), measured(), SEEN)
    assert plan.candidates[0].model_id == "dear"
    plan = ROUTER.decide(ask(model="odd", limits=Limits(strategy="quality")), measured(), SEEN)
    assert (plan.candidates[0].model_id, plan.strategy) == ("dear", "quality")


@pytest.mark.parametrize(
    ("objectives", "problem"),
    [
        ("auto: {}", "routing.objectives.auto: `auto` is the router's own name; choose another"),
        ("cheap: {}", "`cheap` is taken by a model; choose another"),
        ("gpt-4o: {}", "`gpt-4o` is an alias; choose another"),
        ("x: {models: [chaep]}", "routing.objectives.x.models[0]: there is no model `chaep` (did you mean `cheap`?)"),
        ("x: {strategy: best}", "routing.objectives.x.strategy"),
    ],
)
def test_a_wrong_one_is_named(objectives: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"{MODELS}\nrouting: {{objectives: {{{objectives}}}}}")
    assert problem in str(caught.value)


def key(objective: str) -> str:
    return f"keys: [{{name: team, sha256: {'b' * 64}, objective: {objective}}}]\n"


THRIFTY_TEAM = parse(MODELS + key("thrifty") + OBJECTIVES)


def test_a_key_s_objective_is_how_auto_is_chosen_for_it() -> None:
    router, request = Router(THRIFTY_TEAM), replace(ask(), tenant="team")
    plan = router.decide(request, measured(), SEEN)
    assert (plan.candidates[0].model_id, plan.strategy) == ("cheap", "cost")
    assert plan.reason.startswith("Chosen as `thrifty` says, the objective of the key `team`.")
    assert router.decide(ask(), measured(), SEEN).strategy == "balanced"


@pytest.mark.parametrize(
    ("request_", "first", "strategy"),
    [
        (ask(model="dear"), "dear", "balanced"),
        (ask(model="finest"), "middle", "quality"),
        (ask(limits=Limits(strategy="quality")), "dear", "quality"),
    ],
)
def test_what_the_request_says_itself_wins_over_its_key_s(request_: Request, first: str, strategy: str) -> None:
    plan = Router(THRIFTY_TEAM).decide(replace(request_, tenant="team"), measured(), SEEN)
    assert (plan.candidates[0].model_id, plan.strategy) == (first, strategy)


def test_with_routing_off_a_key_s_objective_rests() -> None:
    off = parse(MODELS + key("thrifty") + OBJECTIVES.replace("routing:", "routing:\n  enabled: false"))
    plan = Router(off).decide(replace(ask(), tenant="team"), measured(), SEEN)
    assert plan.reason.startswith("Routing is off")


def test_a_key_names_an_objective_there_is() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(MODELS + key("thrify") + OBJECTIVES)
    said = "settings:7: keys[0].objective: there is no objective `thrify` (did you mean `thrifty`?); objectives are"
    assert f"{said} thrifty, finest, frugal, odd" in str(caught.value)
    with pytest.raises(ConfigError, match=r"`routing\.objectives` has none"):
        parse(MODELS + key("thrifty"))
