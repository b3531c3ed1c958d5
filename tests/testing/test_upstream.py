"""Every fault is what it says, seen through a raw socket."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import uvloop

from pointsman.testing.upstream import FaultUpstream, Seen
from pointsman.testing.upstream_script import FAULTS, Script, script_of

T = TypeVar("T")
Reading = tuple[bytes, str]
"""What came, and how it ended: `eof`, `reset`, or `open` where nothing more came for a while."""


def request(model: str, path: str = "/v1/chat/completions", **more: object) -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_all(reader: asyncio.StreamReader, quiet_s: float = 0.06) -> Reading:
    data = b""
    while True:
        try:
            more = await asyncio.wait_for(reader.read(65536), quiet_s)
        except TimeoutError:
            return data, "open"
        except ConnectionResetError:
            return data, "reset"
        if not more:
            return data, "eof"
        data += more


async def exchange(upstream: FaultUpstream, *requests: bytes, quiet_s: float = 0.06) -> Reading:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    try:
        writer.write(b"".join(requests))
        return await read_all(reader, quiet_s)
    finally:
        writer.close()


def with_upstream(use: Callable[[FaultUpstream], Awaitable[T]]) -> T:
    async def run() -> T:
        async with FaultUpstream() as upstream:
            return await use(upstream)

    return asyncio.run(run())


def ask(model: str, path: str = "/v1/chat/completions", **more: object) -> Reading:
    return with_upstream(lambda upstream: exchange(upstream, request(model, path, **more)))


def split(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out


def events(data: bytes) -> list[Any]:
    """The JSON of each event, `[DONE]` as a string."""
    body = unchunked(split(data)[2])
    found = [event[6:] for event in re.split(rb"\r?\n\r?\n", body) if event.startswith(b"data: ")]
    return [event.decode() if event == b"[DONE]" else json.loads(event) for event in found]


def text(data: bytes) -> str:
    said = [
        e["choices"][0]["delta"].get("content", "") for e in events(data) if isinstance(e, dict) and e.get("choices")
    ]
    return "".join(said)


def test_the_language() -> None:
    assert script_of("mock-t50-i5-n100-e0.1-s503-a0.2-A10") == Script(
        ttft_s=0.05, interval_s=0.005, tokens=100, error_rate=0.1, error_status=503, cut_rate=0.2, cut_after=10
    )
    assert script_of("mock-e.5-hang-torn") == Script(error_rate=0.5, faults=frozenset({"hang", "torn"}))
    assert script_of("gpt-4o-mini-tiny") == Script()


def test_buffered_chat() -> None:
    data, end = ask("mock-n3")
    status, headers, body = split(data)
    answer = json.loads(body)
    assert (status, headers["content-type"], end) == (200, "application/json", "open")
    assert answer["choices"][0]["message"]["content"] == "The quick brown "
    assert answer["usage"] == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert answer["model"] == "mock-n3"


def test_streamed_chat() -> None:
    data, _ = ask("mock-n3", stream=True, stream_options={"include_usage": True})
    found = events(data)
    assert split(data)[1]["content-type"].startswith("text/event-stream")
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text(data) == "The quick brown "
    assert [found[-3]["choices"][0]["finish_reason"], found[-2]["choices"], found[-1]] == ["stop", [], "[DONE]"]
    assert found[-2]["usage"]["completion_tokens"] == 3
    assert data.endswith(b"0\r\n\r\n")
    assert "usage" not in ask("mock-n3", stream=True)[0].decode()


@pytest.mark.parametrize(
    ("path", "member"),
    [("/v1/completions", "choices"), ("/v1/embeddings", "data"), ("/v1/audio/transcriptions", "text")],
)
def test_other_endpoints(path: str, member: str) -> None:
    assert member in json.loads(split(ask("mock-n2", path)[0])[2])


def test_completions_stream_text() -> None:
    found = events(ask("mock-n2", "/v1/completions", stream=True)[0])
    assert [event["choices"][0]["text"] for event in found[:-1]] == ["The ", "quick ", ""]


def test_speech_is_a_wav() -> None:
    _, headers, body = split(ask("mock", "/v1/audio/speech")[0])
    assert (headers["content-type"], body[:4], len(body)) == ("audio/wav", b"RIFF", 3244)


def test_a_form_names_its_model() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nmock-e1-s500\r\n--b--\r\n'
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert split(with_upstream(lambda up: exchange(up, head + body))[0])[0] == 500


def test_documents() -> None:
    async def use(upstream: FaultUpstream) -> list[int]:
        upstream.health_status = 503
        gets = [f"GET {path} HTTP/1.1\r\n\r\n".encode() for path in ("/v1/models", "/health", "/nowhere")]
        return [split((await exchange(upstream, get))[0])[0] for get in gets]

    assert with_upstream(use) == [200, 503, 404]


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (429, "invalid_request_error"), (503, "server_error")]
)
def test_error_statuses(status: int, kind: str) -> None:
    found, headers, body = split(ask(f"mock-e1-s{status}")[0])
    error = json.loads(body)["error"]
    assert (found, error["type"], error["code"]) == (status, kind, status)
    assert ("retry-after" in headers) == (status == 429)


def test_error_rate_is_seeded() -> None:
    async def use(upstream: FaultUpstream) -> list[int]:
        return [split((await exchange(upstream, request("mock-e0.5"), quiet_s=0.02))[0])[0] for _ in range(20)]

    first, second = with_upstream(use), with_upstream(use)
    assert first == second
    assert set(first) == {200, 503}


def test_too_long_as_llama_cpp_says_it() -> None:
    status, _, body = split(ask("mock-toolong")[0])
    assert (status, json.loads(body)["error"]["type"]) == (400, "exceed_context_size_error")


def test_reset_and_close_before_the_headers() -> None:
    assert ask("mock-reset") == (b"", "reset")
    assert ask("mock-close") == (b"", "eof")


def test_cut_after_the_headers_and_before_the_first_byte() -> None:
    data, end = ask("mock-a1-A0")
    assert (split(data)[0], split(data)[2], end) == (200, b"", "reset")
    data, end = ask("mock-a1-A0", stream=True)
    assert (split(data)[0], text(data), end) == (200, "", "reset")


@pytest.mark.parametrize(
    ("model", "how"), [("mock-a1-A4", "reset"), ("mock-a1-A4-fin", "eof"), ("mock-a1-A4-i1", "reset")]
)
def test_cut_after_some_tokens(model: str, how: str) -> None:
    data, end = ask(model, stream=True)
    assert (text(data), end) == ("The quick brown fox ", how)
    assert not data.endswith(b"0\r\n\r\n")


def test_a_short_stream_is_cut_too() -> None:
    data, end = ask("mock-n2-a1-A9", stream=True)
    assert (text(data), end) == ("The quick ", "reset")


def test_cut_in_a_body() -> None:
    data, end = ask("mock-a1-A10")
    assert (len(split(data)[2]), end) == (40, "reset")


def test_hang_and_silence() -> None:
    assert ask("mock-hang") == (b"", "open")
    data, end = ask("mock-silent", stream=True)
    assert (text(data), len(events(data)), end) == ("", 1, "open")


def test_slow_loris() -> None:
    async def use(upstream: FaultUpstream) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(request("mock-loris-i10"))
        await reader.readuntil(b"\r\n\r\n")
        sizes = [len(await reader.read(65536)) for _ in range(5)]
        writer.close()
        return max(sizes)

    assert with_upstream(use) <= 3


def test_latency_is_what_the_name_says() -> None:
    began = time.perf_counter()
    data, _ = with_upstream(lambda up: exchange(up, request("mock-t60-i20-n4-bye", stream=True), quiet_s=0.5))
    took_s = time.perf_counter() - began
    assert text(data) == "The quick brown fox "
    assert 0.12 <= took_s < 0.4


def test_malformed_json_and_html() -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(split(ask("mock-badjson")[0])[2])
    status, headers, body = split(ask("mock-html", stream=True)[0])
    assert (status, headers["content-type"], body[:6]) == (200, "text/html", b"<html>")


def test_malformed_event() -> None:
    body = unchunked(split(ask("mock-badsse-A1", stream=True)[0])[2])
    assert body.split(b"\n\n")[2] == b"data: {not json"
    assert body.endswith(b"data: [DONE]\n\n")


def test_error_event_ends_the_stream() -> None:
    found = events(ask("mock-errorevent-A2", stream=True)[0])
    assert found[-1]["error"]["message"] == "mock error in mid-stream"
    assert len(found) == 4


def test_end_without_done() -> None:
    data, _ = ask("mock-n2-nodone", stream=True)
    assert events(data)[-1]["choices"][0]["finish_reason"] == "stop"
    assert data.endswith(b"0\r\n\r\n")


def test_odd_but_whole_streams() -> None:
    assert text(ask("mock-n2-dup", stream=True)[0]) == "The The quick quick "
    empty = ask("mock-n2-empty", stream=True)[0]
    assert (text(empty), unchunked(split(empty)[2]).count(b": ping\n\n")) == ("The quick ", 2)
    torn = ask("mock-n2-torn", stream=True)[0]
    assert text(torn) == "The quick "
    assert max(int(size, 16) for size in re.findall(rb"\r\n([0-9a-f]{1,2})\r\n", torn)) == 7
    crlf = ask("mock-n2-crlf", stream=True)[0]
    assert text(crlf) == "The quick "
    assert unchunked(split(crlf)[2]).endswith(b"data: [DONE]\r\n\r\n")
    other = unchunked(split(ask("mock-n2-tight-spaced", stream=True)[0])[2])
    assert other.startswith(b'data:{"id": "mock-1", ')
    assert other.endswith(b"data:[DONE]\n\n")


def test_no_usage() -> None:
    assert "usage" not in json.loads(split(ask("mock-nousage")[0])[2])
    assert b'"usage"' not in ask("mock-nousage", stream=True, stream_options={"include_usage": True})[0]


def test_bye() -> None:
    data, end = ask("mock-n1-bye")
    assert (split(data)[0], end) == (200, "eof")


def test_every_fault_of_the_table_changes_something() -> None:
    plain = {stream: ask("mock-n8", stream=stream, stream_options={"include_usage": True}) for stream in (False, True)}
    for fault in FAULTS:
        model = f"mock-n8-{fault}" + {"fin": "-a1", "loris": "-i0.1"}.get(fault, "")
        seen = {stream: ask(model, stream=stream, stream_options={"include_usage": True}) for stream in (False, True)}
        renamed = {k: (data.replace(model.encode(), b"mock-n8"), end) for k, (data, end) in seen.items()}
        assert renamed != plain, fault


def test_keep_alive_and_pipelining() -> None:
    async def use(upstream: FaultUpstream) -> tuple[int, int]:
        data, _ = await exchange(upstream, request("mock-n1"), request("mock-t5-n1", stream=True), request("mock-n1"))
        return data.count(b"HTTP/1.1 200"), upstream.statistics().connections

    assert with_upstream(use) == (3, 1)


def test_a_request_in_pieces() -> None:
    async def use(upstream: FaultUpstream) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        whole = request("mock-n1")
        for at in range(0, len(whole), 50):
            writer.write(whole[at : at + 50])
            await asyncio.sleep(0.002)
        status = split((await read_all(reader))[0])[0]
        writer.close()
        return status

    assert with_upstream(use) == 200


def test_chunked_request_is_refused_not_misread() -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    data, end = with_upstream(lambda up: exchange(up, head))
    assert (split(data)[0], end) == (411, "eof")


def test_what_was_seen() -> None:
    async def use(upstream: FaultUpstream) -> Seen:
        await exchange(upstream, request("mock-n1", temperature=0.5))
        return upstream.seen[-1]

    seen = with_upstream(use)
    assert (seen.method, seen.path, seen.model, seen.end) == ("POST", "/v1/chat/completions", "mock-n1", "answered")
    assert seen.header("content-type") == "application/json"
    assert json.loads(seen.body)["temperature"] == 0.5
    assert repr(seen) == "Seen(POST /v1/chat/completions mock-n1, answered)"


@pytest.mark.parametrize("model", ["mock-hang", "mock-i20-n500", "mock-t5000"])
def test_a_client_that_leaves_is_noticed_at_once(model: str) -> None:
    async def use(upstream: FaultUpstream) -> tuple[str, float]:
        _, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(request(model, stream=True))
        await asyncio.sleep(0.1)
        left_s = time.monotonic()
        writer.close()
        seen = upstream.seen[-1]
        await asyncio.wait_for(seen.ended.wait(), 1)
        assert seen.ended_s is not None
        return seen.end, seen.ended_s - left_s

    end, took_s = with_upstream(use)
    assert end == "left"
    assert took_s < 0.5


def test_down_refuses_and_up_listens_where_it_was() -> None:
    async def use(upstream: FaultUpstream) -> None:
        port = upstream.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("mock-hang"))
        await asyncio.sleep(0.05)
        await upstream.down()
        assert (await read_all(reader))[1] == "reset"
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await upstream.up()
        assert upstream.port == port
        assert split((await exchange(upstream, request("mock-n1")))[0])[0] == 200
        assert upstream.statistics().cut == 1

    with_upstream(use)


def test_records_are_bounded_and_may_be_left_out() -> None:
    async def run(keep: int) -> tuple[int, int]:
        async with FaultUpstream(keep=keep) as upstream:
            await exchange(upstream, *[request("mock-n1")] * 5)
            return len(upstream.seen), upstream.statistics().answered

    assert asyncio.run(run(2)) == (2, 5)
    assert asyncio.run(run(0)) == (0, 5)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_under_both_loops(runner: Callable[..., tuple[Reading, Reading]]) -> None:
    async def run() -> tuple[Reading, Reading]:
        async with FaultUpstream() as upstream:
            cut = await exchange(upstream, request("mock-a1-A2", stream=True))
            return cut, await exchange(upstream, request("mock-reset"))

    cut, reset = runner(run())
    assert (text(cut[0]), cut[1]) == ("The quick ", "reset")
    assert reset == (b"", "reset")


def test_sixty_microseconds_a_request() -> None:
    async def run() -> float:
        async with FaultUpstream() as upstream:
            head, _, body = request("mock-n32", stream=True).partition(b"\r\n\r\n")
            began = time.perf_counter()
            for _ in range(2000):
                steps, _, _ = upstream.answer(head, body)
                b"".join(step for step in steps if isinstance(step, bytes))
            return (time.perf_counter() - began) / 2000

    assert min(asyncio.run(run()) for _ in range(3)) < 60e-6
