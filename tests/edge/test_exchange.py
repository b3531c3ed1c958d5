"""One exchange: bounds, splicing, errors after the start, and a client that leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from pointsman.clock import SystemClock
from pointsman.edge.http import (
    BodyLimits,
    ClientLeft,
    DisconnectWatch,
    Message,
    Response,
    error_json,
    read,
    request_id_of,
    splice,
    splice_event,
    without_usage_event,
)
from pointsman.errors import NoCapableModel, PlanExhausted, PointsmanError, Refused, RequestError, UpstreamError
from pointsman.types import (
    Attempt,
    Context,
    ContextCut,
    JsonPayload,
    Kind,
    Rejected,
    Reply,
    Request,
    RoutingMetadata,
    Usage,
)

LIMITS = BodyLimits(max_bytes=10, timeout_s=0.05)
METADATA = RoutingMetadata(
    model_id="m",
    model_name="Modell Ä",
    intent="code",
    use_case="agent",
    language="en",
    complexity="low",
    confidence=0.9,
    fallback_used=False,
    attempts=1,
    cache="miss",
    experiment=None,
    total_time_seconds=0.1,
    request_id="r",
)


class Wire:
    """An ASGI server's two callables: scripted messages in, sent messages kept."""

    def __init__(self, *messages: Message, then_disconnect_after_s: float | None = None) -> None:
        self.inbox = list(messages)
        self.sent: list[Message] = []
        self.disconnect_after_s = then_disconnect_after_s

    async def receive(self) -> Message:
        if self.inbox:
            return self.inbox.pop(0)
        await asyncio.sleep(60 if self.disconnect_after_s is None else self.disconnect_after_s)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def scope(**headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": "/", "headers": pairs}


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def read_from(wire: Wire, **headers: str) -> bytes:
    return (await read(scope(**headers), wire.receive, "r", LIMITS, SystemClock())).body


def test_a_body_in_parts_is_joined() -> None:
    assert asyncio.run(read_from(Wire(part(b"abc", more=True), part(b"def")))) == b"abcdef"


@pytest.mark.parametrize(
    ("wire", "headers", "code"),
    [
        (Wire(), {"content_length": "50000000"}, "request_too_large"),
        (Wire(part(b"a" * 11)), {}, "request_too_large"),
        (Wire(part(b"a" * 6, more=True), part(b"a" * 6, more=True)), {}, "request_too_large"),
        (Wire(part(b"a", more=True)), {}, "invalid_value"),
    ],
    ids=["declared", "whole", "in parts", "too slow"],
)
def test_bounds_of_a_body(wire: Wire, headers: dict[str, str], code: str) -> None:
    with pytest.raises(RequestError) as caught:
        asyncio.run(read_from(wire, **headers))
    assert caught.value.code == code


def test_a_client_that_leaves_while_sending() -> None:
    with pytest.raises(ClientLeft):
        asyncio.run(read_from(Wire(part(b"a", more=True), {"type": "http.disconnect"})))


def test_request_ids() -> None:
    assert request_id_of(scope(x_request_id="abc-1")) == "abc-1"
    assert request_id_of(scope(x_request_id="bad\nid")).startswith("req_")
    assert request_id_of(scope(x_request_id="a" * 200)).startswith("req_")
    assert request_id_of(scope()) != request_id_of(scope())


@pytest.mark.parametrize("body", [b'{"a":1}', b"{}", b' { "a" : 1 }', b"{ }"])
def test_a_spliced_body_is_the_same_object_plus_the_metadata(body: bytes) -> None:
    assert json.loads(splice(body, b'{"x":1}')) == {"x-routing-metadata": {"x": 1}, **json.loads(body)}


def test_only_the_first_event_of_a_stream_carries_the_metadata() -> None:
    chunk = b': comment\n\ndata: {"choices":[]}\n\ndata: {"choices":[1]}\n\n'
    out = splice_event(chunk, b'{"x":1}')
    assert out.count(b"x-routing-metadata") == 1
    assert json.loads(out.split(b"\n\n")[1][6:]) == {"x-routing-metadata": {"x": 1}, "choices": []}


def test_the_usage_event_we_asked_for_is_dropped_alone() -> None:
    text = b'data: {"choices":[{"delta":{"content":"\\"usage\\""}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert without_usage_event(text + usage + b"data: [DONE]\n\n") == text + b"data: [DONE]\n\n"
    assert without_usage_event(usage) == b""


COMPACT = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
SPACED = json.dumps(json.loads(COMPACT)).encode()
WORD = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'


async def reply_of(*chunks: bytes, wants_usage: bool, metadata: RoutingMetadata = METADATA) -> list[bytes]:
    """The events a caller gets of a stream whose chunks those are."""

    async def said() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    wire = Wire()
    reply = Reply(
        status=200, content_type="text/event-stream", events=said(), metadata=metadata, usage=lambda: Usage(7, 8)
    )
    await Response(wire.send, "r").reply(asked(wants_usage), reply)
    return [event.removeprefix(b"data:").strip() for event in wire.body.split(b"\n\n") if event]


@pytest.mark.parametrize("usage", [COMPACT, SPACED, COMPACT.replace(b"[]", b"[ ]")])
@pytest.mark.parametrize("data", [b"data: ", b"data:"])
@pytest.mark.parametrize("wants_usage", [True, False])
def test_usage_is_told_once_to_those_who_asked_however_it_is_written(
    usage: bytes, data: bytes, wants_usage: bool
) -> None:
    chunks = (WORD.replace(b"data: ", data), data + usage + b"\n\n", data + b"[DONE]\n\n")
    first, *rest = asyncio.run(reply_of(*chunks, wants_usage=wants_usage))
    assert json.loads(first)["x-routing-metadata"]["model_id"] == "m"
    assert rest == [*([usage] if wants_usage else []), b"[DONE]"]


@pytest.mark.parametrize("data", [b"data: ", b"data:"])
def test_usage_that_no_upstream_told_is_estimated_before_the_end(data: bytes) -> None:
    _, usage, done = asyncio.run(reply_of(WORD, data + b"[DONE]\n\n", wants_usage=True))
    assert (json.loads(usage)["usage"]["completion_tokens"], done) == (8, b"[DONE]")


def test_many_documents_make_no_large_header() -> None:
    cuts = tuple(ContextCut(document=number, tokens=40, why="budget") for number in range(5000))
    context = Context(
        kept=tuple(range(2000)), cuts=cuts, tokens_before=210_000, tokens_after=10_000, tokens_saved=200_000
    )
    metadata = msgspec.structs.replace(METADATA, context=context)
    wire = Wire()
    reply = Reply(status=200, content_type="application/json", body=b'{"choices":[]}', metadata=metadata)
    asyncio.run(Response(wire.send, "r").reply(asked(), reply))
    header = wire.headers[b"x-routing-metadata"]
    assert sum(len(name) + len(value) for name, value in wire.headers.items()) < 2048
    assert json.loads(header)["context"] == {
        "documents_kept": 2000,
        "passages_cut": 5000,
        "tokens_before": 210_000,
        "tokens_after": 10_000,
        "tokens_saved": 200_000,
    }
    in_body = json.loads(wire.body)["x-routing-metadata"]
    assert len(in_body["context"]["cuts"]) == 5000
    assert in_body | {"context": None} == json.loads(header) | {"context": None}


def asked(wants_usage: bool = False) -> Request:
    payload = JsonPayload(members=())
    return Request(id="r", kind=Kind.CHAT, model="auto", payload=payload, stream=True, wants_usage=wants_usage)


def test_a_buffered_reply() -> None:
    wire = Wire()
    reply = Reply(status=200, content_type="application/json", body=b'{"choices":[]}', metadata=METADATA)
    asyncio.run(Response(wire.send, "r").reply(asked(), reply))
    assert json.loads(wire.body)["x-routing-metadata"]["model_name"] == "Modell Ä"
    assert int(wire.headers[b"content-length"]) == len(wire.body)
    assert json.loads(wire.headers[b"x-routing-metadata"])["model_id"] == "m"
    assert wire.headers[b"x-request-id"] == b"r"


async def broken_stream() -> AsyncIterator[bytes]:
    yield b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    raise UpstreamError("the model died", code="upstream_cut")


def test_a_stream_that_breaks_ends_with_one_error_event_and_no_done() -> None:
    async def run() -> Wire:
        wire = Wire()
        response = Response(wire.send, "r")
        reply = Reply(status=200, content_type="text/event-stream", events=broken_stream(), metadata=METADATA)
        try:
            await response.reply(asked(), reply)
        except UpstreamError as error:
            await response.fail(error)
        return wire

    wire = asyncio.run(run())
    events = [line[6:] for line in wire.body.split(b"\n\n") if line]
    assert json.loads(events[-1])["error"]["code"] == "upstream_cut"
    assert len(events) == 2
    assert b"[DONE]" not in wire.body
    assert not wire.sent[-1].get("more_body")


def test_error_objects_tell_the_cause_and_when_to_come_back() -> None:
    async def headers_of(error: PointsmanError) -> dict[bytes, bytes]:
        wire = Wire()
        await Response(wire.send, "r").fail(error)
        return wire.headers

    assert asyncio.run(headers_of(Refused("busy", retry_after_s=7.6)))[b"retry-after"] == b"8"
    assert asyncio.run(headers_of(UpstreamError("500", retry_after_s=20)))[b"retry-after"] == b"20"
    assert asyncio.run(headers_of(UpstreamError("500", retry_after_s=9e9)))[b"retry-after"] == b"60"
    assert asyncio.run(headers_of(UpstreamError("500")))[b"retry-after"] == b"1"
    assert b"retry-after" not in asyncio.run(headers_of(RequestError("bad")))
    rejected = (Rejected(deployment_id="a", model_id="a", code="modality", why="cannot see"),)
    incapable = json.loads(error_json(NoCapableModel("nobody", rejected=rejected)))["error"]
    assert incapable["rejected"][0]["why"] == "cannot see"
    attempts = (Attempt(deployment_id="a", model_id="a", started_s=0, error="upstream_cut", detail="gone"),)
    assert json.loads(error_json(PlanExhausted("all", attempts=attempts)))["error"]["attempts"][0]["detail"] == "gone"


def test_leaving_cancels_the_work_at_once() -> None:
    async def run() -> tuple[bool, float]:
        wire = Wire(then_disconnect_after_s=0.02)
        loop = asyncio.get_running_loop()
        began, unwound = loop.time(), False
        with pytest.raises(ClientLeft):
            async with DisconnectWatch(wire.receive, Response(wire.send, "r")):
                try:
                    await asyncio.sleep(60)
                finally:
                    unwound = True
        await asyncio.sleep(0)  # the task itself goes on
        return unwound, loop.time() - began

    unwound, took_s = asyncio.run(run())
    assert unwound
    assert took_s < 5


def test_a_disconnect_after_the_last_byte_means_nothing() -> None:
    async def run() -> str:
        wire = Wire(then_disconnect_after_s=0)
        response = Response(wire.send, "r")
        async with DisconnectWatch(wire.receive, response):
            await response.whole(200, b"text/plain", b"done")
            await asyncio.sleep(0.01)
        return "finished"

    assert asyncio.run(run()) == "finished"


def test_a_leaving_that_lands_on_the_last_step_is_still_a_leaving() -> None:
    async def run() -> None:
        wire = Wire(then_disconnect_after_s=0)
        async with DisconnectWatch(wire.receive, Response(wire.send, "r")) as _:
            for _ in range(3):
                await asyncio.sleep(0)

    with pytest.raises(ClientLeft):
        asyncio.run(run())


def test_another_cancellation_is_not_taken_for_a_leaving() -> None:
    async def work(wire: Wire) -> None:
        async with DisconnectWatch(wire.receive, Response(wire.send, "r")):
            await asyncio.sleep(60)

    async def run() -> bool:
        task = asyncio.create_task(work(Wire()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run())
