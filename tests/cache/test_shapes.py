"""A body as a stream and a stream as a body: nothing lost, nothing invented."""

from typing import Any

import msgspec
import pytest

from pointsman.cache.shapes import DONE, body_of, events_of, summary_of_body, summary_of_events
from pointsman.types import Kind

FRAME = {"id": "c1", "created": 1, "model": "m", "system_fingerprint": "f"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def chat(*messages: dict[str, Any], end: str | None = "stop", **more: Any) -> bytes:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": end}
        for index, message in enumerate(messages)
    ]
    return msgspec.json.encode({**FRAME, "object": "chat.completion", "choices": choices, "usage": USAGE, **more})


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
OTHER = {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
BODIES = (
    chat({"content": "Paris."}),
    chat({"content": "Paris."}, {"content": "It is Paris."}),
    chat({"content": "नमस्ते\n\ndata: [DONE]", "reasoning_content": "Hm."}),
    chat({"content": None, "tool_calls": [CALL, OTHER]}, end="tool_calls"),
    chat({"content": None, "refusal": "No."}),
)


@pytest.mark.parametrize("body", BODIES)
def test_there_and_back_says_the_same(body: bytes) -> None:
    events = events_of(Kind.CHAT, body)
    assert events is not None
    assert events[-1] == DONE
    back = body_of(Kind.CHAT, events)
    assert back is not None
    assert msgspec.json.decode(back) == msgspec.json.decode(body)


def test_a_text_completion_there_and_back() -> None:
    choice = {"index": 0, "text": " Paris", "logprobs": None, "finish_reason": "length"}
    whole = {**FRAME, "object": "text_completion", "choices": [choice], "usage": USAGE}
    events = events_of(Kind.COMPLETION, msgspec.json.encode(whole))
    assert events is not None
    assert msgspec.json.decode(body_of(Kind.COMPLETION, events) or b"") == whole


def test_the_events_are_as_clients_expect_them() -> None:
    events = [msgspec.json.decode(e[6:]) for e in (events_of(Kind.CHAT, chat({"content": "Paris."})) or ())[:-1]]
    assert [event["object"] for event in events] == ["chat.completion.chunk"] * 4
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[1]["choices"][0]["delta"] == {"content": "Paris."}
    assert events[2]["choices"][0]["finish_reason"] == "stop"
    assert (events[3]["choices"], events[3]["usage"]) == ([], USAGE)


def test_a_stream_in_many_pieces_becomes_one_body() -> None:
    def event(delta: dict[str, Any], end: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": end, **more}
        return b"data: " + msgspec.json.encode({**FRAME, "choices": [choice], "usage": None}) + b"\n\n"

    part = {"index": 0, "function": {"arguments": '"a":1}'}}
    chunks = (
        b": keep-alive\n\n" + event({"role": "assistant", "content": None}),
        event({"content": "Pa"}, logprobs={"content": [{"token": "Pa"}]})
        + event({"content": "ris"}, logprobs={"content": [{"token": "ris"}]}),
        event(
            {
                "tool_calls": [
                    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{"}}
                ]
            }
        ),
        event({"tool_calls": [part]}),
        event({}, "tool_calls"),
        b"data: " + msgspec.json.encode({**FRAME, "choices": [], "usage": USAGE}) + b"\n\n",
        DONE,
    )
    whole = msgspec.json.decode(body_of(Kind.CHAT, chunks) or b"")
    (choice,) = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Paris", "tool_calls": [CALL]}
    assert choice["logprobs"] == {"content": [{"token": "Pa"}, {"token": "ris"}]}
    assert (choice["finish_reason"], whole["usage"], whole["id"]) == ("tool_calls", USAGE, "c1")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"choices":3}', b'{"choices":[{}]}', chat({"content": "x", "audio": {"data": "…"}})],
)
def test_what_cannot_be_told_in_events_is_not(body: bytes) -> None:
    assert events_of(Kind.CHAT, body) is None


@pytest.mark.parametrize(
    "chunk",
    [
        b"data: {\n\n",
        b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"audio":{"data":"x"}},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":3}]},"finish_reason":"stop"}]}\n\n',
        b'data: {"error":{"message":"no"}}\n\n',
    ],
)
def test_what_cannot_be_told_in_a_body_is_not(chunk: bytes) -> None:
    assert body_of(Kind.CHAT, (chunk, DONE)) is None


def test_an_answer_is_whole_where_every_choice_ended_by_itself() -> None:
    assert summary_of_body(Kind.CHAT, chat({"content": "x"})).is_whole
    assert summary_of_body(Kind.CHAT, chat({"content": "x"})).has_usage
    assert not summary_of_body(Kind.CHAT, chat({"content": "x"}, usage=None)).has_usage
    for end in ("content_filter", "error", None):
        assert not summary_of_body(Kind.CHAT, chat({"content": "x"}, end=end)).is_whole
    assert not summary_of_body(Kind.CHAT, chat()).is_whole
    assert not summary_of_body(Kind.CHAT, b"{").is_whole
    assert summary_of_body(Kind.EMBEDDING, b'{"data":[]}').is_whole
    events = events_of(Kind.CHAT, chat({"content": "x"})) or ()
    assert summary_of_events(Kind.CHAT, events).is_whole
    assert not summary_of_events(Kind.CHAT, events[:2]).is_whole
