"""Edge to edge: a fault upstream, the real gateway, a client that reads the bytes. Nothing lost, nothing leaked."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream, Seen

# fault in the upstream's model name → the code the caller hears where no other model is left
BUFFERED = {
    "mock-reset": "upstream_unreachable upstream_cut",
    "mock-close": "upstream_cut upstream_unreachable",
    "mock-e1-s500": "upstream_error",
    "mock-e1-s503": "queue_full",
    "mock-e1-s429": "rate_limit_exceeded",
    "mock-e1-s404": "upstream_error",
    "mock-e1-s401": "upstream_error",
    "mock-html": "upstream_protocol",
    "mock-badjson": "upstream_protocol",
    "mock-hang": "upstream_timeout",
}
STREAMED = {script: codes for script, codes in BUFFERED.items() if script != "mock-badjson"} | {
    "mock-a1-A0": "upstream_cut",
    "mock-a1-A0-fin": "upstream_cut",
    "mock-silent": "upstream_timeout",
    "mock-badsse-A0": "upstream_protocol",
    "mock-errorevent-A0": "upstream_error",
}
CUT_LATER = ("mock-a1-A3-n50", "mock-a1-A3-n50-fin", "mock-nodone", "mock-errorevent-A3-i20", "mock-badsse-A3-i20")
HARMLESS = ("mock-dup", "mock-empty", "mock-torn", "mock-crlf", "mock-tight", "mock-spaced", "mock-nousage", "mock-bye")


def config(upstream: FaultUpstream, models: dict[str, str], cache: Path) -> str:
    tree = {
        "cache_dir": str(cache),
        "log": {"requests": False},
        "retry": {"first_byte_timeout_s": 0.3, "idle_timeout_s": 0.3, "backoff_s": 0.01},
        "models": [
            {"id": name, "backend": "openai", "url": upstream.url, "model": script, "slots": 8}
            for name, script in models.items()
        ],
        "routing": {
            "strategy": "fixed",
            "use_cases": {label: list(models) for label in ("general", "code", "reasoning")},
        },
    }
    return json.dumps(tree)


class Client:
    """Raw enough to see what is on the wire."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def chat(self, stream: bool = False, **more: Any) -> tuple[int, bytes]:
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello there"}], "stream": stream, **more}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as response:
            return response.status, await response.read()


Scene = Callable[[App, Client, FaultUpstream], Awaitable[None]]


def play(models: dict[str, str], cache: Path, scene: Scene) -> None:
    """Run a scene, then check that it left no lease, no queue and no upstream call behind."""

    async def run() -> None:
        async with (
            FaultUpstream() as upstream,
            serving(parse(config(upstream, models, cache))) as (app, url),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session,
        ):
            await scene(app, Client(session, url), upstream)
            await settled(app)

    asyncio.run(run())


async def settled(app: App) -> None:
    """No lease is held and nobody waits, within a second."""
    for _ in range(100):
        if all(view.in_flight == view.queued == 0 for view in app.world().deployments):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"leases left: {[view for view in app.world().deployments if view.in_flight or view.queued]}")


def calls(upstream: FaultUpstream) -> list[Seen]:
    """What the gateway asked, its health probes apart."""
    return [seen for seen in upstream.seen if seen.method == "POST"]


def events_of(body: bytes) -> list[Any]:
    return [
        json.loads(line[5:]) if b"[DONE]" not in line else "[DONE]"
        for line in body.splitlines()
        if line.startswith(b"data:")
    ]


@pytest.mark.parametrize(("script", "codes"), BUFFERED.items())
def test_a_buffered_fault_alone_is_one_typed_error(script: str, codes: str, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, _: FaultUpstream) -> None:
        status, body = await client.chat()
        error = json.loads(body)["error"]
        busy = {"mock-e1-s503": 503, "mock-e1-s429": 429}  # a refusal is passed on
        assert status in ({busy[script]} if script in busy else {502, 504})
        attempts = [attempt["error"] for attempt in error.get("attempts", [])] or [error["code"]]
        assert set(attempts) <= set(codes.split())

    play({"bad": script}, tmp_path, scene)


@pytest.mark.parametrize("script", BUFFERED)
def test_a_buffered_fault_falls_back(script: str, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, _: FaultUpstream) -> None:
        status, body = await client.chat()
        metadata = json.loads(body)["x-routing-metadata"]
        assert status == 200
        assert (metadata["model_id"], metadata["fallback_used"], metadata["attempts"]) == ("good", True, 3)

    play({"bad": script, "worse": script, "good": "mock-n3"}, tmp_path, scene)


@pytest.mark.parametrize("script", STREAMED)
def test_a_stream_that_fails_before_its_first_content_falls_back_unseen(script: str, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, _: FaultUpstream) -> None:
        status, body = await client.chat(stream=True)
        events = events_of(body)
        assert status == 200
        assert events[-1] == "[DONE]"
        assert events[0]["x-routing-metadata"]["model_id"] == "good"
        assert not any("error" in event for event in events[:-1])

    play({"bad": script, "good": "mock-n3"}, tmp_path, scene)


@pytest.mark.parametrize("script", CUT_LATER)
def test_a_stream_cut_after_its_first_content_ends_with_one_error_event(script: str, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, upstream: FaultUpstream) -> None:
        status, body = await client.chat(stream=True)
        events = events_of(body)
        assert status == 200
        assert "error" in events[-1]
        assert events[-1]["error"]["type"] == "upstream_error"
        assert "[DONE]" not in events
        assert sum("error" in event for event in events) == 1
        assert len(calls(upstream)) == 1  # never retried after the commit point

    play({"bad": script, "good": "mock-n3"}, tmp_path, scene)


@pytest.mark.parametrize("script", HARMLESS)
@pytest.mark.parametrize("stream", [False, True])
def test_oddities_are_no_faults(script: str, stream: bool, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, upstream: FaultUpstream) -> None:
        for _ in range(3):
            status, body = await client.chat(stream=stream)
            assert status == 200
            assert b'"error"' not in body
        assert all(not attempt for attempt in (view.last_error for view in app.world().deployments))

    play({"odd": script + "-n4"}, tmp_path, scene)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_upstream_and_returns_the_lease_within_200_ms(
    stream: bool, tmp_path: Path
) -> None:
    async def scene(app: App, client: Client, upstream: FaultUpstream) -> None:
        loop = asyncio.get_running_loop()
        calling = asyncio.create_task(client.chat(stream=stream))
        while not calls(upstream):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        left_s = loop.time()
        calling.cancel()
        await asyncio.wait_for(calls(upstream)[0].ended.wait(), 2)
        await settled(app)
        assert loop.time() - left_s < 0.2
        assert calls(upstream)[0].end == "left"
        assert dict(app.statistics().by_status)["client_closed"] == 1

    play({"slow": "mock-t100-i20-n1000" if stream else "mock-t5000"}, tmp_path, scene)


@pytest.mark.parametrize(("script", "stream"), [("mock-hang", False), ("mock-t50-i20-n1000", True)])
def test_the_deadline_holds_over_retries_and_a_running_stream(script: str, stream: bool, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, upstream: FaultUpstream) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        status, body = await client.chat(stream=stream, **{"x-routing": {"deadline_s": 0.5}})
        assert loop.time() - began_s < 1.5
        error = events_of(body)[-1]["error"] if stream else json.loads(body)["error"]
        assert error["code"] == "deadline_exceeded"
        assert status == (200 if stream else 504)

    play({"slow": script}, tmp_path, scene)


def test_a_hundred_at_once(tmp_path: Path) -> None:
    async def scene(app: App, client: Client, upstream: FaultUpstream) -> None:
        results = await asyncio.gather(*(client.chat(stream=bool(number % 2)) for number in range(100)))
        assert [status for status, _ in results] == [200] * 100
        assert app.statistics().in_flight == 0

    play({"good": "mock-t5-n5"}, tmp_path, scene)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b'{"messages": [', 400, "invalid_json"),
        ({}, b'{"model": "auto"}', 400, "missing_field"),
        ({}, b'{"model": "nope", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
        ({"content-type": "text/csv"}, b"a,b", 415, "unsupported_media_type"),
        ({}, b"[" + b" " * 50_000_000 + b"]", 413, "request_too_large"),
    ],
)
def test_bad_requests(headers: dict[str, str], body: bytes, status: int, code: str, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, upstream: FaultUpstream) -> None:
        sent = {"content-type": "application/json"} | headers
        async with client.session.post(
            f"{client.url}/v1/chat/completions", data=io.BytesIO(body), headers=sent
        ) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (status, code)
            assert response.headers["x-request-id"]
        assert not calls(upstream)
        assert (await client.chat())[0] == 200

    play({"good": "mock-n2"}, tmp_path, scene)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/nothing", 404),
        ("POST", "/health", 405),
        ("GET", "/v1/models/x", 404),
    ],
)
def test_wrong_doors(method: str, path: str, status: int, tmp_path: Path) -> None:
    async def scene(app: App, client: Client, _: FaultUpstream) -> None:
        async with client.session.request(method, client.url + path) as response:
            assert response.status == status
            assert (await response.json())["error"]["message"]

    play({"good": "mock-n2"}, tmp_path, scene)
