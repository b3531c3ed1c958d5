"""What makes two requests equal, what keeps them apart, and what is never kept."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cache.asking_twice import MESSAGES, asked, from_bytes

from pointsman.cache.keys import KEY_BYTES, bypass_of, canonical, fingerprint_of, key_of
from pointsman.settings import parse
from pointsman.settings_cache import CacheSettings
from pointsman.types import Kind, Request

ON = CacheSettings(exact="deterministic")


def key(request: Request, configuration: str = "c") -> bytes:
    return key_of(request, configuration)


def test_a_key_is_short_and_holds_no_words() -> None:
    assert len(key(asked())) == KEY_BYTES
    assert key(asked()) == key(asked())


@pytest.mark.parametrize(
    "same",
    [
        b'{"temperature":0.0,"messages":[{"content":"What is the capital of France?","role":"user"}],"model":"auto"}',
        (
            b'{ "model" : "auto", "temperature":0, "messages": [ {"role":"user",'
            b'"content":"What is the capital of \\u0046rance?"} ], "tools": null }'
        ),
        (
            b'{"model":"auto","messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0,'
            b'"user":"u7","metadata":{"a":"b"},"stream":true,"stream_options":{"include_usage":true},"safety_identifier":"x"}'
        ),
        (
            b'{"model":"auto","messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0,'
            b'"x-routing":{"deadline_s":5,"cache":"on","continuation":true}}'
        ),
    ],
)
def test_spelling_delivery_and_labels_make_no_difference(same: bytes) -> None:
    assert key(from_bytes(same)) == key(asked())


@pytest.mark.parametrize(
    "other",
    [
        {"model": "small"},
        {"messages": [{"role": "user", "content": "What is the capital of France"}]},
        {"messages": [{"role": "system", "content": "What is the capital of France?"}]},
        {"messages": [*MESSAGES, {"role": "assistant", "content": "Paris"}]},
        {"temperature": 0.5},
        {"top_p": 0.9},
        {"seed": 1},
        {"max_tokens": 5},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"logprobs": True},
        {"vendor_option": 1},
        {"x-routing": {"language": "hi"}},
        {"x-routing": {"strategy": "cost"}},
        {"x-routing": {"max_cost_per_mtok": 1}},
        {"x-routing": {"context_docs": ["one"]}},
    ],
)
def test_whatever_may_change_the_answer_changes_the_key(other: dict[str, Any]) -> None:
    assert key(asked(**other)) != key(asked())


def test_tenants_endpoints_and_configurations_are_apart() -> None:
    keys = {
        key(asked()),
        key(asked(tenant="a")),
        key(asked(tenant="b")),
        key(asked(), configuration="d"),
        key(asked("completion", prompt="x")),
        key(asked("embedding", input="x")),
    }
    assert len(keys) == 6


def test_one_members_end_is_not_anothers_beginning() -> None:
    assert key(asked(a="x", b="y")) != key(asked(a='x","b":"y'))
    assert key(asked(a=1, aa=2)) != key(asked(a=12))


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=8))
def test_canonical_json_is_the_same_value(value: object) -> None:
    raw = msgspec.json.encode(value)
    assert msgspec.json.decode(canonical(raw)) == value
    assert canonical(canonical(raw)) == canonical(raw)


def test_what_cannot_be_read_stays_as_it_was_written() -> None:
    for raw in (b'"\\ud800"', b"[" * 3000 + b"]" * 3000, b'"' + b"x" * 70_000 + b'"', b"1" * 400):
        assert canonical(raw) == raw


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, ""),
        ({"temperature": 0.0}, ""),
        ({"temperature": 1}, "sampled"),
        ({"temperature": "warm"}, "sampled"),
        ({"temperature": None}, "sampled"),
        ({"temperature": 1, "x-routing": {"cache": "on"}}, ""),
        ({"x-routing": {"cache": "off"}}, "off"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "x-routing": {"cache": "on"}}, "tools"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"web_search_options": {}}, "outside"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a.example/x.png"}}]}
                ]
            },
            "outside",
        ),
    ],
)
def test_what_is_kept_without_being_asked(body: dict[str, Any], why: str) -> None:
    assert bypass_of(asked(**body), ON) == why


def test_the_setting_decides_what_is_kept() -> None:
    warm = asked(temperature=1)
    assert bypass_of(warm, CacheSettings(exact="all")) == ""
    assert bypass_of(asked(), CacheSettings(exact="off")) == "off"
    with_tools = asked(tools=[{"type": "function", "function": {"name": "f"}}])
    assert bypass_of(with_tools, CacheSettings(exact="all")) == "tools"
    assert bypass_of(with_tools, CacheSettings(exact="all", tools=True)) == ""
    assert bypass_of(asked("embedding", input="x", temperature=None), ON) == ""
    assert bypass_of(msgspec.structs.replace(asked(), kind=Kind.TRANSCRIPTION), ON) == "kind"


@pytest.mark.parametrize(
    ("header", "wish", "max_age_s"),
    [
        ("", "", None),
        ("no-store", "off", None),
        ("No-Cache", "refresh", None),
        ("max-age=0", "refresh", None),
        ("max-age=60", "", 60),
        ('max-age="60", only-if-cached', "only", 60),
        ("no-cache, no-store", "off", None),
        ("max-age=-1, max-age=x, stale-while, =, ,", "", None),
    ],
)
def test_cache_control_is_understood(header: str, wish: str, max_age_s: float | None) -> None:
    limits = asked(control=header).limits
    assert (limits.cache, limits.max_age_s) == (wish, max_age_s)


def test_the_body_outweighs_the_header() -> None:
    assert asked(control="no-store", routing={"cache": "on"}).limits.cache == "on"


def test_another_configuration_has_another_fingerprint() -> None:
    def fingerprint(more: str) -> str:
        return fingerprint_of(parse("models: [{id: a, backend: openai, url: http://127.0.0.1:1/v1}]\n" + more))

    assert fingerprint("") == fingerprint("server: {port: 9}") == fingerprint("cache: {exact: all}")
    assert len({fingerprint(""), fingerprint("aliases: {b: a}"), fingerprint("routing: {strategy: cost}")}) == 3
