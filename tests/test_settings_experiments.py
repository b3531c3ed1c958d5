"""Experiments in the settings: what is refused, and the environment names from before there was a file."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pointsman.errors import ConfigError
from pointsman.settings import Settings, parse

MODELS = [
    {"id": "3b", "name": "Llama 3B", "backend": "openai", "url": "http://a/v1", "model": "meta/llama-3b"},
    {"id": "8b", "backend": "openai", "url": "http://b/v1", "model": "meta/llama-8b"},
]
PAIR: dict[str, Any] = {"name": "pair", "kind": "small_large", "control": "8b", "treatment": "3b"}


def read(environ: Mapping[str, str] | None = None, **more: Any) -> Settings:
    return parse(json.dumps({"models": MODELS, **more}), "f", environ)


def problem(environ: Mapping[str, str] | None = None, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(environ, **more)
    (found,) = caught.value.problems
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"treatment": "8b"}, "compares `8b` with itself; name two models"),
        ({"treatment": "9b"}, "there is no model `9b`"),
        ({"rollout": [0.5, 0.1]}, "does not rise"),
        ({"ratio": 1.5}, "at most 1"),
        ({"proved_above": 0.2}, "lower `proved_above`"),
        ({"kind": "ab"}, "must be one of small_large, canary, shadow, switchback"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    assert said in problem(experiments=[PAIR | change])


def test_names_are_unique() -> None:
    assert "`pair` is taken" in problem(experiments=[PAIR, PAIR])


@pytest.mark.parametrize("small", ["3b", "Llama 3B", "meta/llama-3b"])
def test_the_old_names_make_a_pair(small: str) -> None:
    (found,) = read({"MODEL_3B_NAME": small, "MODEL_8B_NAME": "meta/llama-8b", "AB_TEST_RATIO": "0.3"}).experiments
    assert (found.kind, found.treatment, found.control, found.ratio) == ("small_large", "3b", "8b", 0.3)


def test_the_ratio_alone_needs_aliases_or_a_pair() -> None:
    environ = {"AB_TEST_RATIO": "0.25"}
    (found,) = read(environ, aliases={"small": "3b", "large": "8b"}).experiments
    assert (found.name, found.treatment, found.control, found.ratio) == ("ab_test", "3b", "8b", 0.25)
    (found,) = read(environ, experiments=[PAIR | {"rollout": [0.1, 0.5]}]).experiments
    assert (found.name, found.ratio, found.rollout) == ("pair", 0.25, ())
    assert "environment AB_TEST_RATIO: there is no small model" in problem(environ)


@pytest.mark.parametrize(("value", "is_on"), [("false", False), ("0", False), ("True", True), ("1", True), ("", True)])
def test_routing_is_switched_by_its_old_name(value: str, is_on: bool) -> None:
    assert read({"ENABLE_MODEL_ROUTING": value}).routing.enabled is is_on


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ENABLE_MODEL_ROUTING": "maybe"}, "environment ENABLE_MODEL_ROUTING: routing.enabled: must be true or false"),
        ({"AB_TEST_RATIO": "2"}, "environment AB_TEST_RATIO: experiments[0].ratio: must be at most 1, not `2`"),
        ({"MODEL_3B_NAME": "5b"}, "environment MODEL_3B_NAME: experiments[0].treatment: there is no model `5b`"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(environ: Mapping[str, str], said: str) -> None:
    assert problem(environ, experiments=[PAIR]).startswith(said)
