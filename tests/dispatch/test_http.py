"""The way out against upstreams that fail in every way: the shipped fault upstream, and raw sockets for bad HTTP."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.parser import BytesParser
from email.utils import formatdate
from typing import Any, TypeVar

import pytest
import uvloop

from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import UpstreamError
from pointsman.testing.upstream import FaultUpstream
from pointsman.types import FormFile

T = TypeVar("T")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def body_of(model: str, **more: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()


def post(http: AiohttpClient, url: str, body: bytes = b"{}", first_s: float = 5, idle_s: float = 5, **more: Any) -> Any:
    return http.post(url, body=body, first_byte_timeout_s=first_s, idle_timeout_s=idle_s, **more)


def with_upstream(use: Callable[[AiohttpClient, FaultUpstream, str], Awaitable[T]]) -> T:
    async def run() -> T:
        async with FaultUpstream() as upstream, AiohttpClient() as http:
            return await use(http, upstream, upstream.url + "/chat/completions")

    return uvloop.run(run())


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """A server that says exactly the bytes a test wants."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x"
    finally:
        server.close()


async def take_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return head + await reader.readexactly(length)


def with_raw(handler: Handler, use: Callable[[AiohttpClient, str], Awaitable[T]], **client: Any) -> T:
    async def run() -> T:
        async with raw_server(handler) as url, AiohttpClient(**client) as http:
            return await use(http, url)

    return uvloop.run(run())


def saying(*pieces: bytes, then_s: float = 0) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        await asyncio.sleep(then_s)

    return handler


async def read(http: AiohttpClient, url: str, body: bytes = b"{}", **more: Any) -> tuple[int, bytes]:
    async with post(http, url, body, **more) as reply:
        return reply.status, await reply.read()


async def failure(awaitable: Awaitable[object]) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await awaitable
    return caught.value


# ---------------------------------------------------------------- answers


def test_a_buffered_answer_and_its_connection_serve_again() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        for _ in range(5):
            async with post(http, url, body_of("mock")) as reply:
                assert (reply.status, reply.content_type, reply.retry_after_s) == (200, "application/json", None)
                assert json.loads(await reply.read())["object"] == "chat.completion"
        assert upstream.statistics().connections == 1

    with_upstream(use)


def test_a_stream_arrives_as_it_is_made() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> list[float]:
        arrived: list[float] = []
        async with post(http, url, body_of("mock-i40-n5", stream=True)) as reply:
            async for chunk in reply.chunks():
                arrived.append(time.monotonic())
                assert chunk
        assert upstream.statistics().connections == 1
        return arrived

    arrived = with_upstream(use)
    assert arrived[-1] - arrived[0] > 0.1


def test_a_stream_left_after_its_last_event_keeps_its_connection() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        for _ in range(4):
            async with post(http, url, body_of("mock-i1-n3", stream=True)) as reply:
                async for chunk in reply.chunks():
                    if b"[DONE]" in chunk:
                        break
            await asyncio.sleep(0.02)
        assert upstream.statistics().connections == 1
        assert upstream.statistics().left == 0

    with_upstream(use)


def test_a_stream_that_never_ends_after_its_last_event_is_closed_all_the_same() -> None:
    closed_s: list[float] = []
    piece = b"data: [DONE]\n\n"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(CHUNKED + b"%x\r\n%s\r\n" % (len(piece), piece))
        assert await reader.read() == b""
        closed_s.append(time.monotonic())

    async def use(http: AiohttpClient, url: str) -> float:
        async with post(http, url) as reply:
            async for _ in reply.chunks():
                break
        left_s = time.monotonic()
        await asyncio.sleep(0.5)
        return left_s

    left_s = with_raw(handler, use)
    assert 0.1 < closed_s[0] - left_s < 0.45


def test_errors_of_the_upstream_are_answers() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        async with post(http, url, body_of("mock-e1-s429")) as reply:
            assert (reply.status, reply.retry_after_s) == (429, 1.0)
            assert b"error" in await reply.read()

    with_upstream(use)


def test_retry_after_may_be_a_date() -> None:
    in_a_minute = formatdate(time.time() + 60, usegmt=True).encode()
    head = b"HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n"

    async def use(http: AiohttpClient, url: str) -> float | None:
        async with post(http, url) as reply:
            after_s: float | None = reply.retry_after_s
            return after_s

    after_s = with_raw(saying(head % in_a_minute), use)
    assert after_s is not None
    assert 50 < after_s <= 60
    assert with_raw(saying(head % b"soon"), use) is None


def test_redirects_are_not_followed() -> None:
    head = b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    assert with_raw(saying(head), read) == (307, b"")


def test_what_is_sent() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        await read(http, url, body_of("mock"), headers=(("Authorization", "Bearer k"),))
        seen = upstream.seen[-1]
        names = {name for name, _ in seen.headers}
        assert names == {"host", "content-type", "content-length", "authorization", "user-agent"}
        assert seen.header("content-type") == "application/json"
        assert seen.body == body_of("mock")

    with_upstream(use)


def test_cookies_are_not_kept() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await take_request(reader))
            writer.write(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"))

    async def use(http: AiohttpClient, url: str) -> None:
        await read(http, url)
        await read(http, url)

    with_raw(handler, use)
    assert b"ookie" not in heads[1]


@pytest.mark.parametrize("size", [10, 3 * 1024 * 1024])
def test_a_form_with_a_file(size: int) -> None:
    """Of any size, without a warning (they are errors here)."""
    data = bytes(range(256)) * (size // 256) + b"\r\n--x"

    async def use(http: AiohttpClient, upstream: FaultUpstream, _: str) -> None:
        file = FormFile(field="file", filename='my "best"\r\n.wav', mime="audio/wav", data=data)
        fields = (("model", "mock"), ("prompt", "नमस्ते"))
        url = upstream.url + "/audio/transcriptions"
        async with post(http, url, b"", fields=fields, file=file) as reply:
            assert reply.status == 200
            await reply.read()
        seen = upstream.seen[-1]
        assert seen.model == "mock"
        head = f"Content-Type: {seen.header('content-type')}\r\n\r\n".encode()
        parts: Any = BytesParser().parse(io.BytesIO(head + seen.body)).get_payload()
        assert [part.get_param("name", header="content-disposition") for part in parts] == ["model", "prompt", "file"]
        assert parts[1].get_payload(decode=True).decode() == "नमस्ते"
        assert parts[2].get_content_type() == "audio/wav"
        assert parts[2].get_param("filename", header="content-disposition") == "my %22best%22%0D%0A.wav"
        assert data in seen.body

    with_upstream(use)


def test_get() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, _: str) -> None:
        status, body = await http.get(upstream.url + "/models", headers=(("Authorization", "Bearer k"),), timeout_s=1)
        assert (status, json.loads(body)["object"]) == (200, "list")
        assert upstream.seen[-1].header("authorization") == "Bearer k"

    with_upstream(use)
    error = with_raw(saying(then_s=1), lambda http, url: failure(http.get(url, timeout_s=0.1)))
    assert error.code == "upstream_timeout"


# ---------------------------------------------------------------- leaving


def test_leaving_mid_stream_is_seen_upstream_at_once() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        async with post(http, url, body_of("mock-i10-n1000", stream=True)) as reply:
            async for _ in reply.chunks():
                break
        left_s = time.monotonic()
        await asyncio.wait_for(upstream.seen[-1].ended.wait(), 1)
        assert upstream.seen[-1].end == "left"
        assert time.monotonic() - left_s < 0.5

    with_upstream(use)


def test_an_answer_not_read_is_closed_not_drained() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        async with post(http, url, body_of("mock-i10-n1000", stream=True)) as reply:
            assert reply.status == 200
        await asyncio.wait_for(upstream.seen[-1].ended.wait(), 0.2)
        assert upstream.seen[-1].end == "left"

    with_upstream(use)


def test_cancelling_while_nothing_came_yet_is_seen_upstream_at_once() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        task = asyncio.create_task(read(http, url, body_of("mock-hang")))
        while not upstream.seen:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait_for(upstream.seen[-1].ended.wait(), 0.2)
        assert upstream.seen[-1].end == "left"
        with pytest.raises(asyncio.CancelledError):
            await task

    with_upstream(use)


# ---------------------------------------------------------------- failures


def test_nobody_listens() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        await upstream.down()
        error = await failure(read(http, url))
        assert error.code == "upstream_unreachable"
        assert "127.0.0.1" not in error.message

    with_upstream(use)


def test_no_such_host() -> None:
    async def run() -> UpstreamError:
        async with AiohttpClient() as http:
            return await failure(read(http, "http://nowhere.invalid/v1"))

    assert uvloop.run(run()).code == "upstream_unreachable"


@pytest.mark.parametrize("model", ["mock-reset", "mock-close"])
def test_a_fresh_connection_that_is_cut_is_not_asked_again(model: str) -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        assert (await failure(read(http, url, body_of(model)))).code == "upstream_cut"
        assert upstream.statistics().requests == 1

    with_upstream(use)


def test_silence_before_the_headers() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        began_s = time.monotonic()
        error = await failure(read(http, url, body_of("mock-hang"), first_s=0.2))
        assert error.code == "upstream_timeout"
        assert 0.15 < time.monotonic() - began_s < 0.6

    with_upstream(use)


def test_silence_in_the_middle() -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        began_s = time.monotonic()
        error = await failure(read(http, url, body_of("mock-silent", stream=True), first_s=5, idle_s=0.2))
        assert error.code == "upstream_timeout"
        assert 0.15 < time.monotonic() - began_s < 0.6

    with_upstream(use)


def test_headers_alone_are_not_the_first_byte() -> None:
    """A server may send its headers at once and read a long prompt afterwards."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(OK[:-2])
        await asyncio.sleep(0.4)
        writer.write(b"{}")

    assert with_raw(handler, lambda http, url: read(http, url, first_s=2, idle_s=0.1)) == (200, b"{}")


def test_a_slow_reader_is_not_taken_for_a_silent_upstream() -> None:
    body = bytes(8 * 1024 * 1024)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def use(http: AiohttpClient, url: str) -> int:
        size = 0
        async with post(http, url, idle_s=0.1) as reply:
            async for chunk in reply.chunks():
                size += len(chunk)
                if size < 300_000:
                    await asyncio.sleep(0.3)
        return size

    assert with_raw(handler, use) == len(body)


@pytest.mark.parametrize("model", ["mock-a1-i1", "mock-a1-i1-fin"])
def test_a_stream_cut_in_the_middle(model: str) -> None:
    async def use(http: AiohttpClient, upstream: FaultUpstream, url: str) -> None:
        got = b""
        with pytest.raises(UpstreamError) as caught:
            async with post(http, url, body_of(model, stream=True)) as reply:
                async for chunk in reply.chunks():
                    got += chunk
        assert caught.value.code == "upstream_cut"
        assert got.count(b"data:") >= 5

    with_upstream(use)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "upstream_protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "upstream_protocol"),
        (CHUNKED + b"zz\r\nhello\r\n", "upstream_protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "upstream_cut"),
        (CHUNKED + b"5\r\nhello\r\n", "upstream_cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab", "upstream_protocol"),
    ],
)
def test_bad_http(said: bytes, code: str) -> None:
    assert with_raw(saying(said), lambda http, url: failure(read(http, url))).code == code


def test_an_answer_without_length_ends_with_the_connection() -> None:
    assert with_raw(saying(b"HTTP/1.1 200 OK\r\n\r\n", b"abc"), read) == (200, b"abc")


def test_an_endless_answer_is_cut_off() -> None:
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(CHUNKED)
        try:
            while True:
                writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
                await writer.drain()
        except ConnectionError:
            closed.set()

    async def use(http: AiohttpClient, url: str) -> str:
        error = await failure(read(http, url))
        await asyncio.wait_for(closed.wait(), 1)
        return error.code

    assert with_raw(handler, use, max_body_bytes=100_000) == "upstream_protocol"


# ---------------------------------------------------------------- connections kept alive


class Flaky:
    """Answers the first request of each connection, then `afterwards` to the second. Counts."""

    def __init__(self, afterwards: bytes = b"", pause_s: float = 0, always: bool = False) -> None:
        self.afterwards = afterwards
        self.pause_s = pause_s
        self.always = always
        self.connections = 0
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await take_request(reader)
        self.requests += 1
        if not self.always or self.connections == 1:
            writer.write(OK)
            await take_request(reader)
            self.requests += 1
        await asyncio.sleep(self.pause_s)
        writer.write(self.afterwards)


async def twice(http: AiohttpClient, url: str) -> tuple[int, bytes]:
    await read(http, url)
    return await read(http, url)


def test_a_dead_kept_alive_connection_is_replaced_in_silence() -> None:
    flaky = Flaky()
    assert with_raw(flaky, twice) == (200, b"{}")
    assert (flaky.connections, flaky.requests) == (2, 3)


def test_only_once() -> None:
    flaky = Flaky(always=True)
    assert with_raw(flaky, lambda http, url: failure(twice(http, url))).code == "upstream_cut"
    assert flaky.requests == 3


def test_not_where_something_came_back() -> None:
    flaky = Flaky(b"HTTP/1.1 200 OK\r\nConte")
    assert with_raw(flaky, lambda http, url: failure(twice(http, url))).code == "upstream_cut"
    assert flaky.requests == 2


def test_not_where_the_upstream_worked_on_it() -> None:
    flaky = Flaky(pause_s=1.2)
    assert with_raw(flaky, lambda http, url: failure(twice(http, url))).code == "upstream_cut"
    assert flaky.requests == 2


def test_not_where_it_was_silent() -> None:
    flaky = Flaky(pause_s=0.5)

    async def use(http: AiohttpClient, url: str) -> UpstreamError:
        await read(http, url)
        return await failure(read(http, url, first_s=0.2))

    assert with_raw(flaky, use).code == "upstream_timeout"
    assert flaky.requests == 2
