"""Anthropic's messages, OpenAI's responses and plain questions as chats, and chats as their answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import msgspec
import pytest

from pointsman.edge import rag_questions
from pointsman.edge.anthropic import Anthropic, countable, token_count
from pointsman.edge.dialect import Dialect, in_dialect
from pointsman.edge.generate import Generate
from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat
from pointsman.edge.responses import Responses
from pointsman.errors import Refused, RequestError, UpstreamError
from pointsman.types import Reply, Request, Usage

TOOL = {"name": "weather", "description": "Of a city", "input_schema": {"type": "object", "properties": {}}}
FUNCTION = {"type": "function", "name": "weather", "description": "Of a city", "parameters": {"type": "object"}}
CALL = {"id": "call_1", "index": 0, "function": {"name": "weather", "arguments": '{"city":"Pune"}'}}


def chat_of(dialect: Dialect, **members: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(dialect.to_chat(json.dumps(members).encode()))
    return found


def request_of(dialect: Dialect, **members: Any) -> Request:
    body = dialect.to_chat(json.dumps(members).encode())
    return decode_chat(Incoming(request_id="r1", content_type="application/json", body=body, received_s=0.0))


def answer(finish: str = "stop", **said: Any) -> Reply:
    body = {
        "id": "c",
        "created": 7,
        "model": "small",
        "choices": [{"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }
    usage = Usage(prompt_tokens=5, completion_tokens=3)
    return Reply(status=200, content_type="application/json", body=json.dumps(body).encode(), usage=lambda: usage)


def stream(*deltas: dict[str, Any], finish: str = "stop") -> Reply:
    async def events() -> AsyncIterator[bytes]:
        for delta in (*deltas, None):
            choice = {"index": 0, "delta": delta or {}, "finish_reason": None if delta is not None else finish}
            yield b"data: " + json.dumps({"model": "small", "created": 7, "choices": [choice]}).encode() + b"\n\n"
        yield b": keep-alive\n\ndata: [DONE]\n\n"

    usage = Usage(prompt_tokens=5, completion_tokens=3)
    return Reply(status=200, content_type="text/event-stream", events=events(), usage=lambda: usage)


def whole(dialect: Dialect, request: Request, reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(in_dialect(dialect, request, reply).body)
    return found


def spoken(dialect: Dialect, request: Request, reply: Reply) -> list[dict[str, Any]]:
    """The data of every event; each event's name is its type, where it has one."""

    async def read() -> bytes:
        events = in_dialect(dialect, request, reply).events
        assert events is not None
        return b"".join([chunk async for chunk in events])

    found = []
    for event in asyncio.run(read()).decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.split("\n"))
        if lines["data"] != "[DONE]":
            data = json.loads(lines["data"])
            assert lines.get("event") == data.get("type")
            found.append(data)
    return found


def silent(data: bytes = b"data: ") -> Reply:
    """A stream without one chunk of a chat."""

    async def events() -> AsyncIterator[bytes]:
        yield b": hello\n\n" + data + b"[DONE]\n\n"

    return Reply(status=200, content_type="text/event-stream", events=events())


def tight(reply: Reply) -> Reply:
    """The same stream, with no space after `data:`."""

    async def events(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in source:
            yield chunk.replace(b"data: ", b"data:")

    assert reply.events is not None
    return msgspec.structs.replace(reply, events=events(reply.events))


@pytest.mark.parametrize(
    ("dialect", "members"),
    [
        (Anthropic(), {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}),
        (Responses(), {"input": "Hello"}),
        (Generate(), {"query": "Hello"}),
    ],
)
def test_the_space_after_data_is_optional(dialect: Dialect, members: dict[str, Any]) -> None:
    request = request_of(dialect, stream=True, **members)
    said = ({"role": "assistant"}, {"content": "Hi"}, {"tool_calls": [CALL]})
    assert spoken(dialect, request, tight(stream(*said))) == spoken(dialect, request, stream(*said))


def test_a_chunk_that_is_no_chat_is_its_upstreams_fault() -> None:
    request = request_of(Generate(), query="Hello", stream=True)
    assert spoken(Generate(), request, stream({"content": "Hi"}))[0] == {"response": "Hi"}
    with pytest.raises(UpstreamError, match="no chat completion"):
        spoken(Generate(), request, stream({"content": "Hi"}, {"content": [{"type": "text", "text": "Hi"}]}))


class TestMessages:
    dialect = Anthropic()
    hello: ClassVar = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}

    def test_a_whole_conversation_with_tools_and_a_picture(self) -> None:
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
        said = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "31 °C"}]}
        chat = chat_of(
            self.dialect,
            model="claude",
            max_tokens=64,
            system=[{"type": "text", "text": "Be brief."}],
            temperature=0.5,
            stop_sequences=["END"],
            tools=[TOOL],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            metadata={"user_id": "u1"},
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "Look"}, picture]},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"a": 1}}],
                },
                {"role": "user", "content": [said, {"type": "text", "text": "And?"}]},
            ],
        )
        assert chat["messages"] == [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "31 °C"},
            {"role": "user", "content": "And?"},
        ]
        assert chat["tools"][0]["function"]["parameters"] == TOOL["input_schema"]
        assert (chat["tool_choice"], chat["parallel_tool_calls"], chat["stop"]) == ("required", False, ["END"])
        assert (chat["max_tokens"], chat["temperature"], chat["user"]) == (64, 0.5, "u1")

    def test_what_tools_show_and_that_they_failed_is_handed_on(self) -> None:
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
        link = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
        text = {"type": "text", "text": "The chart"}
        results = [
            {"type": "tool_result", "tool_use_id": "t1", "content": [text, picture]},
            {"type": "tool_result", "tool_use_id": "t2", "content": [link]},
            {"type": "tool_result", "tool_use_id": "t3", "content": "No such city", "is_error": True},
            {"type": "tool_result", "tool_use_id": "t4"},
            {"type": "text", "text": "And?"},
        ]
        chat = chat_of(self.dialect, max_tokens=9, messages=[{"role": "user", "content": results}])
        assert [(said["role"], said.get("tool_call_id")) for said in chat["messages"]] == [
            ("tool", "t1"),
            ("tool", "t2"),
            ("tool", "t3"),
            ("tool", "t4"),
            ("user", None),
        ]
        assert [said["content"] for said in chat["messages"][:4]] == [
            "The chart\n[pictures in the next message: 1]",
            "[pictures in the next message: 1]",
            "Error: No such city",
            "",
        ]
        assert chat["messages"][4]["content"] == [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            {"type": "text", "text": "And?"},
        ]
        with pytest.raises(RequestError) as caught:
            unsendable = [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "search_result"}]}]
            chat_of(self.dialect, max_tokens=9, messages=[{"role": "user", "content": unsendable}])
        assert caught.value.param == "messages[0].content[0].content[0]"

    def test_an_answer(self) -> None:
        said = whole(self.dialect, request_of(self.dialect, **self.hello), answer(content="Hi."))
        assert (said["type"], said["role"], said["model"], said["stop_reason"]) == (
            "message",
            "assistant",
            "small",
            "end_turn",
        )
        assert said["content"] == [{"type": "text", "text": "Hi."}]
        assert said["usage"] == {"input_tokens": 5, "output_tokens": 3}

    def test_a_call_of_a_tool(self) -> None:
        reply = answer(content="Let me look.", tool_calls=[CALL], finish="tool_calls")
        said = whole(self.dialect, request_of(self.dialect, **self.hello), reply)
        assert [block["type"] for block in said["content"]] == ["text", "tool_use"]
        assert said["content"][1]["input"] == {"city": "Pune"}
        assert said["stop_reason"] == "tool_use"

    def test_a_stream_opens_and_closes_each_block_once(self) -> None:
        piece = {"index": 0, "function": {"arguments": '"Pune"}'}}
        first = {"id": "call_1", "index": 0, "function": {"name": "weather", "arguments": '{"city":'}}
        second = {"id": "call_2", "index": 1, "function": {"name": "weather", "arguments": "{}"}}
        reply = stream(
            {"role": "assistant"},
            {"content": "Let "},
            {"content": "me"},
            {"tool_calls": [first]},
            {"tool_calls": [piece]},
            {"tool_calls": [second]},
            finish="tool_calls",
        )
        events = spoken(self.dialect, request_of(self.dialect, stream=True, **self.hello), reply)
        assert [event["type"] for event in events] == [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        assert [event["index"] for event in events if "index" in event] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
        assert events[-2]["delta"]["stop_reason"] == "tool_use"
        assert events[-2]["usage"] == {"input_tokens": 5, "output_tokens": 3}

    def test_an_empty_stream_is_a_message_all_the_same(self) -> None:
        events = spoken(self.dialect, request_of(self.dialect, stream=True, **self.hello), stream())
        assert [event["type"] for event in events] == ["message_start", "message_delta", "message_stop"]
        events = spoken(self.dialect, request_of(self.dialect, stream=True, **self.hello), silent())
        assert [event["type"] for event in events] == ["message_start", "message_delta", "message_stop"]

    @pytest.mark.parametrize(
        ("members", "param"),
        [
            ({"messages": []}, "messages"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"messages": [{"role": "user", "content": [{"type": "server_thing"}]}]}, "messages[0].content[0]"),
            ({"tools": [{"name": "search", "type": "web_search_20250305"}]}, "tools[0].type"),
            ({"messages": "no"}, "messages"),
        ],
    )
    def test_what_cannot_be_sent_on_is_named(self, members: dict[str, Any], param: str) -> None:
        with pytest.raises(RequestError) as caught:
            chat_of(self.dialect, **{**self.hello, **members})
        assert caught.value.param == param

    def test_errors_are_told_in_its_words(self) -> None:
        error = json.loads(self.dialect.error(Refused("Later", code="queue_full")))
        assert (error["type"], error["error"]["type"]) == ("error", "overloaded_error")
        event = self.dialect.error_event(UpstreamError("Cut", code="upstream_cut"), 3)
        assert event.startswith(b"event: error\ndata: ")
        assert json.loads(event.split(b"data: ")[1])["error"]["delivered_events"] == 3

    def test_tokens_are_counted(self) -> None:
        def count(**members: Any) -> int:
            body = countable(json.dumps(members).encode())
            request = decode_chat(Incoming(request_id="r", content_type="", body=body, received_s=0.0))
            found: int = json.loads(token_count(request))["input_tokens"]
            return found

        short = count(messages=[{"role": "user", "content": "Hello there, how are you?"}])
        assert 3 <= short <= 15
        assert count(messages=[{"role": "user", "content": "Hello there, how are you?"}], tools=[TOOL]) > short


class TestResponses:
    dialect = Responses()

    def test_a_text_is_a_message(self) -> None:
        chat = chat_of(self.dialect, input="Hello", instructions="Be brief.", max_output_tokens=9)
        assert chat["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        assert (chat["model"], chat["max_tokens"]) == ("auto", 9)

    def test_items_calls_and_a_schema(self) -> None:
        chat = chat_of(
            self.dialect,
            tools=[FUNCTION],
            tool_choice={"type": "function", "name": "weather"},
            text={"format": {"type": "json_schema", "name": "w", "schema": {"type": "object"}, "strict": True}},
            input=[
                {"role": "developer", "content": "Rules"},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Look"},
                        {"type": "input_image", "image_url": "https://x.example/a.png"},
                    ],
                },
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "1", "name": "weather", "arguments": "{}"},
                {"type": "function_call", "call_id": "2", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "31 °C"},
            ],
        )
        assert [message["role"] for message in chat["messages"]] == ["system", "user", "assistant", "tool"]
        assert [call["id"] for call in chat["messages"][2]["tool_calls"]] == ["1", "2"]
        assert chat["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
        assert chat["response_format"]["json_schema"] == {"name": "w", "schema": {"type": "object"}, "strict": True}

    def test_an_answer_echoes_what_was_asked(self) -> None:
        request = request_of(self.dialect, input="Hello", temperature=0.5, tools=[FUNCTION], metadata={"a": "b"})
        said = whole(self.dialect, request, answer(content="Hi.", tool_calls=[CALL]))
        assert [item["type"] for item in said["output"]] == ["message", "function_call"]
        assert (said["status"], said["temperature"], said["metadata"], said["created_at"]) == (
            "completed",
            0.5,
            {"a": "b"},
            7,
        )
        assert said["tools"][0]["name"] == "weather"
        assert said["usage"]["total_tokens"] == 8

    def test_a_cut_answer_is_incomplete(self) -> None:
        said = whole(self.dialect, request_of(self.dialect, input="Hello"), answer(content="Hi", finish="length"))
        assert (said["status"], said["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})

    def test_a_stream_is_numbered_and_adds_up(self) -> None:
        reply = stream({"content": "Let "}, {"content": "me"}, {"tool_calls": [CALL]}, finish="tool_calls")
        events = spoken(self.dialect, request_of(self.dialect, input="Hello", stream=True), reply)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert [event["type"].removeprefix("response.") for event in events] == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
        assert [item["type"] for item in events[-1]["response"]["output"]] == ["message", "function_call"]
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Let me"

    def test_an_empty_stream_begins_before_it_ends(self) -> None:
        events = spoken(self.dialect, request_of(self.dialect, input="Hello", stream=True), silent())
        assert [event["type"].removeprefix("response.") for event in events] == ["created", "in_progress", "completed"]

    @pytest.mark.parametrize(
        ("members", "param"),
        [
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
            ({"background": True}, "background"),
            ({"input": []}, "input"),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"input": [{"type": "computer_call"}]}, "input[0].type"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
        ],
    )
    def test_what_cannot_be_had_is_said(self, members: dict[str, Any], param: str) -> None:
        with pytest.raises(RequestError) as caught:
            chat_of(self.dialect, **{"input": "Hello", **members})
        assert caught.value.param == param

    def test_an_answer_that_is_no_chat(self) -> None:
        page = Reply(status=200, content_type="application/json", body=b"[1]")
        with pytest.raises(UpstreamError, match="no chat"):
            whole(self.dialect, request_of(self.dialect, input="Hello"), page)


class TestGenerate:
    dialect = Generate()

    def test_what_is_known_of_the_question_counts(self) -> None:
        request = request_of(
            self.dialect,
            query="Capital of France?",
            domain="geography",
            language="en",
            query_type="lookup",
            entities=["France"],
            complexity="low",
        )
        assert request.hints.entities == ("France",)
        assert request.hints.query_type == "lookup"
        assert [turn.role for turn in request.turns] == ["system", "user"]

    def test_documents_come_before_the_question(self) -> None:
        request = request_of(self.dialect, query="Who won?", context_docs=["The reds won the cup in May."])
        assert request.context is not None
        assert b"The reds won" in (request.payload.get("messages") or b"")  # type: ignore[union-attr]  # a chat's payload is JSON

    def test_an_answer_and_a_stream(self) -> None:
        request = request_of(self.dialect, query="Hello")
        assert whole(self.dialect, request, answer(content="Hi."))["response"] == "Hi."
        events = spoken(self.dialect, request, stream({"content": "H"}, {"content": "i"}))
        assert "".join(event.get("response", "") for event in events) == "Hi"
        assert events[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 3}

    def test_constraints_may_stand_where_a_chat_has_them(self) -> None:
        nested = {"deadline_s": 1, "language": "hi", "entities": ["France"]}
        request = request_of(self.dialect, query="Capital of France?", language="en", **{"x-routing": nested})
        assert request.limits.deadline_s == 1
        assert (request.hints.language, request.hints.entities) == ("en", ("France",))
        assert request_of(self.dialect, query="Hello", **{"x-routing": None}).limits.deadline_s is None
        with pytest.raises(RequestError) as caught:
            chat_of(self.dialect, query="Hello", **{"x-routing": {"deadline": 1}})
        assert caught.value.param == "x-routing"

    @pytest.mark.parametrize("known", [{"context_tokens": 7}, {"x-routing": {"context_tokens": 7}}])
    def test_so_may_the_room_for_sources(self, known: dict[str, Any]) -> None:
        body = rag_questions.to_chat(json.dumps({"query": "Who won?", **known}).encode())
        chat = decode_chat(Incoming(request_id="r1", content_type="", body=body, received_s=0.0))
        assert rag_questions.wish_of(chat, 5).context_tokens == 7

    def test_an_empty_question(self) -> None:
        with pytest.raises(RequestError, match="query"):
            chat_of(self.dialect, query=" ")
