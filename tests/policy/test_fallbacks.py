"""A named model and who stands in for it."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.errors import ConfigError
from pointsman.policy.router import Router
from pointsman.settings import Settings, parse
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Breaker, Plan

NAMES = ("a", "b", "c", "d")


def settings(fallbacks: dict[str, list[str]]) -> Settings:
    models: list[dict[str, Any]] = [
        {"id": name, "backend": "openai", "url": f"http://127.0.0.1:9/{name}/v1", "quality": {"general": at / 10}}
        for at, name in enumerate(NAMES)
    ]
    return parse(json.dumps({"models": models, "routing": {"fallbacks": fallbacks}}))


def plan(model: str, fallbacks: dict[str, list[str]], broken: str = "") -> Plan:
    views = [replace(hot(name), breaker=Breaker.OPEN if name in broken else Breaker.CLOSED) for name in NAMES]
    router = Router(settings(fallbacks))
    return router.decide(ask(model=model), measured(), world(*views))


def order(found: Plan) -> str:
    return "".join(one.model_id for one in found.candidates)


def test_a_chain_of_any_length_in_its_own_order() -> None:
    found = plan("a", {"a": ["c", "b", "d"]})
    assert order(found) == "acbd"
    assert "First a; then c, b, d" in found.reason


def test_without_a_chain_a_named_model_answers_alone() -> None:
    assert order(plan("b", {"a": ["c"]})) == "b"


def test_a_broken_head_is_skipped() -> None:
    found = plan("a", {"a": ["c", "b"]}, broken="a")
    assert order(found) == "cb"
    assert [one.code for one in found.rejected if one.deployment_id == "a"] == ["breaker_open"]


def test_where_all_are_broken_the_chain_is_tried_as_a_last_resort() -> None:
    found = plan("a", {"a": ["c", "b"]}, broken="abc")
    assert order(found) == "acb"
    assert found.strategy == "last_resort"


def test_auto_has_every_model_anyway() -> None:
    assert sorted(order(plan("auto", {"a": ["c"]}))) == list(NAMES)


@pytest.mark.parametrize(
    ("fallbacks", "told"),
    [
        ({"x": ["a"]}, "routing.fallbacks.x"),
        ({"a": ["x"]}, "routing.fallbacks.a[0]"),
        ({"a": ["a"]}, "stands in for itself"),
        ({"a": ["b", "b"]}, "named twice"),
    ],
)
def test_a_chain_that_leads_nowhere_is_refused(fallbacks: dict[str, list[str]], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("[", r"\[").replace(".", r"\.")):
        settings(fallbacks)
