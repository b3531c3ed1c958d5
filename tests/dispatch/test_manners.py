"""How models are asked, beside what callers say."""

import json
from typing import Any

import msgspec
import pytest

from pointsman.dispatch.manners import Manner, manners_of
from pointsman.settings import parse
from pointsman.types import FormPayload, JsonPayload, Kind, Request, Turn

NICE = "Be nice; say 'नमस्ते'."


def manner_of(model: dict[str, Any]) -> Manner:
    tree = {"id": "m", "backend": "openai", "url": "http://127.0.0.1:1/v1"} | model
    told = {name: value for name, value in tree.items() if value is not None}
    return manners_of(parse(json.dumps({"models": [told]})).models)["m"]


def chat(*roles: str, kind: Kind = Kind.CHAT, **members: object) -> Request:
    messages = [{"role": role, "content": f"I am the {role}", "x": 1.50} for role in roles]
    told = {"model": "auto", "messages": messages} | members
    payload = JsonPayload(members=tuple((name, msgspec.json.encode(value)) for name, value in told.items()))
    turns = tuple(Turn(role=role, text=f"I am the {role}") for role in roles)
    return Request(id="r", kind=kind, model="auto", payload=payload, turns=turns)


def asked(manner: Manner, request: Request) -> dict[str, Any]:
    payload = manner.of(request).payload
    assert isinstance(payload, JsonPayload)
    told: dict[str, Any] = json.loads(payload.encode())
    return told


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"backend": "vllm"},
        {"backend": "vllm", "url": None, "source": {"file": "/w"}},
        {"backend": "max_serve", "url": None, "model": "a/b"},
        {"backend": "command", "url": None, "argv": ["x"]},
        {"backend": "custom", "url": None, "engine": "e"},
        {"backend": "llama_cpp", "url": None, "source": {"file": "/w"}},
        {"backend": "transformers", "url": None, "source": {"file": "/w"}},
    ],
    ids=lambda model: "-".join(map(str, model.values())) or "openai",
)
def test_every_model_that_chats_has_defaults_and_a_prompt(model: dict[str, Any]) -> None:
    said = {"sampling": {"temperature": 0.25, "top_k": 40}, "system_prompt": NICE}
    told = asked(manner_of(model | said), chat("user"))
    assert (told["temperature"], told["top_k"]) == (0.25, 40)
    assert told["messages"][0] == {"role": "system", "content": NICE}
    assert told["messages"][1] == {"role": "user", "content": "I am the user", "x": 1.5}


def test_whole_numbers_are_sent_as_such() -> None:
    assert manner_of({"sampling": {"seed": 7, "top_p": 0.5}}).sampling == (("seed", b"7"), ("top_p", b"0.5"))


def test_what_the_caller_says_stands() -> None:
    manner = manner_of({"sampling": {"temperature": 0.25, "top_p": 0.5}, "system_prompt": NICE})
    told = asked(manner, chat("user", temperature=1, top_p=None))
    assert (told["temperature"], told["top_p"]) == (1, 0.5)
    for role in ("system", "developer"):
        assert [one["role"] for one in asked(manner, chat(role, "user"))["messages"]] == [role, "user"]
    late = asked(manner, chat("user", "system", "user"))["messages"]
    assert [one["role"] for one in late] == ["user", "system", "user"]


def test_what_does_not_chat_is_asked_as_it_was() -> None:
    manner = manner_of({"sampling": {"temperature": 0.25}, "system_prompt": NICE})
    assert asked(manner, chat(kind=Kind.COMPLETION, prompt="Hi"))["temperature"] == 0.25
    assert asked(manner, chat("user", kind=Kind.COMPLETION))["messages"][0]["role"] == "user"
    for request in (chat(kind=Kind.EMBEDDING, input="Hi"), Request("r", Kind.TRANSCRIPTION, "m", FormPayload(()))):
        assert manner.of(request) is request


def test_who_has_nothing_to_say_is_not_there() -> None:
    assert manners_of(parse("models: [{id: m, backend: openai, url: 'http://h'}, {id: v, backend: tts}]").models) == {}
